"""Convolutions whose weight gradients stay fast on a processor at high resolutions; elsewhere they are PyTorch's own.

With channels innermost, the gradient of a kernel slows down as soon as the k x k neighbourhoods of a whole picture no longer fit a cache: at
64 channels and 128 x 128 pixels to a fifth of the speed of the other passes (AMD EPYC, Zen 3; torch 2.13). Here the picture goes through in
bands whose neighbourhoods do fit, each one product of matrices. A convolution is bilinear in input and kernel: its three passes are each
other's derivatives, so three functions give every order of differentiation, and the second order, which R1 needs, keeps the fast pass.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

BAND_FLOATS = 1 << 19  # neighbourhoods written out at a time: 2 MB, about the cache of a core
LARGE_FLOATS = 1 << 20  # per sample: with fewer than these PyTorch's own weight gradient is the faster one


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, stride: int = 1, padding: int = 0) -> Tensor:
    """torch.nn.functional.conv2d: x [N, I, H, W], weight [O, I, k, k], bias [O] -> [N, O, H', W'], H' = (H + 2 padding - k) // stride + 1."""
    height, width = (_length(side, weight.shape[-1], stride, padding) for side in x.shape[2:])
    if not _in_bands(x, weight, neighbourhoods=height * width, channels=weight.shape[1]):
        return F.conv2d(x, weight, bias, stride, padding)
    y = _Convolution.apply(x, weight, stride, padding)
    return y if bias is None else y + bias[:, None, None]


def spread(x: Tensor, weight: Tensor, *, stride: int) -> Tensor:
    """The transpose of `convolve` without padding: x [N, I, H, W], weight [O, I, k, k] -> [N, O, H', W'], H' = (H - 1) stride + k."""
    weight = weight.transpose(0, 1)
    if not _in_bands(x, weight, neighbourhoods=x.shape[2] * x.shape[3], channels=weight.shape[1]):
        return F.conv_transpose2d(x, weight, stride=stride)
    height, width = ((side - 1) * stride + weight.shape[-1] for side in x.shape[2:])
    return _Spread.apply(x, weight, stride, 0, (height, width))


def _in_bands(x: Tensor, weight: Tensor, neighbourhoods: int, channels: int) -> bool:
    """Whether a gradient for `weight` is wanted and will be large enough to be cut into bands. `channels` are those of a neighbourhood."""
    return (
        weight.requires_grad
        and torch.is_grad_enabled()
        and x.device.type == 'cpu'
        and x.dtype == weight.dtype
        and x.dtype in (torch.float32, torch.float64)
        and not torch.is_autocast_enabled('cpu')
        and not torch.compiler.is_compiling()
        and neighbourhoods * channels * weight.shape[2] * weight.shape[3] >= LARGE_FLOATS
    )


def _length(side: int, kernel: int, stride: int, padding: int) -> int:
    return (side + 2 * padding - kernel) // stride + 1


class _Convolution(torch.autograd.Function):
    """small = convolution of large with weight."""

    @staticmethod
    def forward(ctx, large: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(large, weight)
        ctx.geometry = (stride, padding)
        return F.conv2d(large, weight, stride=stride, padding=padding)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        large, weight = ctx.saved_tensors
        for_large = _Spread.apply(grad, weight, *ctx.geometry, large.shape[2:]) if ctx.needs_input_grad[0] else None
        for_weight = _WeightGradient.apply(large, grad, *ctx.geometry, weight.shape[2]) if ctx.needs_input_grad[1] else None
        return for_large, for_weight, None, None


class _Spread(torch.autograd.Function):
    """large = transposed convolution of small with weight [channels of small, channels of large, k, k]."""

    @staticmethod
    def forward(ctx, small: Tensor, weight: Tensor, stride: int, padding: int, sides: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(small, weight)
        ctx.geometry = (stride, padding)
        left_out = [side - (length - 1) * stride + 2 * padding - weight.shape[2] for side, length in zip(sides, small.shape[2:], strict=True)]
        return F.conv_transpose2d(small, weight, stride=stride, padding=padding, output_padding=left_out)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        small, weight = ctx.saved_tensors
        for_small = _Convolution.apply(grad, weight, *ctx.geometry) if ctx.needs_input_grad[0] else None
        for_weight = _WeightGradient.apply(grad, small, *ctx.geometry, weight.shape[2]) if ctx.needs_input_grad[1] else None
        return for_small, for_weight, None, None, None


class _WeightGradient(torch.autograd.Function):
    """[O, I, k, k]: sum over pixels of small [N, O, h, w] times the neighbourhood in large [N, I, H, W] that it was computed from."""

    @staticmethod
    def forward(ctx, large: Tensor, small: Tensor, stride: int, padding: int, kernel: int) -> Tensor:
        ctx.save_for_backward(large, small)
        ctx.geometry = (stride, padding)
        return _weight_gradient(large, small, stride, padding, kernel)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        large, small = ctx.saved_tensors
        for_large = _Spread.apply(small, grad, *ctx.geometry, large.shape[2:]) if ctx.needs_input_grad[0] else None
        for_small = _Convolution.apply(large, grad, *ctx.geometry) if ctx.needs_input_grad[1] else None
        return for_large, for_small, None, None, None


def _weight_gradient(large: Tensor, small: Tensor, stride: int, padding: int, kernel: int) -> Tensor:
    """See _WeightGradient: one product per band of rows, small's pixels^T with the neighbourhoods written out."""
    pixels, source = small.permute(0, 2, 3, 1), large.permute(0, 2, 3, 1)
    if padding:
        source = F.pad(source, (0, 0, padding, padding, padding, padding))
    rows, width, outputs = pixels.shape[1:]
    windows = source.unfold(1, kernel, stride).unfold(2, kernel, stride).permute(0, 1, 2, 4, 5, 3)  # [N, h, w, k, k, I]
    inputs = windows.shape[3:].numel()
    band = min(rows, max(1, BAND_FLOATS // (width * inputs)))
    block = large.new_empty(band * width * inputs)
    result = large.new_zeros(outputs, inputs)
    for sample in range(len(pixels)):
        for first in range(0, rows, band):
            count = min(band, rows - first)
            neighbourhoods = block[: count * width * inputs].view(count, *windows.shape[2:])
            neighbourhoods.copy_(windows[sample, first : first + count])
            result.addmm_(pixels[sample, first : first + count].reshape(-1, outputs).t(), neighbourhoods.view(-1, inputs))
    return result.view(outputs, *windows.shape[3:]).permute(0, 3, 1, 2)
