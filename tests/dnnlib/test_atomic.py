"""A file is the old one or the new one, and nothing else is left behind."""

import errno
import os

import pytest

from dnnlib import atomic
from dnnlib.errors import StorageError


def test_replaces(tmp_path) -> None:
    path = tmp_path / 'file'
    for content in (b'old', b'new'):
        with atomic.atomic_write(path) as file:
            file.write(content)
            assert not path.exists() or path.read_bytes() == b'old'
        assert path.read_bytes() == content
    with atomic.atomic_write(path, 'w') as file:
        file.write('é\n')
    assert path.read_bytes() == 'é\n'.encode()
    assert os.listdir(tmp_path) == ['file']


@pytest.mark.parametrize('error', [ValueError('ours'), KeyboardInterrupt()])
def test_error_in_the_block_leaves_the_old_file(tmp_path, error) -> None:
    path = tmp_path / 'file'
    path.write_bytes(b'old')
    with pytest.raises(type(error)), atomic.atomic_write(path) as file:
        file.write(b'half')
        raise error
    assert path.read_bytes() == b'old'
    assert os.listdir(tmp_path) == ['file']


@pytest.mark.parametrize('step', ['fsync', 'replace'])
def test_full_disk_leaves_the_old_file(tmp_path, monkeypatch, step) -> None:
    path = tmp_path / 'file'
    path.write_bytes(b'old')

    def fail(*_) -> None:
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(atomic.os, step, fail)
    with pytest.raises(StorageError, match='No space left on device'), atomic.atomic_write(path) as file:
        file.write(b'new')
    assert path.read_bytes() == b'old'
    assert os.listdir(tmp_path) == ['file']


def test_order_of_durability(tmp_path, monkeypatch) -> None:
    """The content is on the disk before the name points to it, and the name is on the disk before we go on."""
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(
        atomic.os, 'fsync', lambda fd: (calls.append(os.path.isdir(f'/proc/self/fd/{fd}') and 'folder' or 'file'), fsync(fd))
    )
    monkeypatch.setattr(atomic.os, 'replace', lambda a, b: (calls.append('replace'), replace(a, b)))
    with atomic.atomic_write(tmp_path / 'file') as file:
        file.write(b'x')
    assert calls == ['file', 'replace', 'folder']


def test_missing_folder(tmp_path) -> None:
    with pytest.raises(StorageError, match='No such file'), atomic.atomic_write(tmp_path / 'none' / 'file'):
        pass


def test_leftovers(tmp_path) -> None:
    (tmp_path / '.tmp-123-file').touch()
    (tmp_path / 'file').touch()
    atomic.remove_leftovers(tmp_path)
    assert os.listdir(tmp_path) == ['file']
