"""The log holds what the terminal showed."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dnnlib.log import tee

ROOT = Path(__file__).resolve().parents[2]


def test_tee(tmp_path, capsys) -> None:
    path = tmp_path / 'log.txt'
    path.write_text('before\n')
    with tee(path):
        print('one')
        print('two é', file=sys.stderr)
        print('three', end='')
    print('after')
    assert path.read_text(encoding='utf-8') == 'before\none\ntwo é\nthree\n'
    captured = capsys.readouterr()
    assert captured.out == 'one\nthreeafter\n'
    assert captured.err == 'two é\n'


def test_progress_bars_are_logged_as_they_last_stood(tmp_path) -> None:
    path = tmp_path / 'log.txt'
    with tee(path):
        for text in ('\r 10%', '\r 50%', '\r100%', '\n', 'done\r\n', '\r', 'x\n'):
            sys.stderr.write(text)
    assert path.read_text() == '100%\ndone\nx\n'


def test_exceptions_are_logged(tmp_path) -> None:
    path, before = tmp_path / 'log.txt', sys.stdout
    with pytest.raises(ValueError, match='why'), tee(path):
        raise ValueError('why')
    assert 'Traceback' in path.read_text()
    assert 'ValueError: why' in path.read_text()
    assert sys.stdout is before


GONE = """
import os, sys
from dnnlib.log import tee
with tee(sys.argv[1]):
    for number in range(3):
        print(number, flush=True)
"""


def test_training_outlives_its_terminal(tmp_path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, '-c', GONE, tmp_path / 'log.txt'], cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, '') and (tmp_path / 'log.txt').read_text() == '0\n1\n2\n'


def test_a_full_disk_does_not_stop_the_program(tmp_path, monkeypatch, capsys) -> None:
    with tee(tmp_path / 'log.txt'):
        log = sys.stdout._log

        def fail() -> None:
            raise OSError(errno.ENOSPC, 'No space left on device')

        monkeypatch.setattr(sys, '__stderr__', sys.stderr._terminal)
        monkeypatch.setattr(log, '_file', type('Full', (), {'write': lambda *_: None, 'flush': lambda _: fail(), 'close': lambda _: fail(), 'name': 'log.txt'})())
        print('one')
        print('two')
    captured = capsys.readouterr()
    assert captured.out == 'one\ntwo\n'
    assert captured.err.count('No space left on device') == 1
