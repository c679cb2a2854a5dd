"""Writing a data set so that it is there in full or not at all: a stored zip or a folder, the same bytes for the same images."""

from __future__ import annotations

import os
import shutil
import uuid
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO, Protocol, Self

from dnnlib.atomic import atomic_write, sync_folder
from dnnlib.errors import StorageError, UsageError, describe_os_error

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the zip format's first moment: the time of writing is no part of the data


class Writer(Protocol):
    """Takes images one after the other, names them, and finishes with dataset.json."""

    def add_image(self, png: bytes) -> str:
        """Append an image; returns its name, 00000/img00000000.png and so on."""

    def add_file(self, name: str, data: bytes) -> None:
        """Append a file of this name; dataset.json is the last one."""


def check_destination(source: str, dest: str, overwrite: bool) -> None:
    """Raise UsageError or StorageError if `dest` cannot or should not be written, before any work is done."""
    path = Path(dest)
    if path.exists() and Path(source).exists() and path.resolve() == Path(source).resolve():
        raise UsageError(f'--dest is the source itself: {dest}.')
    if path.suffix.lower() != '.zip' and Path(source).is_dir() and Path(source).resolve() in path.resolve().parents:
        raise UsageError(f'--dest {dest} lies inside the source; the next run would take it for data.')
    if path.exists() and not overwrite:
        raise UsageError(f'{dest} exists. Choose another --dest, or replace it with --overwrite.')
    if path.exists() and path.is_dir() != (path.suffix.lower() != '.zip'):
        kind = 'a folder' if path.is_dir() else 'a file'
        raise UsageError(f'{dest} exists and is {kind}; a name that ends in .zip makes a zip, any other a folder.')
    if not path.absolute().parent.is_dir():
        raise StorageError(f"The folder '{path.absolute().parent}' for --dest does not exist; create it first.")


@contextmanager
def open_writer(dest: str) -> Iterator[Writer]:
    """A writer for a zip (a name that ends in .zip) or a folder. Nothing is left behind after an error or Ctrl-C."""
    if Path(dest).suffix.lower() == '.zip':
        with atomic_write(dest) as file, _ZipWriter(file) as writer:
            yield writer
    else:
        with _folder_writer(Path(dest)) as writer:
            yield writer


class _ZipWriter:
    def __init__(self, file: IO[bytes]) -> None:
        self._zip = zipfile.ZipFile(file, 'w', zipfile.ZIP_STORED)
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        # After an error the file is thrown away, so it does not matter whether its directory can still be written.
        with nullcontext() if kind is None else suppress(OSError, ValueError):
            self._zip.close()

    def add_image(self, png: bytes) -> str:
        name = image_name(self._count)
        self._count += 1
        self.add_file(name, png)
        return name

    def add_file(self, name: str, data: bytes) -> None:
        info = zipfile.ZipInfo(name, _EPOCH)
        info.create_system, info.external_attr = 3, 0o644 << 16  # the same on every system
        self._zip.writestr(info, data)


class _FolderWriter:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0

    def add_image(self, png: bytes) -> str:
        name = image_name(self._count)
        self._count += 1
        self.add_file(name, png)
        return name

    def add_file(self, name: str, data: bytes) -> None:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, 'wb') as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())


@contextmanager
def _folder_writer(dest: Path) -> Iterator[_FolderWriter]:
    temporary = dest.with_name(f'.tmp-{uuid.uuid4().hex}-{dest.name}')
    try:
        temporary.mkdir()
        yield _FolderWriter(temporary)
        for folder, _, _ in os.walk(temporary):
            sync_folder(folder)
        if dest.exists():  # --overwrite: a folder cannot be replaced in one step, so the old one steps aside first
            aside = dest.with_name(f'.tmp-{uuid.uuid4().hex}-old-{dest.name}')
            os.replace(dest, aside)
            os.replace(temporary, dest)
            shutil.rmtree(aside)
        else:
            os.replace(temporary, dest)
        sync_folder(dest.absolute().parent)
    except OSError as error:
        raise StorageError(f"Cannot write '{dest}': {describe_os_error(error)}. Free some space or choose another folder.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def image_name(number: int) -> str:
    """Name of image `number` of a data set, as StyleGAN's tools number them."""
    return f'{number // 1000:05d}/img{number:08d}.png'
