"""A hostile user: full disks, kills at any moment, damaged files, data that changed. One message, the right exit code, nothing half-written."""

import errno
import functools
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Self

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch
from PIL import Image

import train
from dnnlib import atomic
from dnnlib.errors import DataError, command_line
from tests.training.tiny import SETTINGS
from torch_utils import checkpoint
from training.snapshot import load_generator

ROOT = Path(__file__).resolve().parents[1]
TINY = [argument for setting in (*SETTINGS, 'loop.snapshot_ticks=1') for argument in ('--set', setting)]


def run(*arguments: str | Path) -> int:
    """train.py in this process; its exit code."""
    with pytest.raises(SystemExit) as ended:
        command_line(functools.partial(train.main.main, [str(argument) for argument in (*arguments, '--gpus', '1')], standalone_mode=False))()
    return ended.value.code or 0


def start(outdir: Path, *arguments: str, kimg: str = '0.048') -> Path:
    """A finished tiny run; its folder."""
    assert run('--cfg', 'demo', *TINY, '--kimg', kimg, '--outdir', outdir, *arguments) == 0
    (folder,) = outdir.iterdir()
    return folder


def states(folder: Path) -> set[str]:
    return {path.name.removeprefix('training-state-') for path in folder.glob('training-state-*')}


class FullDisk:
    """`open` of a disk that fills up in the middle of the `nth` file that is called `name`."""

    def __init__(self, name: str, nth: int = 1) -> None:
        self.name, self.left = name, nth

    def __call__(self, path: Path, *arguments: str, **keywords: str) -> IO:
        file = open(path, *arguments, **keywords)  # noqa: SIM115  the caller closes it
        self.left -= path.name.endswith(self.name)
        if path.name.endswith(self.name) and self.left == 0:
            write = file.write

            def half(data: bytes | str) -> int:
                write(data[: len(data) // 2])
                raise OSError(errno.ENOSPC, 'No space left on device')

            file = _Writing(file, half)
        return file


class _Writing:
    """A file with another `write`."""

    def __init__(self, file: IO, write: Callable) -> None:
        self._file, self.write = file, write

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def flush(self) -> None:
        self._file.flush()


@pytest.mark.parametrize(
    'name, nth, kept', [('000000048.pt', 1, 32), ('000000048.json', 1, 32), ('network-snapshot-000000.safetensors', 3, 48)], ids=['state', 'manifest', 'weights']
)
def test_a_full_disk_keeps_the_last_good_state(tmp_path: Path, monkeypatch, capsys, name: str, nth: int, kept: int) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(atomic, 'open', FullDisk(name, nth), raising=False)
        code = run('--cfg', 'demo', *TINY, '--kimg', '0.064', '--outdir', tmp_path)
    errors = capsys.readouterr().err
    (folder,) = tmp_path.iterdir()
    assert code == 74 and errors.count('error: ') == 1 and name in errors and 'No space left' in errors
    assert not list(folder.glob('.tmp*'))
    assert states(folder) == {f'{nimg:09d}{suffix}' for nimg in (kept - 16, kept) for suffix in ('.pt', '.json')}
    load_generator(folder)
    assert run('--resume', folder) == 0, 'the run goes on when there is room again'
    assert checkpoint.newest_state(folder).stem.endswith('064')


def test_kill_9_and_resume_end_where_an_uninterrupted_run_ends(tmp_path: Path) -> None:
    whole = start(tmp_path / 'whole', kimg='0.16')
    command = [sys.executable, str(ROOT / 'train.py'), '--cfg', 'demo', *TINY, '--kimg', '0.16', '--gpus', '1', '--outdir', str(tmp_path / 'killed')]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob('killed/*/training-state-*.json')):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    (folder,) = (tmp_path / 'killed').iterdir()
    (folder / '.tmp-0-training-state-000000064.pt').write_bytes(b'half a state')
    assert run('--resume', folder) == 0
    assert not list(folder.glob('.tmp*'))
    ours, theirs = (checkpoint.load_state(checkpoint.newest_state(where)) for where in (folder, whole))
    for parts in (ours, theirs):
        parts['progress'].pop('seconds')
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def images(folder: Path, classes: list[int]) -> Path:
    """A folder data set of 8x8 noise with a class for each image."""
    folder.mkdir(exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 255, (len(classes), 8, 8, 3), dtype=np.uint8)
    for number, pixels in enumerate(noise):
        Image.fromarray(pixels).save(folder / f'{number}.png')
    (folder / 'dataset.json').write_text(json.dumps({'labels': [[f'{n}.png', c] for n, c in enumerate(classes)], 'classes': ['a', 'b', 'c']}))
    return folder


def test_a_run_is_not_resumed_on_other_data(tmp_path: Path, capsys) -> None:
    data = images(tmp_path / 'data', [0, 2] * 6)  # class 1 has a name and no images, which is nobody's mistake
    arguments = ('--cfg', 'photos', *TINY, '--set', f'data.path={data}', '--kimg', '0.016', '--outdir', str(tmp_path / 'runs'))
    assert run(*arguments) == 0
    (folder,) = (tmp_path / 'runs').iterdir()
    before = states(folder)
    images(data, [0, 2] * 5 + [2, 0])
    assert run('--resume', folder, '--kimg', '0.032') == 65
    assert "'data' is not the data set" in capsys.readouterr().err
    data.rename(tmp_path / 'elsewhere')
    assert run('--resume', folder, '--kimg', '0.032') == 66
    assert states(folder) == before


def test_damage_in_a_run_folder(tmp_path: Path, capsys) -> None:
    folder = start(tmp_path / 'runs')
    newest = checkpoint.newest_state(folder)
    newest.write_bytes(newest.read_bytes()[:1000])
    assert run('--resume', folder) == 0, 'it goes back to the state before'
    assert 'bad-' + newest.name in capsys.readouterr().err and checkpoint.newest_state(folder) == newest

    options = folder / train.OPTIONS_FILE
    for text in ('', '{', '[]', options.read_text().replace('"seed"', '"sead"')):
        options.write_text(text)
        assert run('--resume', folder) == 65
        assert train.OPTIONS_FILE in capsys.readouterr().err


EDITS = {
    'another configuration': lambda header: header['config']['generator'].update(z_dim=16),
    'an ill-typed setting': lambda header: header['config']['generator'].update(z_dim='x'),
    'a class to build': lambda header: header['config'].update(class_name='os.system'),
    'no kimg': lambda header: header['extra'].pop('kimg'),
    'names that are a number': lambda header: header['extra'].update(class_names=3),
    'extra that is a list': lambda header: header.update(extra=[1]),
}


def test_weights_files_that_were_edited(tmp_path: Path) -> None:
    source = start(tmp_path / 'runs', kimg='0.016') / 'network-snapshot-000000.safetensors'
    with safetensors.safe_open(source, 'pt') as file:
        header, tensors = file.metadata()['unposed'], {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    for what, edit in EDITS.items():
        edited, path = json.loads(header), tmp_path / 'edited.safetensors'
        edit(edited)
        safetensors.torch.save_file(tensors, path, {'unposed': json.dumps(edited)})
        with pytest.raises(DataError, match='edited.safetensors'):
            load_generator(path)
            pytest.fail(f'{what} was taken')
