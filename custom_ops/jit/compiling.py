"""What every compiler needs: a command with a time limit, and a digest of all that decides what it will make."""

import contextlib
import functools
import hashlib
import os
import platform
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from custom_ops.jit.unavailable import CompilerHangs, KernelUnavailable

INCLUDE = Path(__file__).resolve().parents[1] / 'include'
LIMIT_S = 300.0
VERSION_LIMIT_S = 10.0
LAST_LINES = 20
LONGEST_LINE = 500

_quoted_include = re.compile(rb'^[ \t]*#[ \t]*include[ \t]*"([^"\n]+)"', re.MULTILINE)


def run(command: Sequence[str | Path], folder: Path, *, name: str | None = None, limit_s: float | None = None) -> str:
    """Runs a compiler in `folder`, where its temporary files go too; returns all that it said.

    name     in messages; None: the program's
    limit_s  None: LIMIT_S

    Raises KernelUnavailable if it cannot be started or fails (with its last lines), and CompilerHangs if it takes longer than the limit:
    then it and its children are ended.
    """
    name = name or Path(command[0]).name
    limit_s = LIMIT_S if limit_s is None else limit_s
    try:
        # A session of its own, so that the compiler's children can be ended with it.
        process = subprocess.Popen(
            [str(word) for word in command],
            cwd=folder,
            env={**os.environ, 'TMPDIR': str(folder), 'LC_ALL': 'C'},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding='utf-8',
            errors='replace',
            start_new_session=True,
        )
    except OSError as error:
        raise KernelUnavailable(f'{name} could not be started: {error.strerror or error}') from error
    try:
        said, _ = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        _end(process)
        raise CompilerHangs(f'{name} did not finish within {limit_s:g} s and was stopped') from None
    except BaseException:  # an interruption, which a session of its own does not see
        _end(process)
        raise
    finally:
        process.stdout.close()  # and no more: Popen's own context waits without a limit, and on a dead network drive nothing ends a process
    if process.returncode:
        lines = last_lines(said)
        raise KernelUnavailable(f'{name} failed ({_outcome(process.returncode)})' + (f':\n{lines}' if lines else ' and said nothing'))
    return said


def _end(process: subprocess.Popen) -> None:
    """Ends a compiler and its children. SIGTERM comes first: ninja puts its children in groups of their own and passes it on."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            os.killpg(process.pid, sign)
            process.wait(timeout=2)


def _outcome(code: int) -> str:
    if code > 0:
        return f'exit code {code}'
    known = {sign.value: sign.name for sign in signal.Signals}  # real-time signals have no names
    return f'signal {known.get(-code, -code)}'


def last_lines(said: str) -> str:
    """The last LAST_LINES lines that are not empty, fit for a log."""
    return '\n'.join([_printable(line) for line in said.splitlines() if line.strip()][-LAST_LINES:])


def _printable(line: str) -> str:
    """Cut if very long; what would move the cursor or ring the bell is replaced. A broken compiler may print anything."""
    return ''.join(letter if letter.isprintable() else '\N{REPLACEMENT CHARACTER}' for letter in line.expandtabs()[:LONGEST_LINE])


def digest(sources: Iterable[Path], include_folders: Sequence[Path], facts: Sequence[str]) -> str:
    """Sixteen hexadecimal digits that change whenever a source, a header of ours, or one of `facts` does.

    facts  flags, compiler version, target; this machine's platform and torch's version are added. Paths do not count: two checkouts of the
           same sources share their kernels.

    Raises FileNotFoundError for a missing source.
    """
    whole = hashlib.sha256()
    for fact in (*facts, torch.__version__, sys.platform, platform.machine(), *platform.libc_ver()):
        _add(whole, os.fsencode(fact))  # a command may hold a path, which need not be UTF-8
    for path in with_headers(sources, include_folders):
        _add(whole, path.name.encode())
        _add(whole, path.read_bytes())
    return whole.hexdigest()[:16]


def _add(whole: Any, part: bytes) -> None:
    whole.update(len(part).to_bytes(8, 'little'))  # so that 'ab', 'c' is not 'a', 'bc'
    whole.update(part)


def with_headers(sources: Iterable[Path], include_folders: Sequence[Path]) -> list[Path]:
    """The sources and, transitively, every file that they include in quotes, looked up as a compiler does. What is not found there belongs
    to the system or the compiler, whose version counts anyway.
    """
    found: list[Path] = []
    waiting = list(sources)[::-1]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.append(path)
        for match in _quoted_include.finditer(path.read_bytes()):
            candidates = [(folder / match[1].decode()).resolve() for folder in (path.parent, *include_folders)]
            waiting += [header for header in candidates if header.is_file()][:1]
    return found


def version(command: tuple[str, ...]) -> str:
    """What a compiler says of itself: the line of `--version` that holds the number. Raises KernelUnavailable.

    A compiler is asked once in a process, also if it fails or hangs.
    """
    said, failure = _version(command)
    if failure:
        raise KernelUnavailable(failure)
    return said


@functools.cache
def _version(command: tuple[str, ...]) -> tuple[str, str]:
    """The version, or else the reason why there is none."""
    try:
        lines = run([*command, '--version'], INCLUDE, name=f'{Path(command[0]).name} --version', limit_s=VERSION_LIMIT_S).splitlines()
    except KernelUnavailable as error:
        return '', str(error)
    return next((_printable(line.strip()) for line in lines if re.search(r'\d+\.\d+', line)), command[-1]), ''
