"""The driver's interface to a GPU, libcuda, through ctypes: load a cubin, launch its kernels on torch's stream."""

import ctypes
import functools
from typing import Any

from custom_ops.jit.unavailable import KernelUnavailable

MAX_DYNAMIC_SHARED_BYTES = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES


class DriverError(RuntimeError):
    """A call of the driver failed; the message names the call, what it was for, and the driver's own words."""


class Driver:
    """The calls of libcuda that are needed. Handles are ctypes.c_void_p; devices are numbered as torch numbers them."""

    def __init__(self, library: Any) -> None:
        """library  an opened libcuda, or what behaves like one. Raises DriverError if the driver does not start."""
        self._library = library
        self._contexts: dict[int, ctypes.c_void_p] = {}
        self._call('cuInit', 0, purpose='starting')

    def context(self, device_index: int) -> ctypes.c_void_p:
        """The primary context of a device, which is the one that torch works in. Held until the process ends, as torch holds it."""
        if device_index not in self._contexts:
            device, context = ctypes.c_int(), ctypes.c_void_p()
            purpose = f'getting the context of device {device_index}'
            self._call('cuDeviceGet', ctypes.byref(device), device_index, purpose=purpose)
            self._call('cuDevicePrimaryCtxRetain', ctypes.byref(context), device, purpose=purpose)
            self._contexts[device_index] = context
        return self._contexts[device_index]

    def load(self, device_index: int, cubin: bytes) -> ctypes.c_void_p:
        """A module made of a cubin."""
        module = ctypes.c_void_p()
        self._within(device_index, 'cuModuleLoadData', ctypes.byref(module), ctypes.c_char_p(cubin), purpose='loading a cubin')
        return module

    def function(self, device_index: int, module: ctypes.c_void_p, kernel: str) -> ctypes.c_void_p:
        """A kernel of a module."""
        function = ctypes.c_void_p()
        name = ctypes.c_char_p(kernel.encode())
        self._within(device_index, 'cuModuleGetFunction', ctypes.byref(function), module, name, purpose=f'finding kernel {kernel}')
        return function

    def allow_shared_bytes(self, device_index: int, function: ctypes.c_void_p, count: int) -> None:
        """Lets launches of a kernel ask for up to `count` bytes of dynamic shared memory."""
        purpose = f'asking for {count} bytes of shared memory per block'
        self._within(device_index, 'cuFuncSetAttribute', function, MAX_DYNAMIC_SHARED_BYTES, count, purpose=purpose)

    def launch(
        self,
        device_index: int,
        function: ctypes.c_void_p,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        shared_bytes: int,
        stream: int,
        parameters: ctypes.Structure,
    ) -> None:
        """Queues a kernel of one parameter, which the driver copies before this returns."""
        pointers = (ctypes.c_void_p * 1)(ctypes.addressof(parameters))
        purpose = f'launching grid {grid}, block {block}, {shared_bytes} bytes of shared memory'
        self._within(
            device_index, 'cuLaunchKernel', function, *grid, *block, shared_bytes, ctypes.c_void_p(stream), pointers, None, purpose=purpose
        )

    def _within(self, device_index: int, name: str, *arguments: Any, purpose: str) -> None:
        """A call in the device's context, whichever was current before and is again."""
        self._call('cuCtxPushCurrent_v2', self.context(device_index), purpose=purpose)
        try:
            self._call(name, *arguments, purpose=purpose)
        finally:
            self._call('cuCtxPopCurrent_v2', ctypes.byref(ctypes.c_void_p()), purpose=purpose)

    def _call(self, name: str, *arguments: Any, purpose: str) -> None:
        code = getattr(self._library, name)(*arguments)
        if code:
            raise DriverError(f'{purpose}: {name} returned {self._words("cuGetErrorName", code)} ({self._words("cuGetErrorString", code)})')

    def _words(self, which: str, code: int) -> str:
        text = ctypes.c_char_p()
        unknown = getattr(self._library, which)(code, ctypes.byref(text))
        return f'error {code}' if unknown or text.value is None else text.value.decode()


@functools.cache
def open_driver() -> Driver:
    """This machine's driver. Raises KernelUnavailable."""
    try:
        return Driver(ctypes.CDLL('libcuda.so.1'))
    except (OSError, DriverError) as error:
        raise KernelUnavailable(f'the NVIDIA driver cannot be used: {error}') from error
