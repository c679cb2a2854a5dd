"""NVRTC, NVIDIA's compiler as a library: CUDA to a cubin inside this process, without nvcc, a C++ compiler or a GPU.

Every CUDA build of torch brings one along (the package nvidia-cuda-nvrtc), so that nothing else need be installed.
"""

import ctypes
import functools
import importlib.util
import os
import platform
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from custom_ops.jit.compiling import last_lines
from custom_ops.jit.unavailable import KernelUnavailable


class Nvrtc:
    """The few calls that are needed, on an opened libnvrtc."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        library.nvrtcGetErrorString.restype = ctypes.c_char_p
        major, minor = ctypes.c_int(), ctypes.c_int()
        library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
        self.version = f'NVRTC {major.value}.{minor.value}'

    def compile(self, source: Path, options: Sequence[str]) -> tuple[bytes, str]:
        """The cubin of one source, and what the compiler said. Raises KernelUnavailable with its last lines.

        NVRTC offers no way to stop it, so there is no time limit here.
        """
        program = ctypes.c_void_p()
        created = self._library.nvrtcCreateProgram(ctypes.byref(program), source.read_bytes(), source.name.encode(), 0, None, None)
        if created:
            raise KernelUnavailable(f'{self.version} could not start: {self._error(created)}')
        try:
            words = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
            code = self._library.nvrtcCompileProgram(program, len(options), words)
            log = self._fetch('ProgramLog', program).rstrip(b'\0').decode(errors='replace')
            if code:
                raise KernelUnavailable(f'{self.version} failed ({self._error(code)}):\n{last_lines(log)}')
            return self._fetch('CUBIN', program), log
        finally:
            self._library.nvrtcDestroyProgram(ctypes.byref(program))

    def _fetch(self, what: str, program: ctypes.c_void_p) -> bytes:
        size = ctypes.c_size_t()
        getattr(self._library, f'nvrtcGet{what}Size')(program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        getattr(self._library, f'nvrtcGet{what}')(program, buffer)
        return buffer.raw

    def _error(self, code: int) -> str:
        return self._library.nvrtcGetErrorString(code).decode()


@functools.cache
def find_nvrtc() -> Nvrtc:
    """The NVRTC of torch's CUDA version if there is one, else the newest. Raises KernelUnavailable."""
    for path in sorted(_candidates(), key=_preference):
        try:
            # NVRTC opens this companion by its bare name, which the loader knows only if it is open already.
            for companion in path.parent.glob('libnvrtc-builtins.so.*'):
                ctypes.CDLL(str(companion))
            return Nvrtc(ctypes.CDLL(str(path)))
        except OSError:  # of another architecture, or half installed
            continue
    raise KernelUnavailable('there is no NVRTC here; a CUDA build of torch brings it along, and so does `pip install nvidia-cuda-nvrtc`')


def _candidates() -> Iterator[Path]:
    """Libraries of Python packages, of a conda environment, of a CUDA toolkit, and of the system."""
    packages = importlib.util.find_spec('nvidia')
    for root in packages.submodule_search_locations or () if packages else ():
        yield from Path(root).glob('*/lib/libnvrtc.so.*')
    toolkit = Path(os.environ.get('CUDA_HOME') or '/usr/local/cuda') / 'lib64'
    for folder in (Path(sys.prefix) / 'lib', toolkit, Path('/usr/lib') / f'{platform.machine()}-linux-gnu'):
        yield from folder.glob('libnvrtc.so.*')


def _preference(path: Path) -> tuple[bool, list[int]]:
    version = [int(number) for number in re.findall(r'\d+', path.name)]
    return str(version[0]) != (torch.version.cuda or '').split('.')[0], [-number for number in version]
