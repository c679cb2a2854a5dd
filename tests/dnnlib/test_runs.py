"""Run folders are numbered without collisions, belong to one process, and are checked before work starts."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dnnlib import runs
from dnnlib.errors import RunFolderError, StorageError

ROOT = Path(__file__).resolve().parents[2]
HOLD = """
import sys
from dnnlib.runs import RunLock
with RunLock(sys.argv[1]):
    print('held', flush=True)
    sys.stdin.read()
"""


def test_numbers(tmp_path) -> None:
    outdir = tmp_path / 'new' / 'runs'
    assert runs.next_run_folder(outdir, 'imagenet tiny/gpus8').name == '00000-imagenet-tiny-gpus8'
    (outdir / '00041-other').mkdir()
    (outdir / '00099-a-file').touch()
    (outdir / 'notes').mkdir()
    assert runs.next_run_folder(outdir, '').name == '00042'


def test_many_at_once(tmp_path) -> None:
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda i: runs.next_run_folder(tmp_path, f'run{i}'), range(24)))
    assert sorted(int(folder.name[:5]) for folder in folders) == list(range(24))


def test_outdir_that_is_a_file(tmp_path) -> None:
    (tmp_path / 'file').touch()
    with pytest.raises(RunFolderError, match='--outdir'):
        runs.next_run_folder(tmp_path / 'file', 'x')


def test_lock_names_its_holder_and_ends_with_it(tmp_path) -> None:
    holder = subprocess.Popen([sys.executable, '-c', HOLD, tmp_path], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with holder:
        assert holder.stdout.readline() == 'held\n'
        with pytest.raises(RunFolderError, match=f'process {holder.pid} on '), runs.RunLock(tmp_path):
            pass
        holder.send_signal(signal.SIGKILL)
    for _ in range(2):  # neither the dead holder nor our own release leaves anything in the way
        with runs.RunLock(tmp_path), pytest.raises(RunFolderError, match=f'process {os.getpid()} '), runs.RunLock(tmp_path):
            pass


@pytest.mark.parametrize(
    ('changes', 'free'), [({}, False), ({'boot': 'another'}, True), ({'pid': 2**30}, True), ({'host': 'elsewhere', 'pid': 1}, False)]
)
def test_lock_without_flock(tmp_path, monkeypatch, changes, free) -> None:
    """On a file system without locks, what the holder wrote decides."""

    def unsupported(*_) -> None:
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr(fcntl, 'flock', unsupported)
    with runs.RunLock(tmp_path):
        path = tmp_path / '.lock'
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
        if free:
            with runs.RunLock(tmp_path):
                pass
        else:
            with pytest.raises(RunFolderError, match='in use by'), runs.RunLock(tmp_path):
                pass


def test_lock_in_a_missing_folder(tmp_path) -> None:
    with pytest.raises(RunFolderError, match='Cannot lock'), runs.RunLock(tmp_path / 'none'):
        pass


def test_check_writable(tmp_path, monkeypatch) -> None:
    runs.check_writable(tmp_path / 'not' / 'yet', 1000)
    assert os.listdir(tmp_path) == []
    monkeypatch.setattr(runs.shutil, 'disk_usage', lambda _: namedtuple('Usage', 'free')(1000))
    with pytest.raises(StorageError, match=r'1000 B left, and 1\.0 MiB are needed'):
        runs.check_writable(tmp_path, 2**20)


@pytest.mark.parametrize(('number', 'kind'), [(errno.EROFS, RunFolderError), (errno.EACCES, RunFolderError), (errno.ENOSPC, StorageError)])
def test_check_writable_reports(tmp_path, monkeypatch, number, kind) -> None:
    def fail(*_) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, 'write_bytes', fail)
    with pytest.raises(kind):
        runs.check_writable(tmp_path)
