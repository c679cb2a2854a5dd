"""Every error has its exit code and one line on stderr; tracebacks are for --debug."""

import errno
import os
import signal
import sys
import time
import unittest.mock

import click
import pytest

from dnnlib import errors
from dnnlib.atomic import atomic_write


def outcome(raised: BaseException | None, capsys, monkeypatch, argv=('program',)) -> tuple[int, str]:
    """Run a program that raises; return its exit code and what it said on stderr."""
    monkeypatch.setattr(sys, 'argv', list(argv))

    def main() -> None:
        if raised is not None:
            raise raised

    with pytest.raises(SystemExit) as ended:
        errors.command_line(main)()
    return ended.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ('kind', 'code'),
    [
        (errors.UnposedError, 1),
        (errors.UsageError, 64),
        (errors.DataError, 65),
        (errors.MissingInputError, 66),
        (errors.NumericalError, 70),
        (errors.RunFolderError, 73),
        (errors.StorageError, 74),
        (errors.TemporaryError, 75),
    ],
)
def test_exit_codes(kind, code, capsys, monkeypatch) -> None:
    assert outcome(kind('what to do'), capsys, monkeypatch) == (code, 'error: what to do\n')


def test_success_and_stops(capsys, monkeypatch) -> None:
    assert outcome(None, capsys, monkeypatch) == (0, '')
    assert outcome(KeyboardInterrupt(), capsys, monkeypatch)[0] == 130
    assert outcome(SystemExit(3), capsys, monkeypatch) == (3, '')


def test_full_disk(capsys, monkeypatch) -> None:
    full = OSError(errno.ENOSPC, 'No space left on device', '/some/file')
    assert outcome(full, capsys, monkeypatch) == (74, 'error: No space left on device: /some/file\n')
    assert outcome(PermissionError(errno.EACCES, 'Permission denied', 'x'), capsys, monkeypatch)[0] == 74


def test_tracebacks(capsys, monkeypatch) -> None:
    assert 'Traceback' not in outcome(errors.DataError('bad'), capsys, monkeypatch)[1]
    assert 'Traceback' in outcome(errors.DataError('bad'), capsys, monkeypatch, ['program', '--debug'])[1]
    code, text = outcome(ZeroDivisionError('our bug'), capsys, monkeypatch)
    assert code == 1
    assert text.count('Traceback') == 1
    monkeypatch.setenv('UNPOSED_DEBUG', '1')
    assert 'Traceback' in outcome(errors.DataError('bad'), capsys, monkeypatch)[1]


@click.command()
@click.option('--count', type=int)
def example(count: int) -> None:
    """A program."""
    if count == 5:
        raise errors.DataError('five is bad')
    click.echo(f'count {count}')


@pytest.mark.parametrize(
    ('arguments', 'code', 'said'),
    [
        (['--count', '3'], 0, 'count 3'),
        (['--help'], 0, 'A program.'),
        (['--count', 'many'], 64, 'not a valid integer'),
        (['--cuont', '3'], 64, '--count'),
        (['--count', '5'], 65, 'error: five is bad'),
    ],
)
def test_click_commands(arguments, code, said, capsys, monkeypatch) -> None:
    monkeypatch.setattr(sys, 'argv', ['program', *arguments])
    with pytest.raises(SystemExit) as ended:
        errors.run_command(example)
    captured = capsys.readouterr()
    assert ended.value.code == code
    assert said in captured.out + captured.err
    assert 'Traceback' not in captured.err


def test_first_failure_of_a_launch_is_its_exit_code(tmp_path) -> None:
    path = tmp_path / 'code'
    errors.note_exit_code(str(path), 70)
    errors.note_exit_code(str(path), 1)
    errors.note_exit_code(str(tmp_path / 'gone' / 'code'), 1)
    assert path.read_text() == '70'


def test_did_you_mean() -> None:
    assert errors.did_you_mean('r1_gama', ['r1_gamma', 'batch']) == " Did you mean 'r1_gamma'?"
    assert errors.did_you_mean('FFHQ', ['ffhq']) == " Did you mean 'ffhq'?"
    assert errors.did_you_mean('zebra', ['r1_gamma', 'batch']) == ''
    assert errors.did_you_mean('x', []) == ''


def test_sigterm_takes_temporary_files_along(tmp_path, capsys) -> None:
    @click.command()
    def main() -> None:
        with atomic_write(tmp_path / 'result') as file:
            file.write(b'half')
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended, unittest.mock.patch.object(sys, 'argv', ['program']):
        errors.run_command(main)
    signal.signal(signal.SIGTERM, before)
    assert (ended.value.code, capsys.readouterr().err) == (143, 'stopped: terminated\n')
    assert list(tmp_path.iterdir()) == []
