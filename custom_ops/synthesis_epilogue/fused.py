"""synthesis_epilogue by kernels: one pass forward and one backward, which yields all gradients. Both are registered operations.

The gradient of the gradient is a few passes of plain PyTorch, differentiable to any order: only a path-length penalty asks for it.
"""

import ctypes
import functools
from pathlib import Path

import torch
from torch import Tensor
from torch.autograd import Function

from custom_ops import layout
from custom_ops.backend import register_device_source, register_kernel
from custom_ops.calling import FORMATS, as_floats, pointer, short_cut, takes, threads_for
from custom_ops.jit import DeviceModule, load_device, load_host
from custom_ops.synthesis_epilogue.reference import SLOPE

FOLDER = Path(__file__).parent
CUDA_SOURCE = FOLDER / 'synthesis_epilogue.cu'
OF_SCALE, OF_BIAS, OF_STRENGTH, SUMS = range(4)  # as in synthesis_epilogue.h


class Parameters(ctypes.Structure):
    """`struct SynthesisEpilogueParameters` of synthesis_epilogue.h."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ('x', 'scale', 'bias', 'noise', 'strength', 'grad', 'y', 'sums')),
        ('shape', layout.Channels),
        *((name, ctypes.c_int32) for name in ('noise_per_sample', 'format', 'threads')),
        *((name, ctypes.c_float) for name in ('slope', 'gain', 'clamp')),
    ]


def pays(x: Tensor) -> bool:
    """Whether a kernel is worth its call for such a tensor."""
    return takes(x) and (x.device.type != 'cpu' or x.numel() >= 1 << 14)


def variant(x: Tensor) -> tuple[torch.dtype] | tuple[()]:
    """What the kernels of a GPU are compiled for; nothing for what they do not know."""
    return (x.dtype,) if takes(x) else ()


@functools.cache
def _host() -> ctypes.CDLL:
    return load_host('synthesis_epilogue', [FOLDER / 'synthesis_epilogue.cpp'])


@functools.cache
def _device(device: torch.device, dtype: torch.dtype, width: int) -> DeviceModule:
    return load_device('synthesis_epilogue', CUDA_SOURCE, device, defines=_defines(dtype, width))


def _load_device(device: torch.device, dtype: torch.dtype = torch.float32) -> None:
    for width in layout.pack_sizes(dtype):
        _device(device, dtype, width)


def _defines(dtype: torch.dtype, width: int) -> dict[str, str | int]:
    return {'FORMAT': FORMATS[dtype], 'WIDTH': width}


def _run(
    x: Tensor, scale: Tensor, bias: Tensor, noise: Tensor | None, strength: Tensor | None, gain: float, clamp: float,
    grad: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Forward without `grad`: the result, and nothing. Backward with it: the gradient of x, and the sums [N, SUMS, C] float32."""
    stored = layout.memory_format(x)
    x = x.contiguous(memory_format=stored)
    y = torch.empty_like(x)
    n, c, h, w = x.shape
    shape = layout.Channels(n, c, h * w, 0) if stored == torch.contiguous_format else layout.Channels(n, h * w, c, 1)
    backward = grad is not None
    grad = None if grad is None else grad.to(x.dtype).contiguous(memory_format=stored)
    scale, bias, noise, strength = (as_floats(factor) for factor in (scale, bias, noise, strength))
    if x.numel() == 0:
        return y, x.new_zeros(n if backward else 0, SUMS, c, dtype=torch.float32)
    parameters = Parameters(
        x=x.data_ptr(),
        scale=scale.data_ptr(),
        bias=bias.data_ptr(),
        noise=pointer(noise),
        strength=pointer(strength),
        grad=pointer(grad),
        y=y.data_ptr(),
        shape=shape,
        noise_per_sample=noise is not None and len(noise) > 1,
        slope=SLOPE,
        gain=gain,
        clamp=clamp,
    )
    launch = _on_host if x.device.type == 'cpu' else _on_device
    return y, launch(parameters, backward, (x, scale, bias, noise, grad, y))


def _kernel(backward: bool) -> str:
    return 'synthesis_epilogue_backward' if backward else 'synthesis_epilogue_forward'


def _on_host(parameters: Parameters, backward: bool, tensors: tuple[Tensor | None, ...]) -> Tensor:
    """Runs a kernel of the CPU; returns the sums of the backward one, [N, SUMS, C]."""
    x = tensors[0]
    sums = torch.empty(len(x) if backward else 0, SUMS, x.shape[1], dtype=torch.float32)
    parameters.sums = sums.data_ptr()
    parameters.format = tuple(FORMATS).index(x.dtype)
    parameters.threads = threads_for(x)
    getattr(_host(), _kernel(backward))(ctypes.byref(parameters))
    return sums


def _on_device(parameters: Parameters, backward: bool, tensors: tuple[Tensor | None, ...]) -> Tensor:
    """Queues a kernel of a GPU, fitted to what all `tensors` are aligned to; returns the sums of the backward one, [N, SUMS, C]."""
    x, shape = tensors[0], parameters.shape
    width = layout.pack_size(shape, *tensors)
    grid, block = layout.launch_shape(shape, width)
    partial = x.new_empty(len(x), layout.parts(shape, grid) if backward else 0, SUMS, x.shape[1], dtype=torch.float32)
    parameters.sums = partial.data_ptr()
    _device(x.device, x.dtype, width).launch(_kernel(backward), grid=grid, block=block, parameters=parameters)
    return partial.sum(dim=1) if backward else partial.view(0)


def _run_forward(
    x: Tensor, scale: Tensor, bias: Tensor, noise: Tensor | None, strength: Tensor | None, gain: float, clamp: float
) -> Tensor:
    return _run(x, scale, bias, noise, strength, gain, clamp)[0]


def _run_backward(
    grad: Tensor, x: Tensor, scale: Tensor, bias: Tensor, noise: Tensor | None, strength: Tensor | None, gain: float, clamp: float
) -> tuple[Tensor, Tensor]:
    return _run(x, scale, bias, noise, strength, gain, clamp, grad)


class _Forward(Function):
    @staticmethod
    def forward(ctx, *inputs) -> Tensor:
        y = _run_forward(*inputs)
        _remember_forward(ctx, inputs, y)
        return y

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        return _differentiate_forward(ctx, grad)


def _remember_forward(ctx, inputs: tuple, output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:5])
    ctx.settings = inputs[5:]


def _differentiate_forward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, scale, bias, noise, strength = ctx.saved_tensors
    grad_x, sums = _backward(grad, x, scale, bias, noise, strength, *ctx.settings)
    grad_scale = sums[:, OF_SCALE].to(scale.dtype)
    grad_bias = sums[:, OF_BIAS].sum(dim=0).to(bias.dtype)
    grad_strength = None if strength is None else sums[:, OF_STRENGTH].sum().to(strength.dtype)
    return grad_x, grad_scale, grad_bias, None, grad_strength, None, None


class _Backward(Function):
    @staticmethod
    def forward(ctx, *inputs) -> tuple[Tensor, Tensor]:
        outputs = _run_backward(*inputs)
        _remember_backward(ctx, inputs, outputs)
        return outputs

    @staticmethod
    def backward(ctx, grad_grad: Tensor | None, grad_sums: Tensor | None) -> tuple[Tensor | None, ...]:
        return _differentiate_backward(ctx, grad_grad, grad_sums)


def _remember_backward(ctx, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs[:6])
    ctx.settings = inputs[6:]
    ctx.set_materialize_grads(False)


def _differentiate_backward(ctx, grad_grad: Tensor | None, grad_sums: Tensor | None) -> tuple[Tensor | None, ...]:
    """With d the derivative of y by v, which is constant almost everywhere: the backward pass is

    grad_x = d grad scale, and sums of d grad x, d grad and d grad noise over pixels,

    so the scalar product of `grad_grad` and `grad_sums` with its results is the sum of d grad `along`, and its derivatives follow.
    """
    grad, x, scale, bias, noise, strength = ctx.saved_tensors
    gain, clamp = ctx.settings
    scale = scale.to(x.dtype)[:, :, None, None]
    with torch.no_grad():
        v = x.float() * scale + bias[:, None, None]
        v = v if noise is None else v + noise * strength
        d = torch.where(v > 0, gain, gain * SLOPE)
        d = torch.where((d * v).abs() > clamp, 0.0, d).to(x.dtype)
    along, grad_of_x, grad_of_scale = torch.zeros_like(x), None, None
    if grad_grad is not None:
        along = along + grad_grad * scale
        grad_of_scale = (d * grad * grad_grad).sum(dim=(2, 3))
    if grad_sums is not None:
        of_scale, of_bias, of_strength = (term[:, :, None, None] for term in grad_sums.to(x.dtype).unbind(dim=1))
        along = along + of_scale * x + of_bias
        along = along if noise is None else along + of_strength * noise.to(x.dtype)
        grad_of_x = d * grad * of_scale
    return d * along, grad_of_x, grad_of_scale, None, None, None, None, None


_library = torch.library.Library('unposed', 'FRAGMENT')
_inputs = 'Tensor x, Tensor scale, Tensor bias, Tensor? noise, Tensor? strength, float gain, float clamp'
_library.define(f'synthesis_epilogue_forward({_inputs}) -> Tensor')
_library.define(f'synthesis_epilogue_backward(Tensor grad, {_inputs}) -> (Tensor, Tensor)')
for _key in ('CPU', 'CUDA'):
    _library.impl('synthesis_epilogue_forward', _run_forward, _key)
    _library.impl('synthesis_epilogue_backward', _run_backward, _key)


@torch.library.register_fake('unposed::synthesis_epilogue_forward', lib=_library)
def _(x, scale, bias, noise, strength, gain, clamp):
    return torch.empty_like(x, memory_format=layout.memory_format(x))


@torch.library.register_fake('unposed::synthesis_epilogue_backward', lib=_library)
def _(grad, x, scale, bias, noise, strength, gain, clamp):
    sums = x.new_empty(len(x), SUMS, x.shape[1], dtype=torch.float32)
    return torch.empty_like(x, memory_format=layout.memory_format(x)), sums


for _name, _differentiate, _remember in (
    ('forward', _differentiate_forward, _remember_forward),
    ('backward', _differentiate_backward, _remember_backward),
):
    torch.library.register_autograd(f'unposed::synthesis_epilogue_{_name}', _differentiate, setup_context=_remember, lib=_library)

# (x, scale, bias, noise [1 or N, 1, H, W], strength, gain, clamp) -> y;  (grad, the same) -> (grad_x, sums)
synthesis_epilogue_fused = short_cut(torch.ops.unposed.synthesis_epilogue_forward.default, _Forward)
_backward = short_cut(torch.ops.unposed.synthesis_epilogue_backward.default, _Backward)

register_kernel('synthesis_epilogue', 'cpu', lambda device, *variant: _host())
register_kernel('synthesis_epilogue', 'cuda', _load_device)
register_device_source(
    'synthesis_epilogue', 'synthesis_epilogue', CUDA_SOURCE,
    [_defines(dtype, width) for dtype in FORMATS for width in layout.pack_sizes(dtype)],
)  # fmt: skip
