"""Built kernels on disk: found, or built once for all processes that ask.

    <cache>/<name>-<digest>/<name>.so      what was built
                            manifest.json  its size, its sha256, how long the build took, and what the compiler said
    <cache>/<name>-<digest>.lock           held (flock) by the process that builds; a process that dies lets go of it
    <cache>/building-*/                    where it builds; renamed into place when all is there

<cache> is $UNPOSED_CACHE/kernels or ~/.cache/unposed/kernels. Where nothing can be written, the kernel is built in a temporary folder of
this process. Nobody waits without a deadline, and nothing is used that does not match its manifest.
"""

import atexit
import contextlib
import errno
import functools
import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from custom_ops.jit.unavailable import CompilerHangs, KernelUnavailable

try:
    import fcntl
except ImportError:  # Windows: two processes may then build the same kernel, and the second finds the first one's in place
    fcntl = None

WAIT_LIMIT_S = 330.0  # for another process that builds the same kernel: a little more than a compiler may take
POLL_S = 0.05
ABANDONED_S = 3600.0  # a building-* folder of this age has lost its process

_log = logging.getLogger('custom_ops.jit')
_may_build: ContextVar[bool] = ContextVar('may_build', default=True)
_witness: ContextVar[list['Artefact'] | None] = ContextVar('witness', default=None)
_hanging: dict[str, str] = {}  # what was said of a compiler that had to be stopped: this process does not start it again


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to build one file, and all that decides what will be in it."""

    name: str
    suffix: str  # of the file: '.so', '.cubin'
    target: str  # what it runs on: 'avx2', 'sm_90'
    compiler: str  # with its version
    digest: str  # of everything that goes in
    build: Callable[[Path], str]  # writes <folder>/<name><suffix> and returns what the compiler said; raises KernelUnavailable

    @property
    def file(self) -> str:
        return self.name + self.suffix

    @property
    def folder(self) -> str:
        return f'{self.name}-{self.digest}'

    def __str__(self) -> str:
        return f'kernel {self.name} ({self.target})'


@dataclass(frozen=True, slots=True)
class Artefact:
    """A built file that matches its manifest."""

    path: Path
    name: str
    target: str
    compiler: str
    seconds: float  # that its build took, whenever that was
    log: str  # what the compiler said
    built_now: bool = False  # by this process

    def __str__(self) -> str:
        return f'{self.name} for {self.target}, {"built now" if self.built_now else "built before"} in {self.seconds:.1f} s'


def cache_folder() -> Path:
    """$UNPOSED_CACHE or ~/.cache/unposed, and in it `kernels`."""
    root = os.environ.get('UNPOSED_CACHE') or '~/.cache/unposed'
    try:
        return Path(root).expanduser() / 'kernels'
    except RuntimeError as error:  # a user without a home
        _warn_once(f'kernels are built for this process alone: there is no {root} ({error})')
        return private_folder()


@functools.cache
def private_folder() -> Path:
    """A temporary folder of this process, removed when it ends."""
    folder = Path(tempfile.mkdtemp(prefix='unposed-kernels-'))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@contextlib.contextmanager
def only_look() -> Iterator[None]:
    """Within it nothing is built: a kernel that is not there yet is unavailable."""
    token = _may_build.set(False)
    try:
        yield
    finally:
        _may_build.reset(token)


@contextlib.contextmanager
def witnessed() -> Iterator[list[Artefact]]:
    """Collects the artefacts that are used within it."""
    used: list[Artefact] = []
    token = _witness.set(used)
    try:
        yield used
    finally:
        _witness.reset(token)


def witness(artefact: Artefact) -> None:
    """Tells `witnessed` that an artefact is used."""
    used = _witness.get()
    if used is not None:
        used.append(artefact)


def obtain(recipe: Recipe) -> Artefact:
    """What the recipe yields, from the cache or built now. Raises KernelUnavailable."""
    try:
        root = cache_folder()
        artefact = _find(root, recipe)
        if artefact is None:
            if not _may_build.get():
                raise KernelUnavailable(f'{recipe} is not built yet')
            if recipe.compiler in _hanging:
                raise KernelUnavailable(_hanging[recipe.compiler])
            artefact = _build_shared(root, recipe)
    except OSError as error:
        raise KernelUnavailable(f'{recipe} could not be written: {error}; free space there, or set UNPOSED_CACHE') from error
    except CompilerHangs as error:
        _hanging[recipe.compiler] = str(error)
        raise
    witness(artefact)
    return artefact


def _find(root: Path, recipe: Recipe) -> Artefact | None:
    """The artefact of an earlier build if every byte of it is as its manifest says."""
    folder = root / recipe.folder
    try:
        manifest = json.loads((folder / 'manifest.json').read_bytes())
        content = (folder / recipe.file).read_bytes()
        if len(content) != manifest['bytes'] or hashlib.sha256(content).hexdigest() != manifest['sha256']:
            raise ValueError('not the file that was built')
        return Artefact(folder / recipe.file, recipe.name, recipe.target, recipe.compiler, manifest['seconds'], manifest['log'])
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        _log.warning('%s in %s is damaged (%s); it is built again', recipe, folder, error)
        return None


def _build_shared(root: Path, recipe: Recipe) -> Artefact:
    """Builds for all processes, or waits for the one that does; for this process alone where that takes too long, or where the folder or
    another user's lock in it cannot be written. Raises OSError if the disk is full.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _workspace(root) as workspace, open(root / f'{recipe.folder}.lock', 'a+') as lock:
            artefact = _build_locked(root, recipe, workspace, lock)
        why = f'another process has been building for more than {WAIT_LIMIT_S:g} s'
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        artefact, why = None, f'{root} cannot be written ({error.strerror or error})'
    return artefact or _build_private(recipe, why)


@contextlib.contextmanager
def _workspace(root: Path) -> Iterator[Path]:
    """A folder to build in, on the file system of `root`; with all that is left in it, it goes at the end."""
    folder = Path(tempfile.mkdtemp(prefix='building-', dir=root))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _build_locked(root: Path, recipe: Recipe, workspace: Path, lock: TextIO) -> Artefact | None:
    """Builds under the lock, unless another process has built, or failed, while this one waited for it. None: it waited too long."""
    asked = time.time()
    if not _acquire(lock.fileno(), recipe):
        return None
    artefact = _find(root, recipe)
    if artefact is not None:
        return artefact
    _raise_failure_since(asked, lock)
    _sweep(root)
    try:
        return _build(recipe, workspace, root)
    except KernelUnavailable as error:
        _note_failure(error, lock)
        raise


def _build_private(recipe: Recipe, why: str) -> Artefact:
    root = private_folder()
    artefact = _find(root, recipe)
    if artefact is None:
        _warn_once(f'kernels are built for this process alone: {why}')
        with _workspace(root) as workspace:
            artefact = _build(recipe, workspace, root)
    return artefact


@functools.cache
def _warn_once(message: str) -> None:
    _log.warning(message)


def _build(recipe: Recipe, workspace: Path, root: Path) -> Artefact:
    """Builds in `workspace`, which lies on the file system of `root`, and moves the result into place in one step."""
    _log.info('%s: building with %s', recipe, recipe.compiler)
    new = workspace / 'new'
    new.mkdir()
    started = time.perf_counter()
    try:
        log = recipe.build(new)
    except KernelUnavailable as error:
        raise type(error)(f'{recipe}: {error}') from error
    seconds = time.perf_counter() - started
    if not (new / recipe.file).is_file():
        raise KernelUnavailable(f'{recipe}: {recipe.compiler} reported success and wrote no {recipe.file}')
    content = (new / recipe.file).read_bytes()
    manifest = {
        'name': recipe.name, 'target': recipe.target, 'compiler': recipe.compiler, 'seconds': round(seconds, 3),
        'bytes': len(content), 'sha256': hashlib.sha256(content).hexdigest(), 'log': log,
    }  # fmt: skip
    (new / 'manifest.json').write_text(json.dumps(manifest, indent=1) + '\n')
    final = root / recipe.folder
    try:
        new.rename(final)
    except OSError:
        if not final.exists():
            raise
        artefact = _find(root, recipe)  # without locks another process may have been faster
        if artefact is not None:
            return artefact
        final.rename(workspace / 'damaged')  # who has it open keeps its pages
        new.rename(final)
    _log.info('%s: built in %.1f s', recipe, seconds)
    return Artefact(final / recipe.file, recipe.name, recipe.target, recipe.compiler, seconds, log, built_now=True)


def _acquire(lock: int, recipe: Recipe) -> bool:
    """Takes the lock, waiting no longer than WAIT_LIMIT_S for it; True if taken (or if the file system has none)."""
    if fcntl is None:
        return True
    deadline = time.monotonic() + WAIT_LIMIT_S
    said = False
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            if not said:
                _log.info('%s: waiting for another process that builds it', recipe)
                said = True
            time.sleep(POLL_S)
        except OSError:  # a file system without locks
            return True


def _note_failure(error: KernelUnavailable, lock: TextIO) -> None:
    """Leaves the reason in the lock file for those who wait, so that eight ranks meet one hanging compiler once."""
    with contextlib.suppress(OSError):
        lock.truncate(0)
        lock.write(json.dumps({'time': time.time(), 'message': str(error), 'hangs': isinstance(error, CompilerHangs)}))
        lock.flush()


def _raise_failure_since(asked: float, lock: TextIO) -> None:
    lock.seek(0)
    try:
        note = json.loads(lock.read())
        when, message, hangs = note['time'], note['message'], note['hangs']
    except (ValueError, TypeError, KeyError):  # nothing there, or half written on a full disk
        return
    if when > asked:
        raise CompilerHangs(message) if hangs else KernelUnavailable(message)


def _sweep(root: Path) -> None:
    """Removes what dead processes left behind."""
    for folder in root.glob('building-*'):
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > ABANDONED_S:
                shutil.rmtree(folder, ignore_errors=True)
