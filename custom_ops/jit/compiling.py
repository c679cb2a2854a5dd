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

from custom_ops.jit.unavailable import KernelUnavailable

INCLUDE = Path(__file__).resolve().parents[1] / 'include'
LIMIT_S = 300.0
LAST_LINES = 20

_quoted_include = re.compile(rb'^[ \t]*#[ \t]*include[ \t]*"([^"\n]+)"', re.MULTILINE)


def run(command: Sequence[str | Path], folder: Path) -> str:
    """Runs a compiler in `folder`, where its temporary files go too; returns all that it said.

    Raises KernelUnavailable if it cannot be started, fails (with its last lines), or takes longer than LIMIT_S: then it and its children
    are ended.
    """
    program = Path(command[0]).name
    try:
        # A session of its own, so that the compiler's children can be ended with it.
        process = subprocess.Popen(
            [str(word) for word in command],
            cwd=folder,
            env={**os.environ, 'TMPDIR': str(folder), 'LC_ALL': 'C'},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors='replace',
            start_new_session=True,
        )
    except OSError as error:
        raise KernelUnavailable(f'{program} could not be started: {error.strerror or error}') from error
    with process:
        try:
            said, _ = process.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            _end(process)
            raise KernelUnavailable(f'{program} did not finish within {LIMIT_S:g} s and was stopped') from None
        except KeyboardInterrupt:  # which a session of its own does not see
            _end(process)
            raise
    if process.returncode:
        raise KernelUnavailable(f'{program} failed ({_outcome(process.returncode)}):\n{last_lines(said)}')
    return said


def _end(process: subprocess.Popen) -> None:
    """Ends a compiler and its children. SIGTERM comes first: ninja puts its children in groups of their own and passes it on."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(process.pid, sign)
            process.wait(timeout=2)


def _outcome(code: int) -> str:
    return f'exit code {code}' if code > 0 else f'signal {signal.Signals(-code).name}'


def last_lines(said: str) -> str:
    """The last LAST_LINES lines that are not empty."""
    return '\n'.join([line for line in said.splitlines() if line.strip()][-LAST_LINES:])


def digest(sources: Iterable[Path], include_folders: Sequence[Path], facts: Sequence[str]) -> str:
    """Sixteen hexadecimal digits that change whenever a source, a header of ours, or one of `facts` does.

    facts  flags, compiler version, target; this machine's platform and torch's version are added. Paths do not count: two checkouts of the
           same sources share their kernels.

    Raises FileNotFoundError for a missing source.
    """
    whole = hashlib.sha256()
    for fact in (*facts, torch.__version__, sys.platform, platform.machine(), *platform.libc_ver()):
        _add(whole, fact.encode())
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


@functools.cache
def version(command: tuple[str, ...]) -> str:
    """What a compiler says of itself: the line of `--version` that holds the number. Raises KernelUnavailable."""
    lines = run([*command, '--version'], INCLUDE).splitlines()
    return next((line.strip() for line in lines if re.search(r'\d+\.\d+', line)), command[-1])
