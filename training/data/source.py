"""Files that somebody gives us, in a folder or a zip: listed, checked for traps, and read one at a time.

Names are only ever names: nothing is extracted, so nothing can be written outside. Sizes are checked before anything is decompressed.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections import Counter
from pathlib import Path, PurePosixPath

from dnnlib.errors import DataError, MissingInputError, UsageError
from dnnlib.units import format_bytes
from training.data.problems import Problem, Trouble

IMAGE_EXTENSIONS = frozenset((
    '.png', '.jpg', '.jpeg', '.jpe', '.jfif', '.bmp', '.gif', '.tif', '.tiff', '.webp', '.ppm', '.pgm', '.pbm', '.pnm', '.tga',
))
JSON_FILES = ('dataset.json', 'classes.json', 'transforms.json', 'transforms_train.json', 'transforms_val.json', 'transforms_test.json')
MAX_FILE_BYTES = 64 << 20
MAX_JSON_BYTES = 2 << 30  # 5 million cameras
MAX_ENTRIES = 5_000_000
MAX_RATIO = 200  # of a zip entry; photographs hardly compress at all
RATIO_MATTERS_ABOVE = 1 << 20
FINGERPRINT_FILES = 1000  # of a folder are read to tell it from others


class UnreadableFile(Exception):
    """A file that is listed could not be read. `problem` says why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.reason)
        self.problem = problem


class Source(ABC):
    """The files below one folder or in one zip.

    names: the images, sorted, with '/' between folders. json_names: the files that may hold labels.
    problems: what is wrong with the listing. ignored: why and how many files are not looked at.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names: list[str] = []
        self.json_names: list[str] = []
        self.problems: list[Problem] = []
        self.ignored: Counter[str] = Counter()

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Contents of a listed file. Raises UnreadableFile."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Hex digest of names and sizes, and of contents: of a zip the checksums, of a folder those of a thousand files, evenly spread. Another set of
        files gives another digest."""

    def _sort_in(self, name: str) -> None:
        """Put a regular file with a safe name in its place."""
        path = PurePosixPath(name)
        if is_junk(name):
            self.ignored['hidden or system files (dotfiles, ._ files, __MACOSX)'] += 1
        elif path.name in JSON_FILES:
            self.json_names.append(name)
        elif path.suffix.lower() in IMAGE_EXTENSIONS:
            self.names.append(name)
        else:
            self.ignored[f'files that are not images by name ({path.suffix.lower() or "no extension"})'] += 1


def is_junk(name: str) -> bool:
    """Files that operating systems leave behind: dotfiles, AppleDouble, __MACOSX, Thumbs.db, desktop.ini."""
    parts = PurePosixPath(name).parts
    hidden = any((part.startswith('.') and part != '..') or part == '__MACOSX' for part in parts)
    return hidden or parts[-1:] in (('Thumbs.db',), ('desktop.ini',))


def _too_large(name: str, size: int) -> str | None:
    limit = MAX_JSON_BYTES if PurePosixPath(name).name in JSON_FILES else MAX_FILE_BYTES
    return f'{format_bytes(size)} large, more than the {format_bytes(limit)} that are read' if size > limit else None


class FolderSource(Source):
    """Files below a folder. Links to files are read; links to folders are not followed, since they may lead in circles."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        for folder, folders, files in os.walk(path, onerror=self._unreadable_folder):
            here = Path(folder)
            kept = []
            for sub in sorted(folders):
                name = (here / sub).relative_to(path).as_posix()
                if is_junk(name):
                    self.ignored['hidden or system folders'] += 1
                elif (here / sub).is_symlink():
                    self.ignored['links to folders (not followed)'] += 1
                elif Path(sub).suffix.lower() in IMAGE_EXTENSIONS:
                    self.problems.append(Problem(name, Trouble.UNUSABLE, 'is a folder with the name of an image'))
                else:
                    kept.append(sub)
            folders[:] = kept
            for file in files:
                self._sort_in((here / file).relative_to(path).as_posix())
        self.names.sort()
        self.json_names.sort()

    def _unreadable_folder(self, error: OSError) -> None:
        self.problems.append(Problem(str(error.filename), Trouble.ARCHIVE, f'folder cannot be listed ({error.strerror})'))

    def read(self, name: str) -> bytes:
        path = self.path / name
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):
                raise UnreadableFile(Problem(name, Trouble.UNUSABLE, 'is not a regular file'))
            reason = _too_large(name, status.st_size)
            if reason:
                raise UnreadableFile(Problem(name, Trouble.UNUSABLE, reason))
            return path.read_bytes()
        except OSError as error:
            reason = 'is a broken link' if path.is_symlink() and not path.exists() else f'cannot be read ({error.strerror})'
            raise UnreadableFile(Problem(name, Trouble.UNUSABLE, reason)) from error

    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for number, name in enumerate(self.names):
            digest.update(f'{name}\0{(self.path / name).stat().st_size}\0'.encode('utf-8', 'surrogateescape'))
            # Pictures of one size that are stored without compression are files of one size, whatever they show.
            if number * FINGERPRINT_FILES // len(self.names) != (number - 1) * FINGERPRINT_FILES // len(self.names):
                digest.update(hashlib.sha256((self.path / name).read_bytes()).digest())
        for name in self.json_names:
            digest.update(self.read(name))
        return digest.hexdigest()


class ZipSource(Source):
    """Files in a zip. Each process opens its own handle, so that a forked worker does not move its parent's file position."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._handles: dict[int, zipfile.ZipFile] = {}
        self._lock = threading.Lock()
        self._infos: dict[str, zipfile.ZipInfo] = {}
        entries = self._handle().infolist()
        if len(entries) > MAX_ENTRIES:
            raise DataError(f'{path} has {len(entries)} entries; at most {MAX_ENTRIES} are read. Split it.')
        for info in entries:
            self._examine(info)
        self.names.sort()
        self.json_names.sort()

    def _handle(self) -> zipfile.ZipFile:
        with self._lock:
            process = os.getpid()
            if process not in self._handles:
                try:
                    self._handles[process] = zipfile.ZipFile(self.path)
                except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError) as error:
                    raise DataError(f'{self.path} is not a whole zip file ({error}). Copy or download it again.') from error
            return self._handles[process]

    def _examine(self, info: zipfile.ZipInfo) -> None:
        name = info.orig_filename  # `filename` is already cut at a NUL and tidied
        reason = _unsafe(info)
        if reason is None and is_junk(name):
            self.ignored['hidden or system files (dotfiles, ._ files, __MACOSX)'] += not info.is_dir()
            return
        if reason is None and name in self._infos:
            reason = 'occurs twice in the archive'
        if reason is not None:
            self.problems.append(Problem(name, Trouble.ARCHIVE, reason))
        elif info.is_dir():
            if PurePosixPath(name).suffix.lower() in IMAGE_EXTENSIONS:
                self.problems.append(Problem(name.rstrip('/'), Trouble.UNUSABLE, 'is a folder with the name of an image'))
        else:
            self._infos[name] = info
            self._sort_in(name)

    def read(self, name: str) -> bytes:
        try:
            info = self._infos[name]
            with self._handle().open(info) as file:
                return file.read(info.file_size)  # no more than was promised: `ZipFile.read` unpacks first and counts afterwards
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, ValueError, OSError) as error:
            raise UnreadableFile(Problem(name, Trouble.ARCHIVE, f'the archive is damaged here ({error})')) from error

    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for name in self.names + self.json_names:
            info = self._infos[name]
            digest.update(f'{name}\0{info.file_size}\0{info.CRC}\0'.encode('utf-8', 'surrogateescape'))
        return digest.hexdigest()

    def __getstate__(self) -> dict:
        return {**self.__dict__, '_handles': {}, '_lock': None}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state, _lock=threading.Lock())


def _unsafe(info: zipfile.ZipInfo) -> str | None:
    """Why an entry of a zip is not touched, or None."""
    name = info.orig_filename
    parts = PurePosixPath(name.replace('\\', '/')).parts
    if not parts or name.startswith(('/', '\\')) or ':' in parts[0] or '\0' in name:
        return 'absolute or malformed name'
    if '..' in parts:
        return "name leads outside ('..')"
    if '\\' in name:
        return 'name contains a backslash'
    if info.flag_bits & 1:
        return 'is encrypted'
    if stat.S_ISLNK(info.external_attr >> 16):
        return 'is a symbolic link'
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # of others Python unpacks everything at once
        return f'compression method {info.compress_type}, of which only stored and deflated are read'
    if info.file_size > RATIO_MATTERS_ABOVE and info.file_size > MAX_RATIO * max(info.compress_size, 1):
        return f'unpacks to more than {MAX_RATIO} times its size'
    return _too_large(name, info.file_size)


def open_source(path: str | os.PathLike) -> Source:
    """The files of a folder or a zip. Raises MissingInputError if there is nothing at `path`, DataError for a damaged archive."""
    path = Path(path)
    if path.is_dir():
        return FolderSource(path)
    if not path.exists():
        raise MissingInputError(f"There is no file or folder '{path}'.")
    if zipfile.is_zipfile(path) or path.suffix.lower() == '.zip':
        return ZipSource(path)
    raise UsageError(f"'{path}' is neither a folder nor a zip file; unpack it, or pack its images into a zip.")
