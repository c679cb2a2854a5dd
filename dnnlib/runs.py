"""Run folders: numbered, used by one process at a time, and checked before work starts."""

import contextlib
import errno
import fcntl
import json
import os
import re
import shutil
import socket
import uuid
from pathlib import Path
from types import TracebackType
from typing import Self

from dnnlib.errors import RunFolderError, StorageError, describe_os_error
from dnnlib.units import format_bytes

_LOCK_NAME = '.lock'


def next_run_folder(outdir: str | os.PathLike, description: str) -> Path:
    """Create and return `outdir/00012-description`, numbered after the highest number in use; safe against others who do the same.

    Raises RunFolderError when it cannot be created.
    """
    outdir = Path(outdir)
    name = re.sub(r'[^A-Za-z0-9._=+-]+', '-', description).strip('-.')[:150]
    try:
        outdir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(outdir, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with contextlib.suppress(OSError):  # without locks, two runs that start in the same instant may share a number
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            numbers = [int(match[1]) for entry in outdir.iterdir() if (match := re.match(r'(\d+)(-|$)', entry.name)) and entry.is_dir()]
            folder = outdir / (f'{max(numbers, default=-1) + 1:05d}' + (f'-{name}' if name else ''))
            folder.mkdir()
        finally:
            os.close(descriptor)
    except OSError as error:
        raise RunFolderError(f"Cannot create a run folder in '{outdir}': {describe_os_error(error)}. Choose another --outdir.") from error
    return folder


def check_writable(folder: str | os.PathLike, needed_bytes: int = 0) -> None:
    """Check, by writing a small file, that `folder` (or what exists above it) takes files, and that it has room for `needed_bytes`.

    Raises RunFolderError when files cannot be written there, StorageError when there is too little space.
    """
    folder = Path(folder).absolute()
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    probe = existing / f'.tmp-{uuid.uuid4().hex}-probe'
    try:
        probe.write_bytes(b'probe')
        free = shutil.disk_usage(existing).free
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageError(f"The disk of '{existing}' is full. Free some space or choose another folder.") from error
        raise RunFolderError(f"Cannot write to '{existing}': {error.strerror}. Choose another folder.") from error
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()
    if free < needed_bytes:
        raise StorageError(
            f"'{existing}' has {format_bytes(free)} left, and {format_bytes(needed_bytes)} are needed. "
            'Free some space or choose another folder.'
        )


class RunLock:
    """Context manager: while it is held, no other process gets it. `RunFolderError` names the process that holds it.

    The lock is the kernel's (flock), so it ends with its process however that dies. Where the file system has no such locks, the holder
    that is written in the file counts: it is asked for by process number on the same host, and believed on another one.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        self._path = Path(folder) / _LOCK_NAME
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise RunFolderError(f"Cannot lock the run folder '{self._path.parent}': {describe_os_error(error)}.") from error
        try:
            self._acquire(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._descriptor is not None, 'the lock is not held'
        with contextlib.suppress(OSError):  # a full or vanished disk: closing the descriptor is what releases the lock
            os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)
        self._descriptor = None

    def _acquire(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise self._refusal(_read_holder(descriptor)) from None
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
                raise RunFolderError(f"Cannot lock the run folder '{self._path.parent}': {describe_os_error(error)}.") from error
            holder = _read_holder(descriptor)
            if holder and not _has_ended(holder):
                raise self._refusal(holder) from None
        me = {'host': socket.gethostname(), 'pid': os.getpid(), 'boot': _boot_id()}
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(me).encode(), 0)
        except OSError as error:
            raise StorageError(f"Cannot write '{self._path}': {describe_os_error(error)}.") from error

    def _refusal(self, holder: dict) -> RunFolderError:
        who = f'process {holder["pid"]} on {holder["host"]}' if holder else 'another process'
        return RunFolderError(f"The run folder '{self._path.parent}' is in use by {who}. Stop that process first, or start a new run.")


def _read_holder(descriptor: int) -> dict:
    """Return what the holder wrote about itself, or {} when it has not got round to that."""
    try:
        holder = json.loads(os.pread(descriptor, 4096, 0))
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) and {'host', 'pid', 'boot'} <= holder.keys() else {}


def _has_ended(holder: dict) -> bool:
    """Return whether a holder is certainly gone: same host, and another boot or no such process."""
    if holder['host'] != socket.gethostname():
        return False
    return holder['boot'] != _boot_id() or not Path(f'/proc/{holder["pid"]}').exists()


def _boot_id() -> str:
    path = Path('/proc/sys/kernel/random/boot_id')
    return path.read_text(encoding='ascii').strip() if path.exists() else ''
