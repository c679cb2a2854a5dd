"""bias_act by kernels, for the CPU and for CUDA: one pass each for the result, its gradient and the gradient of that.

Three operations are registered, bias_act_forward, _backward and _second; torch.compile and everything else that traces goes through them.
Plain tensors take a short cut past the dispatcher, which on small tensors would cost more than the work.
"""

import ctypes
import functools
import math
from pathlib import Path

import torch
from torch import Tensor
from torch.autograd import Function

from custom_ops import layout
from custom_ops.backend import register_device_source, register_kernel
from custom_ops.calling import FORMATS, as_floats, pointer, short_cut, takes, threads_for
from custom_ops.jit import DeviceModule, load_device, load_host

FOLDER = Path(__file__).parent
CUDA_SOURCE = FOLDER / 'bias_act.cu'
FUNCTIONS = ('LEAKY', 'TANH', 'SIGMOID', 'ELU', 'SELU', 'SOFTPLUS', 'SWISH')  # as in bias_act.h
SLOPES = {'linear': 1.0, 'relu': 0.0}  # below zero; with lrelu, these are LEAKY

# act, alpha (of lrelu), gain, clamp (infinity: none), dim
Settings = tuple[str, float, float, float, int]


class Parameters(ctypes.Structure):
    """`struct BiasActParameters` of bias_act.h."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ('x', 'bias', 'grad', 'grad_grad', 'y', 'grad_x', 'sums')),
        ('shape', layout.Channels),
        *((name, ctypes.c_int32) for name in ('of_output', 'format', 'activation', 'threads')),
        *((name, ctypes.c_float) for name in ('alpha', 'gain', 'clamp')),
    ]


def pays(x: Tensor, act: str, clamp: float | None) -> bool:
    """Whether a kernel is worth its call for such a tensor.

    On the CPU not below 65536 elements, where calls cost more than passes over memory; and not for lrelu alone on 16 bits, where the two
    passes of PyTorch are as fast.
    """
    if not takes(x) or (act == 'linear' and clamp is None):
        return False
    short_passes = x.dtype != torch.float32 and clamp is None and _piecewise_linear(act)
    return x.device.type != 'cpu' or (x.numel() >= 1 << 16 and not short_passes)


def _piecewise_linear(act: str) -> bool:
    return act in SLOPES or act == 'lrelu'


def variant(x: Tensor, act: str) -> tuple[torch.dtype, str] | tuple[()]:
    """What the kernels of a GPU are compiled for; nothing for what they do not know."""
    function = _function(act)
    return (x.dtype, function) if takes(x) and function in FUNCTIONS else ()


def _function(act: str) -> str:
    return 'LEAKY' if _piecewise_linear(act) else act.upper()


def _of_output(dtype: torch.dtype, act: str, alpha: float, gain: float, clamp: float) -> bool:
    """Whether the derivative can be told from the result, which then is all that is kept for the backward pass.

    Rounded to 16 bits, a result can also have come to lie on the clamp from below: then the input is kept.
    """
    tells_sign = _piecewise_linear(act) and gain > 0 and SLOPES.get(act, alpha) >= 0
    return tells_sign and (clamp == math.inf or dtype == torch.float32)


@functools.cache
def _host() -> ctypes.CDLL:
    return load_host('bias_act', [FOLDER / 'bias_act.cpp'])


@functools.cache
def _device(device: torch.device, dtype: torch.dtype, function: str, width: int) -> DeviceModule:
    return load_device('bias_act', CUDA_SOURCE, device, defines=_defines(dtype, function, width))


def _load_device(device: torch.device, dtype: torch.dtype = torch.float32, function: str = 'LEAKY') -> None:
    for width in layout.pack_sizes(dtype):
        _device(device, dtype, function, width)


def _defines(dtype: torch.dtype, function: str, width: int) -> dict[str, str | int]:
    return {'FORMAT': FORMATS[dtype], 'FUNCTION': function, 'WIDTH': width}


def _run(
    kernel: str, x: Tensor, bias: Tensor | None, settings: Settings, *, grad: Tensor | None = None, grad_grad: Tensor | None = None,
    of_output: bool = False, sums: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Runs 'forward', 'backward' or 'second'. Returns `y` and `grad_x` (empty unless the kernel writes it) of the parameters, like x, and
    the sums per channel, [C] float32 (empty unless asked for).
    """
    act, alpha, gain, clamp, dim = settings
    stored = layout.memory_format(x)
    x = x.contiguous(memory_format=stored)
    grad = None if grad is None else grad.to(x.dtype).contiguous(memory_format=stored)
    grad_grad = None if grad_grad is None else grad_grad.to(x.dtype).contiguous(memory_format=stored)
    bias = None if of_output else as_floats(bias)
    y = torch.empty_like(x)
    grad_x = torch.empty_like(x) if kernel == 'second' else x.new_empty(0)
    shape = layout.channels(x.shape, dim if bias is not None or sums else None, stored)
    channels = x.shape[dim] if sums else 0
    if x.numel() == 0:
        return y, grad_x, x.new_zeros(channels, dtype=torch.float32)
    parameters = Parameters(
        x=x.data_ptr(),
        bias=pointer(bias),
        grad=pointer(grad),
        grad_grad=pointer(grad_grad),
        y=y.data_ptr(),
        grad_x=grad_x.data_ptr(),
        shape=shape,
        of_output=of_output,
        alpha=SLOPES.get(act, alpha),
        gain=gain,
        clamp=clamp,
    )
    launch = _on_host if x.device.type == 'cpu' else _on_device
    return y, grad_x, launch(kernel, parameters, act, channels, (x, bias, grad, grad_grad, y, grad_x))


def _on_host(kernel: str, parameters: Parameters, act: str, channels: int, tensors: tuple[Tensor | None, ...]) -> Tensor:
    """Runs a kernel of the CPU; returns its sums [channels]."""
    x = tensors[0]
    sums = torch.empty(channels, dtype=torch.float32)
    parameters.sums = pointer(sums) if channels else None
    parameters.format = tuple(FORMATS).index(x.dtype)
    parameters.activation = FUNCTIONS.index(_function(act))
    parameters.threads = threads_for(x)
    getattr(_host(), f'bias_act_{kernel}')(ctypes.byref(parameters))
    return sums


def _on_device(kernel: str, parameters: Parameters, act: str, channels: int, tensors: tuple[Tensor | None, ...]) -> Tensor:
    """Queues a kernel of a GPU, fitted to what all `tensors` are aligned to; returns its sums [channels]."""
    x, shape = tensors[0], parameters.shape
    width = layout.pack_size(shape, *tensors)
    grid, block = layout.launch_shape(shape, width)
    partial = x.new_empty(shape.samples * layout.parts(shape, grid) if channels else 0, channels, dtype=torch.float32)
    parameters.sums = pointer(partial) if channels else None
    module = _device(x.device, x.dtype, _function(act), width)
    module.launch(f'bias_act_{kernel}', grid=grid, block=block, parameters=parameters)
    return partial.sum(dim=0) if channels else partial.view(0)


def _run_forward(x: Tensor, bias: Tensor | None, act: str, alpha: float, gain: float, clamp: float, dim: int) -> Tensor:
    return _run('forward', x, bias, (act, alpha, gain, clamp, dim))[0]


def _run_backward(
    grad: Tensor, x: Tensor, bias: Tensor | None, act: str, alpha: float, gain: float, clamp: float, dim: int, of_output: bool, sums: bool
) -> tuple[Tensor, Tensor]:
    grad_x, _, total = _run('backward', x, bias, (act, alpha, gain, clamp, dim), grad=grad, of_output=of_output, sums=sums)
    return grad_x, total


def _run_second(
    grad_grad: Tensor, grad: Tensor, x: Tensor, bias: Tensor | None, act: str, alpha: float, gain: float, clamp: float, dim: int, sums: bool
) -> tuple[Tensor, Tensor, Tensor]:
    return _run('second', x, bias, (act, alpha, gain, clamp, dim), grad=grad, grad_grad=grad_grad, sums=sums)


class _Forward(Function):
    @staticmethod
    def forward(ctx, x: Tensor, bias: Tensor | None, *settings) -> Tensor:
        y = _run_forward(x, bias, *settings)
        _remember_forward(ctx, (x, bias, *settings), y)
        return y

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        return _differentiate_forward(ctx, grad)


def _remember_forward(ctx, inputs: tuple, output: Tensor) -> None:
    x, bias, *settings = inputs
    ctx.of_output = _of_output(x.dtype, *settings[:4])
    ctx.save_for_backward(output if ctx.of_output else x, bias)
    ctx.settings = settings


def _differentiate_forward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, bias = ctx.saved_tensors
    sums = ctx.needs_input_grad[1]
    at = (x, bias)
    if _piecewise_linear(ctx.settings[0]):
        # The derivative is constant almost everywhere, and a constant is not differentiated again.
        at = tuple(t if t is None else t.detach() for t in at)
    grad_x, total = _backward(grad, *at, *ctx.settings, ctx.of_output, sums)
    return grad_x, total.to(bias.dtype) if sums else None, None, None, None, None, None


class _Backward(Function):
    @staticmethod
    def forward(ctx, grad: Tensor, x: Tensor, bias: Tensor | None, *settings) -> tuple[Tensor, Tensor]:
        outputs = _run_backward(grad, x, bias, *settings)
        _remember_backward(ctx, (grad, x, bias, *settings), outputs)
        return outputs

    @staticmethod
    def backward(ctx, grad_grad: Tensor | None, grad_total: Tensor | None) -> tuple[Tensor | None, ...]:
        return _differentiate_backward(ctx, grad_grad, grad_total)


def _remember_backward(ctx, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:
    grad, x, bias, *settings, ctx.of_output, ctx.sums = inputs
    # What is linear in `grad` and has no other variable has a derivative that does not depend on it.
    ctx.save_for_backward(None if _piecewise_linear(settings[0]) else grad, x, bias)
    ctx.settings = settings
    ctx.set_materialize_grads(False)


def _differentiate_backward(ctx, grad_grad: Tensor | None, grad_total: Tensor | None) -> tuple[Tensor | None, ...]:
    grad, x, bias = ctx.saved_tensors
    if ctx.sums and grad_total is not None:
        dim = ctx.settings[-1]
        wide = grad_total.to(x.dtype).view(-1, *[1] * (x.ndim - 1 - dim % x.ndim))
        grad_grad = wide.expand_as(x) if grad_grad is None else grad_grad + wide
    nothing = (None,) * 7
    if grad_grad is None:
        return (None, None, None, *nothing)
    if _piecewise_linear(ctx.settings[0]):
        return (_backward(grad_grad, x, bias, *ctx.settings, ctx.of_output, False)[0], None, None, *nothing)
    sums = ctx.needs_input_grad[2]
    of_grad, grad_x, total = _second(grad_grad, grad, x, bias, *ctx.settings, sums)
    return (of_grad, grad_x, total.to(bias.dtype) if sums else None, *nothing)


class _Second(Function):
    @staticmethod
    def forward(ctx, *inputs) -> tuple[Tensor, Tensor, Tensor]:
        return _run_second(*inputs)

    @staticmethod
    def backward(ctx, *grads: Tensor) -> None:
        return _differentiate_second(ctx, *grads)


def _differentiate_second(ctx, *grads: Tensor) -> None:
    raise NotImplementedError("a third derivative of bias_act was asked for, and kernels have two; call it with backend='reference'")


_library = torch.library.Library('unposed', 'FRAGMENT')
_settings = 'str act, float alpha, float gain, float clamp, int dim'
_library.define(f'bias_act_forward(Tensor x, Tensor? bias, {_settings}) -> Tensor')
_library.define(f'bias_act_backward(Tensor grad, Tensor x, Tensor? bias, {_settings}, bool of_output, bool sums) -> (Tensor, Tensor)')
_library.define(
    f'bias_act_second(Tensor grad_grad, Tensor grad, Tensor x, Tensor? bias, {_settings}, bool sums) -> (Tensor, Tensor, Tensor)'
)
for _name, _kernel in (('forward', _run_forward), ('backward', _run_backward), ('second', _run_second)):
    for _key in ('CPU', 'CUDA'):
        _library.impl(f'bias_act_{_name}', _kernel, _key)


def _empty_like(x: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=layout.memory_format(x))


def _empty_sums(x: Tensor, dim: int, sums: bool) -> Tensor:
    return x.new_empty(x.shape[dim] if sums else 0, dtype=torch.float32)


@torch.library.register_fake('unposed::bias_act_forward', lib=_library)
def _(x, bias, act, alpha, gain, clamp, dim):
    return _empty_like(x)


@torch.library.register_fake('unposed::bias_act_backward', lib=_library)
def _(grad, x, bias, act, alpha, gain, clamp, dim, of_output, sums):
    return _empty_like(x), _empty_sums(x, dim, sums)


@torch.library.register_fake('unposed::bias_act_second', lib=_library)
def _(grad_grad, grad, x, bias, act, alpha, gain, clamp, dim, sums):
    return _empty_like(x), _empty_like(x), _empty_sums(x, dim, sums)


torch.library.register_autograd('unposed::bias_act_forward', _differentiate_forward, setup_context=_remember_forward, lib=_library)
torch.library.register_autograd('unposed::bias_act_backward', _differentiate_backward, setup_context=_remember_backward, lib=_library)
torch.library.register_autograd('unposed::bias_act_second', _differentiate_second, lib=_library)

# (x, bias, *Settings) -> y;  (grad, x, bias, *Settings, of_output, sums) -> (grad_x, total);  (grad_grad, grad, x, bias, *Settings, sums)
# -> (gradient of grad, grad_x, total)
bias_act_fused = short_cut(torch.ops.unposed.bias_act_forward.default, _Forward)
_backward = short_cut(torch.ops.unposed.bias_act_backward.default, _Backward)
_second = short_cut(torch.ops.unposed.bias_act_second.default, _Second)

register_kernel('bias_act', 'cpu', lambda device, *variant: _host())
register_kernel('bias_act', 'cuda', _load_device)
register_device_source(
    'bias_act', 'bias_act', CUDA_SOURCE,
    [_defines(dtype, function, width) for dtype in FORMATS for function in FUNCTIONS for width in layout.pack_sizes(dtype)],
)  # fmt: skip
