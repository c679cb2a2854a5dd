"""Kernels for CUDA: compiled for one architecture by NVRTC or nvcc (the same cubin either way), loaded and launched with the driver.

A kernel is `extern "C" __global__ void name(const __grid_constant__ Parameters p)`: one struct by value, of the same layout as the
ctypes.Structure that `DeviceModule.launch` is given.
"""

import ctypes
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import torch

from custom_ops.jit import compiling, store
from custom_ops.jit.cubin import parameter_bytes
from custom_ops.jit.driver import Driver, DriverError, open_driver
from custom_ops.jit.nvrtc import find_nvrtc
from custom_ops.jit.unavailable import KernelUnavailable

Compiler = Literal['auto', 'nvrtc', 'nvcc']
Defines = Mapping[str, int | str]

NO_DEFINES: Defines = MappingProxyType({})

# Understood by both compilers. With the last, ptxas reports registers and spills.
FLAGS = ('-std=c++17', '-Xptxas=-v')
SHARED_BYTES_UNASKED = 48 * 1024  # of dynamic shared memory that a block may have without opting in

_loaded: dict[tuple[str, Path, int, tuple[tuple[str, int | str], ...]], tuple['DeviceModule', store.Artefact]] = {}


class DeviceModule:
    """The kernels of one source on one device."""

    def __init__(self, name: str, cubin: bytes, device: torch.device, driver: Driver) -> None:
        """device  with its index. Raises DriverError if the driver does not take the cubin."""
        self.name = name
        self.parameter_bytes = parameter_bytes(cubin)
        self._device = device
        self._driver = driver
        self._module = driver.load(device.index, cubin)
        self._functions: dict[str, ctypes.c_void_p] = {}
        self._shared_bytes: dict[str, int] = {}

    def launch(
        self,
        kernel: str,
        *,
        grid: int | tuple[int, ...],
        block: int | tuple[int, ...],
        parameters: ctypes.Structure,
        shared_bytes: int = 0,
    ) -> None:
        """Queues a kernel on torch's current stream of the device and returns without waiting for it.

        grid          blocks in x, or in (x, y) or (x, y, z); a grid without blocks launches nothing
        block         threads likewise
        parameters    the kernel's struct; it is copied, but the tensors that it points to must live until the kernel has run (which
                      tensors of torch do, if they are used on this stream only)
        shared_bytes  dynamic shared memory per block

        Raises ValueError for a kernel that is not there or parameters of another size, DriverError if the driver refuses.
        """
        expected = self.parameter_bytes.get(kernel)
        if expected is None:
            raise ValueError(f'{self.name} has no kernel {kernel!r}; it has: {", ".join(self.parameter_bytes)}')
        if ctypes.sizeof(parameters) != expected:
            raise ValueError(
                f'{type(parameters).__name__} has {ctypes.sizeof(parameters)} bytes, but the struct of kernel {kernel} has {expected}; '
                'make the two declarations the same'
            )
        blocks, threads = _three(grid), _three(block)
        if 0 in blocks:
            return
        index = self._device.index
        if kernel not in self._functions:
            self._functions[kernel] = self._driver.function(index, self._module, kernel)
        function = self._functions[kernel]
        if shared_bytes > self._shared_bytes.get(kernel, SHARED_BYTES_UNASKED):
            self._driver.allow_shared_bytes(index, function, shared_bytes)
            self._shared_bytes[kernel] = shared_bytes
        stream = torch.cuda.current_stream(self._device).cuda_stream
        self._driver.launch(index, function, blocks, threads, shared_bytes, stream, parameters)


def _three(size: int | tuple[int, ...]) -> tuple[int, int, int]:
    sizes = (size,) if isinstance(size, int) else size
    return (*sizes, *(1,) * (3 - len(sizes)))


def load_device(name: str, source: Path, device: torch.device, *, defines: Defines = NO_DEFINES) -> DeviceModule:
    """The kernels of a CUDA source on a device, compiled at first use; later calls return the same object. Raises KernelUnavailable."""
    if torch.version.hip or not torch.cuda.is_available():
        raise KernelUnavailable(f'kernel {name} needs an NVIDIA GPU that torch can use; torch {torch.__version__} sees none')
    index = torch.cuda.current_device() if device.index is None else device.index
    key = (name, source, index, tuple(sorted(defines.items())))
    if key not in _loaded:
        major, minor = torch.cuda.get_device_capability(index)
        artefact = build_device(name, source, arch=f'sm_{major}{minor}', defines=defines)
        try:
            module = DeviceModule(name, artefact.path.read_bytes(), torch.device('cuda', index), open_driver())
        except DriverError as error:
            raise KernelUnavailable(f'kernel {name}: {error}; a newer NVIDIA driver may help') from error
        _loaded[key] = module, artefact
    else:
        store.witness(_loaded[key][1])
    return _loaded[key][0]


def compile_cubin(name: str, source: Path, *, arch: str, defines: Defines = NO_DEFINES, compiler: Compiler = 'auto') -> bytes:
    """The cubin of a CUDA source. Needs no GPU.

    arch      of the GPU, as 'sm_90'
    defines   macros
    compiler  'auto': NVRTC if it can be found, else nvcc

    Raises KernelUnavailable.
    """
    return build_device(name, source, arch=arch, defines=defines, compiler=compiler).path.read_bytes()


def build_device(name: str, source: Path, *, arch: str, defines: Defines = NO_DEFINES, compiler: Compiler = 'auto') -> store.Artefact:
    """As compile_cubin, returning the file with its history. Raises KernelUnavailable."""
    source = Path(source).resolve()
    folders = (compiling.INCLUDE, source.parent)
    macros = [f'{macro}={value}' for macro, value in sorted(defines.items())]
    facts = (f'-arch={arch}', *FLAGS, *(f'-D{macro}' for macro in macros))
    options = (*facts, *(f'-I{folder}' for folder in folders))
    version, build = _compiler(compiler, source, options, f'{name}.cubin')
    return store.obtain(
        store.Recipe(
            name=name,
            suffix='.cubin',
            target=' '.join((arch, *macros)),
            compiler=version,
            digest=compiling.digest([source], folders, (name, version, *facts)),
            build=build,
        )
    )


def _compiler(asked: Compiler, source: Path, options: Sequence[str], output: str) -> tuple[str, Callable[[Path], str]]:
    """The version of the compiler to use, and how to build with it. Raises KernelUnavailable."""
    if asked == 'auto':
        try:
            find_nvrtc()
            asked = 'nvrtc'
        except KernelUnavailable:
            if find_nvcc() is None:
                raise
            asked = 'nvcc'
    if asked == 'nvrtc':
        nvrtc = find_nvrtc()
        return nvrtc.version, lambda folder: nvrtc.compile(source, options, folder, output)
    nvcc = find_nvcc()
    if nvcc is None:
        raise KernelUnavailable('there is no nvcc on the PATH or in $CUDA_HOME; install the CUDA toolkit, or leave the choice to auto')
    command = (nvcc, '-cubin', *options, str(source), '-o', output)
    return compiling.version((nvcc,)), lambda folder: compiling.run(command, folder)


def find_nvcc() -> str | None:
    """nvcc of $CUDA_HOME, of the PATH, or of /usr/local/cuda, in this order."""
    home = os.environ.get('CUDA_HOME')
    for path in (str(Path(home) / 'bin') if home else None, os.environ.get('PATH'), '/usr/local/cuda/bin'):
        found = shutil.which('nvcc', path=path) if path else None
        if found:
            return found
    return None
