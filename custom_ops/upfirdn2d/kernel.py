"""upfirdn2d by kernels of our own, for processors and for CUDA: one operation whose derivative is itself, see reference.py."""

import ctypes
import functools
import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import Parameter

from custom_ops.backend import register_device_source, register_kernel
from custom_ops.calling import FORMATS, check_one_device
from custom_ops.jit import DeviceModule, load_device, load_host
from custom_ops.layout import PACK_BYTES
from custom_ops.upfirdn2d.filters import filter_size
from custom_ops.upfirdn2d.reference import Four, Two, adjoint_padding, output_size

FOLDER = Path(__file__).parent

# Images of so many channels with rows shorter than this are brought into the channels-last format for the processor, whose vectors then
# span channels; in all other cases the format that x comes in is the fastest, since changing it costs more than it saves.
MANY_CHANNELS, SHORT_ROW = 8, 24

# Outputs that are worth a thread: less takes no longer than starting one.
OUTPUTS_PER_THREAD = 1 << 17

# Threads of a block, outputs of a thread along the axis that it filters.
BLOCK = 128
TILE = 4
MOST_OUTPUTS = 2**31 - 2**20  # about, since padding is not counted


class Parameters(ctypes.Structure):
    """Upfirdn2dParameters of upfirdn2d.h."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ('x', 'f', 'y')),
        ('images', ctypes.c_int64),
        *((name, ctypes.c_int32) for name in ('channels', 'in_width', 'in_height', 'out_width', 'out_height')),
        *((name, ctypes.c_int32) for name in ('up_x', 'up_y', 'down_x', 'down_y', 'taps_x', 'taps_y')),
        *((name, ctypes.c_int32) for name in ('left', 'top', 'separable', 'flip')),
        ('gain', ctypes.c_float),
        ('threads', ctypes.c_int32),
    ]


def obstacle(x: Tensor, f: Tensor) -> str | None:
    """Why these tensors need the reference, or None."""
    if x.dtype not in FORMATS:
        return f'x is {x.dtype}, and the kernels know {", ".join(str(dtype) for dtype in FORMATS)}'
    if f.requires_grad and torch.is_grad_enabled():
        return 'the filter requires a gradient'
    return None


def pays(x: Tensor, up: Two, down: Two) -> bool:
    """Whether a kernel is worth its call. Not for filters alone of many channels in bfloat16 on processors that multiply it: there the depthwise
    convolution of the reference is three times as fast; with anything to insert or to leave out it is several times slower. On a GPU not for
    more outputs than it counts threads.
    """
    if x.device.type != 'cpu':
        return x.numel() * math.prod(up) // math.prod(down) < MOST_OUTPUTS
    if x.dtype != torch.bfloat16 or (up, down) != ((1, 1), (1, 1)) or x.shape[1] < MANY_CHANNELS:
        return True
    return not (x.is_contiguous(memory_format=torch.channels_last) and _multiplies_bfloat16())


@functools.cache
def _multiplies_bfloat16() -> bool:
    ask = getattr(torch.cpu, '_is_avx512_bf16_supported', None)  # not every torch has it
    return ask is not None and ask()


def upfirdn2d_kernel(x: Tensor, f: Tensor, up: Two, down: Two, padding: Four, flip_filter: bool, gain: float) -> Tensor:
    """As upfirdn2d_reference, for tensors without an `obstacle`. The filter acts in float32, whatever x is stored as."""
    check_one_device('upfirdn2d', x, f)
    arguments = (x, f.float(), up, down, padding, flip_filter, gain)
    # The dispatcher of registered operations takes longer than a kernel on a small image, and only tracing needs it.
    if torch.compiler.is_compiling() or type(x) not in (Tensor, Parameter):
        return torch.ops.unposed.upfirdn2d_kernel(*arguments)
    if x.requires_grad and torch.is_grad_enabled():
        return _Upfirdn2d.apply(*arguments)
    return _RUN[x.device.type](*arguments)


def _format(x: Tensor) -> torch.memory_format:
    """The memory format in which the kernels take x and leave the result."""
    if x.device.type == 'cpu' and x.shape[1] >= MANY_CHANNELS and x.shape[3] < SHORT_ROW:
        return torch.channels_last
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format


def _empty_result(x: Tensor, f: Tensor, up: Two, down: Two, padding: Four, flip_filter: bool, gain: float) -> Tensor:
    height, width = output_size(x.shape, filter_size(f), up, down, padding)
    return torch.empty((*x.shape[:2], height, width), dtype=x.dtype, device=x.device, memory_format=_format(x))


def parameters(x: Tensor, f: Tensor, y: Tensor, up: Two, down: Two, padding: Four, flip_filter: bool, gain: float) -> Parameters:
    """For x and y in the same memory format; f float32, contiguous."""
    n, c, in_height, in_width = x.shape
    # Channels first: every channel is an image of one channel. y cannot be asked: one of a single pixel is in both formats.
    images, channels = (n, c) if _format(x) == torch.channels_last else (n * c, 1)
    taps_y, taps_x = filter_size(f)
    return Parameters(
        x.data_ptr(), f.data_ptr(), y.data_ptr(), images, channels, in_width, in_height, y.shape[3], y.shape[2],
        *up, *down, taps_x, taps_y, padding[0], padding[2], f.ndim == 1, flip_filter, gain,
        min(torch.get_num_threads(), 1 + y.numel() // OUTPUTS_PER_THREAD),
    )  # fmt: skip


@functools.cache
def _host_functions() -> dict[torch.dtype, Callable]:
    """Raises KernelUnavailable."""
    library = load_host('upfirdn2d', [FOLDER / 'upfirdn2d.cpp'])
    functions = {dtype: getattr(library, f'upfirdn2d_{str(dtype).removeprefix("torch.")}') for dtype in FORMATS}
    for function in functions.values():
        function.argtypes, function.restype = [ctypes.POINTER(Parameters)], None
    return functions


def _on_cpu(x: Tensor, f: Tensor, up: Two, down: Two, padding: Four, flip_filter: bool, gain: float) -> Tensor:
    y = _empty_result(x, f, up, down, padding, flip_filter, gain)
    x, f = x.contiguous(memory_format=_format(x)), f.contiguous()
    if y.numel():
        _host_functions()[x.dtype](parameters(x, f, y, up, down, padding, flip_filter, gain))
    return y


def _on_cuda(x: Tensor, f: Tensor, up: Two, down: Two, padding: Four, flip_filter: bool, gain: float) -> Tensor:
    for step_up, step_down, taps, step_padding in passes(f.ndim, filter_size(f), up, down, padding):
        x = _launch(x, f.reshape(taps), step_up, step_down, step_padding, flip_filter, gain)
        gain = 1.0
    return x


def _launch(x: Tensor, f: Tensor, up: Two, down: Two, padding: Four, flip_filter: bool, gain: float) -> Tensor:
    """One pass with f [kh, kw]."""
    y = _empty_result(x, f, up, down, padding, flip_filter, gain)
    x, f = x.contiguous(memory_format=_format(x)), f.contiguous()
    p = parameters(x, f, y, up, down, padding, flip_filter, gain)
    packs = p.channels * x.element_size() % PACK_BYTES == 0 and x.data_ptr() % PACK_BYTES == 0
    defines = macros(x.dtype, packs, up, down, filter_size(f), padding)
    if y.numel():
        _module(x.device, defines).launch('upfirdn2d', grid=blocks(p, defines), block=BLOCK, parameters=p)
    return y


def macros(dtype: torch.dtype, packs: bool, up: Two, down: Two, taps: Two, padding: Four) -> dict[str, int | str]:
    """What upfirdn2d.cu is compiled for. taps (y, x); `packs`: channels are read PACK_BYTES at once."""
    (up_x, up_y), (down_x, down_y), (taps_y, taps_x) = up, down, taps
    return {
        'NUMBER': FORMATS[dtype],
        'VECTOR': PACK_BYTES // dtype.itemsize if packs else 1,
        'BLOCK': BLOCK,
        # A thread's outputs lie along y, where its loads serve several of them, or along x if there is nothing to filter along y.
        **_axis('X', up_x, down_x, taps_x, padding[0], TILE if taps_y == 1 else 1),
        **_axis('Y', up_y, down_y, taps_y, padding[2], TILE if taps_y > 1 else 1),
    }


def _axis(name: str, up: int, down: int, taps: int, before: int, wanted_outputs: int) -> dict[str, int]:
    """The template arguments of Axis: the fewest outputs from `wanted_outputs` / down on after which the phase returns."""
    period = up // math.gcd(up, down)
    tile = period * max(1, wanted_outputs // (period * down))
    return {f'UP_{name}': up, f'DOWN_{name}': down, f'TAPS_{name}': taps, f'PHASE_{name}': -before % up, f'TILE_{name}': tile}


def blocks(p: Parameters, defines: dict[str, int | str]) -> int:
    """Raises ValueError for a tensor too large for the kernel's 32-bit count of threads."""
    groups = p.channels // defines['VECTOR']
    threads = p.images * -(-p.out_height // defines['TILE_Y']) * -(-p.out_width // defines['TILE_X']) * groups
    if threads >= 2**31 - BLOCK:
        raise ValueError(f'upfirdn2d of {p.images} images would take {threads} threads, more than 2^31; use smaller batches')
    return -(-threads // BLOCK)


def variant(x: Tensor, f: Tensor, up: Two, down: Two, padding: Four) -> tuple:
    """What upfirdn2d.cu is compiled for, for `_load_device`; nothing where there is an `obstacle`, or sizes are symbols because x is traced."""
    taps = filter_size(f)
    known = all(type(number) is int for number in (*taps, *up, *down, *padding))
    return (x.dtype, f.ndim, taps, up, down, padding) if known and obstacle(x, f) is None else ()


def _load_device(
    device: torch.device, dtype: torch.dtype = torch.float32, ndim: int = 2, taps: Two = (4, 4), up: Two = (2, 2), down: Two = (1, 1),
    padding: Four = (2, 1, 2, 1),
) -> None:  # fmt: skip
    """For the filter and its adjoint, packed or not. `taps` as filter_size has them."""
    left, _, top, _ = padding
    back = (taps[1] - 1 - left, 0, taps[0] - 1 - top, 0)  # as far as the kernel is compiled for it; see adjoint_padding
    for geometry in ((up, down, padding), (down, up, back)):
        for packs in (False, True):
            for step in passes(ndim, taps, *geometry):
                _module(device, macros(dtype, packs, *step))


def passes(ndim: int, taps: Two, up: Two, down: Two, padding: Four) -> list[tuple[Two, Two, Two, Four]]:
    """(up, down, taps, padding) of each launch: one for a filter of two dimensions, two for a separable one.

    The axis that shrinks the image goes first, the one that enlarges it last.
    """
    if ndim == 2:
        return [(up, down, taps, padding)]
    along_x = (up[0], 1), (down[0], 1), (1, taps[1]), (*padding[:2], 0, 0)
    along_y = (1, up[1]), (1, down[1]), (taps[0], 1), (0, 0, *padding[2:])
    return [along_x, along_y] if down[0] >= up[0] else [along_y, along_x]


_modules: dict[tuple, DeviceModule] = {}


def _module(device: torch.device, defines: dict[str, int | str]) -> DeviceModule:
    key = (device.index, *defines.values())
    if key not in _modules:
        _modules[key] = load_device('upfirdn2d', FOLDER / 'upfirdn2d.cu', device, defines=defines)
    return _modules[key]


# What the networks and the augmentation ask for; anything else is compiled when it is met.
COMMON = [
    macros(dtype, packs, up, down, (4, 4), padding)
    for dtype in FORMATS
    for packs in (False, True)
    for up, down, padding in (((2, 2), (1, 1), (2, 1, 2, 1)), ((1, 1), (2, 2), (1, 1, 1, 1)), ((1, 1), (1, 1), (2, 2, 2, 2)))
] + [
    macros(dtype, False, up, down, taps, (0, 0, 0, 0))
    for dtype in FORMATS
    for up, down, taps in (((2, 1), (1, 1), (1, 12)), ((1, 2), (1, 1), (12, 1)), ((1, 1), (2, 1), (1, 12)), ((1, 1), (1, 2), (12, 1)))
]


_RUN = {'cpu': _on_cpu, 'cuda': _on_cuda}


def _remember(ctx, inputs: tuple, output: Tensor) -> None:
    x, f, up, down, padding, flip_filter, gain = inputs
    ctx.save_for_backward(f)
    ctx.geometry = (down, up, adjoint_padding(x.shape, output.shape, filter_size(f), up, down, padding), not flip_filter, gain)


def _backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
    (f,) = ctx.saved_tensors
    return (upfirdn2d_kernel(grad, f, *ctx.geometry) if ctx.needs_input_grad[0] else None, *(None,) * 6)


class _Upfirdn2d(torch.autograd.Function):
    """The registered operation without its dispatcher."""

    @staticmethod
    def forward(ctx, *arguments) -> Tensor:
        y = _RUN[arguments[0].device.type](*arguments)
        _remember(ctx, arguments, y)
        return y

    backward = staticmethod(_backward)


_library = torch.library.Library('unposed', 'FRAGMENT')
_library.define('upfirdn2d_kernel(Tensor x, Tensor f, int[2] up, int[2] down, int[4] padding, bool flip_filter, float gain) -> Tensor')
for device_type, run in _RUN.items():
    _library.impl('upfirdn2d_kernel', run, device_type.upper())
torch.library.register_fake('unposed::upfirdn2d_kernel', _empty_result, lib=_library)
torch.library.register_autograd('unposed::upfirdn2d_kernel', _backward, setup_context=_remember, lib=_library)

register_kernel('upfirdn2d', 'cpu', lambda device, *variant: _host_functions())
register_kernel('upfirdn2d', 'cuda', _load_device)
register_device_source('upfirdn2d', 'upfirdn2d', FOLDER / 'upfirdn2d.cu', COMMON)
