"""The definition of upfirdn2d in plain PyTorch: one depthwise (transposed) convolution per pass, with its own adjoint as derivative.

The operation is linear in x, so its derivative is the same operation with up and down exchanged and the filter turned round. Saying so
keeps every order of differentiation on the fast forward convolutions; PyTorch's double backward of a depthwise convolution is several
times slower on a CPU.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

Two = tuple[int, int]
Four = tuple[int, int, int, int]

# Up to this many taps a one-dimensional filter is applied as its outer product: one pass over memory instead of two.
ONE_PASS_TAPS = 5

# Below this many channels the CPU's depthwise transposed convolution wastes its vectors; samples are then counted as channels.
FEW_CHANNELS = 12


def upfirdn2d_reference(x: Tensor, f: Tensor, up: Two, down: Two, padding: Four, flip_filter: bool, gain: float) -> Tensor:
    """See custom_ops.upfirdn2d; factors as (x, y), padding as (left, right, top, bottom)."""
    check_arguments(x, f, up, down, padding)
    f = f.to(x.dtype)
    if f.ndim == 1 and f.shape[0] <= ONE_PASS_TAPS:
        f = torch.outer(f, f)
    if flip_filter:
        f = f.flip(0) if f.ndim == 1 else f.flip((0, 1))
    if gain != 1 and f.ndim == 2:
        f = f * gain
    if f.ndim == 2:
        return _pass(x, f, up, down, padding)
    left, right, top, bottom = padding
    rows, columns = (f * gain if gain != 1 else f)[None, :], f[:, None]
    # The axis that shrinks the image goes first, the one that enlarges it last.
    along_x = (rows, (up[0], 1), (down[0], 1), (left, right, 0, 0))
    along_y = (columns, (1, up[1]), (1, down[1]), (0, 0, top, bottom))
    return _pass(_pass(x, *along_y), *along_x)


def check_arguments(x: Tensor, f: Tensor, up: Two, down: Two, padding: Four) -> None:
    """Raises ValueError for bad shapes, factors below one, or when the filter is larger than the padded image."""
    if x.ndim != 4 or f.ndim not in (1, 2):
        raise ValueError(f'x must be [N, C, H, W] and f [k] or [kh, kw]; found {tuple(x.shape)} and {tuple(f.shape)}')
    if min(up) < 1 or min(down) < 1:
        raise ValueError(f'up and down must be at least 1; found up={up}, down={down}')
    left, right, top, bottom = padding
    height = x.shape[2] * up[1] + top + bottom
    width = x.shape[3] * up[0] + left + right
    if height < f.shape[0] or width < f.shape[-1]:
        raise ValueError(
            f'the padded image is {height}x{width}, smaller than the filter {tuple(f.shape)}; pad more or use a shorter filter'
        )


def output_size(x: torch.Size, taps: Two, up: Two, down: Two, padding: Four) -> Two:
    """(height, width) for x [N, C, H, W] and taps (y, x)."""
    left, right, top, bottom = padding
    return (x[2] * up[1] + top + bottom - taps[0]) // down[1] + 1, (x[3] * up[0] + left + right - taps[1]) // down[0] + 1


def _pass(x: Tensor, f: Tensor, up: Two, down: Two, padding: Four) -> Tensor:
    """True convolution with f [kh, kw] between zero insertion and decimation."""
    if not x.requires_grad or not torch.is_grad_enabled() or f.requires_grad or torch.compiler.is_compiling():
        return _convolve(x, f, up, down, padding)
    return _Resample.apply(x, f, up, down, padding)


class _Resample(torch.autograd.Function):
    """_convolve with a constant filter; the derivative is the adjoint, again a _convolve."""

    @staticmethod
    def forward(ctx, x: Tensor, f: Tensor, up: Two, down: Two, padding: Four) -> Tensor:
        y = _convolve(x, f, up, down, padding)
        ctx.save_for_backward(f)
        ctx.geometry = (up, down, adjoint_padding(x.shape, y.shape, f.shape, up, down, padding))
        return y

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        (f,) = ctx.saved_tensors
        up, down, padding = ctx.geometry
        # Under autocast the forward pass may have left the filter's dtype.
        return _pass(grad, f.to(grad.dtype).flip((0, 1)), down, up, padding), None, None, None, None


def adjoint_padding(x: torch.Size, y: torch.Size, f: Two, up: Two, down: Two, padding: Four) -> Four:
    """Padding with which (up <-> down, f turned round) maps shape y to shape x and is the transpose of the forward map.

    Forward: y[i] = sum_j x[j] f[i down + k - 1 - before - j up]. Read as a sum over i for fixed j it is again of this form with
    k - 1 - before' = before; `after'` makes the length come out exactly.
    """
    before_x, before_y = padding[0], padding[2]
    after_x = (x[3] - 1) * up[0] - y[3] * down[0] + 1 + before_x
    after_y = (x[2] - 1) * up[1] - y[2] * down[1] + 1 + before_y
    return (f[1] - 1 - before_x, after_x, f[0] - 1 - before_y, after_y)


def _convolve(x: Tensor, f: Tensor, up: Two, down: Two, padding: Four) -> Tensor:
    """The forward map by one depthwise convolution, transposed if there is anything to insert."""
    if up == (1, 1):
        return _decimate(x, f, down, padding)
    n, c, h, w = x.shape
    folded = c < FEW_CHANNELS and n > 1
    if folded:
        x = x.reshape(1, n * c, h, w)
    if x.device.type == 'cpu':
        # Channels innermost: the CPU's depthwise transposed convolution is four times faster so, the change of format included.
        x = x.contiguous(memory_format=torch.channels_last)
    y = _interpolate(x, f, up, padding)
    if folded:
        y = y.reshape(n, c, *y.shape[2:])
    return y if down == (1, 1) else y[:, :, :: down[1], :: down[0]]


def _decimate(x: Tensor, f: Tensor, down: Two, padding: Four) -> Tensor:
    """up = 1: pad, convolve, keep every down-th."""
    left, right, top, bottom = padding
    edges = (top, left)
    if left != right or top != bottom or left < 0 or top < 0:
        x = F.pad(x, padding)
        edges = (0, 0)
    c = x.shape[1]
    weight = f.flip((0, 1)).expand(c, 1, *f.shape)
    return F.conv2d(x, weight, stride=(down[1], down[0]), padding=edges, groups=c)


def _interpolate(x: Tensor, f: Tensor, up: Two, padding: Four) -> Tensor:
    """down = 1: a transposed convolution gives the full convolution with the zero-inserted image; padding becomes cropping of it."""
    left, right, top, bottom = padding
    kh, kw = f.shape
    c = x.shape[1]
    weight = f.expand(c, 1, kh, kw)
    stride = (up[1], up[0])
    crop_left, crop_right = kw - 1 - left, kw - up[0] - right
    crop_top, crop_bottom = kh - 1 - top, kh - up[1] - bottom
    extra = (crop_top - crop_bottom, crop_left - crop_right)
    if crop_left >= 0 and crop_top >= 0 and 0 <= extra[0] < up[1] and 0 <= extra[1] < up[0]:
        return F.conv_transpose2d(x, weight, stride=stride, padding=(crop_top, crop_left), output_padding=extra, groups=c)
    y = F.conv_transpose2d(x, weight, stride=stride, groups=c)
    return F.pad(y, (-crop_left, -crop_right, -crop_top, -crop_bottom))
