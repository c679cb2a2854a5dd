"""The program that calls NVRTC: python nvrtc_compile.py LIBRARY SOURCE OUTPUT OPTION...

A process of its own can be stopped, and may crash, without the one that asks. It starts in a fraction of the time that importing torch
takes: this file imports the standard library only.
"""

import ctypes
import os
import sys
from collections.abc import Sequence
from pathlib import Path


class Failure(Exception):
    """The log of NVRTC and, in the last line, the name of its error."""


def open_library(path: Path) -> ctypes.CDLL:
    """Raises OSError for what is of another architecture or half installed."""
    # NVRTC opens this companion by its bare name, which the loader knows only if it is open already.
    for companion in path.parent.glob('libnvrtc-builtins.so.*'):
        ctypes.CDLL(str(companion))
    library = ctypes.CDLL(str(path))
    library.nvrtcGetErrorString.restype = ctypes.c_char_p
    return library


def version(library: ctypes.CDLL) -> str:
    """As '13.0'."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    return f'{major.value}.{minor.value}'


def compile_source(library: ctypes.CDLL, source: Path, options: Sequence[str]) -> tuple[bytes, bytes]:
    """The cubin of one source, and the log. Raises Failure."""
    program = ctypes.c_void_p()
    code = library.nvrtcCreateProgram(ctypes.byref(program), source.read_bytes(), os.fsencode(source.name), 0, None, None)
    if code:
        raise Failure(library.nvrtcGetErrorString(code))
    words = (ctypes.c_char_p * len(options))(*map(os.fsencode, options))
    code = library.nvrtcCompileProgram(program, len(options), words)
    log = _fetch(library, 'ProgramLog', program).rstrip(b'\0')
    if code:
        raise Failure(log + b'\n' + library.nvrtcGetErrorString(code))
    return _fetch(library, 'CUBIN', program), log


def _fetch(library: ctypes.CDLL, what: str, program: ctypes.c_void_p) -> bytes:
    size = ctypes.c_size_t()
    getattr(library, f'nvrtcGet{what}Size')(program, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    getattr(library, f'nvrtcGet{what}')(program, buffer)
    return buffer.raw


def main(library: str, source: str, output: str, *options: str) -> int:
    """Writes the cubin and prints the log, without decoding it; returns the exit code."""
    try:
        cubin, said = compile_source(open_library(Path(library)), Path(source), options)
        Path(output).write_bytes(cubin)
        code = 0
    except Failure as failure:
        said, code = failure.args[0], 1
    except OSError as error:  # a full disk, say
        said, code = os.fsencode(str(error)), 1
    sys.stdout.buffer.write(said)
    return code


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
