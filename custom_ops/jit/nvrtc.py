"""NVRTC, NVIDIA's compiler as a library: CUDA to a cubin without nvcc, a C++ compiler or a GPU.

Every CUDA build of torch brings one along (the package nvidia-cuda-nvrtc), so that nothing else need be installed.
"""

import functools
import importlib.util
import os
import platform
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from custom_ops.jit import compiling, nvrtc_compile
from custom_ops.jit.unavailable import KernelUnavailable


@dataclass(frozen=True, slots=True)
class Nvrtc:
    """A libnvrtc that can be opened."""

    library: Path
    version: str  # 'NVRTC 13.0'

    def compile(self, source: Path, options: Sequence[str], folder: Path, output: str) -> str:
        """Writes the cubin of one source as `output` into `folder` and returns what the compiler said. Raises KernelUnavailable.

        NVRTC offers no way to stop it, so it runs in a process of its own, under the limit of all compilers.
        """
        # Neither the environment nor installed packages may have a say in that process, or cost it time.
        python = (sys.executable, '-I', '-S', nvrtc_compile.__file__)
        return compiling.run((*python, self.library, source, output, *options), folder, name=self.version)


@functools.cache
def find_nvrtc() -> Nvrtc:
    """The NVRTC of torch's CUDA version if there is one, else the newest. Raises KernelUnavailable."""
    for path in sorted(_candidates(), key=_preference):
        try:
            return Nvrtc(path, f'NVRTC {nvrtc_compile.version(nvrtc_compile.open_library(path))}')
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
