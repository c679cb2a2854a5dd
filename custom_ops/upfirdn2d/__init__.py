"""Upsample, filter, downsample: resampling of images without aliasing."""

from collections.abc import Sequence

import torch
from torch import Tensor

from custom_ops.backend import choose
from custom_ops.upfirdn2d.filters import filter_size, setup_filter
from custom_ops.upfirdn2d.kernel import obstacle, pays, upfirdn2d_kernel, variant
from custom_ops.upfirdn2d.reference import Four, Two, check_arguments, upfirdn2d_reference

__all__ = ['downsample2d', 'filter2d', 'setup_filter', 'upfirdn2d', 'upsample2d']

Pair = int | tuple[int, int]
Padding = int | tuple[int, int] | tuple[int, int, int, int]


def upfirdn2d(
    x: Tensor,
    f: Tensor,
    *,
    up: Pair = 1,
    down: Pair = 1,
    padding: Padding = 0,
    flip_filter: bool = False,
    gain: float = 1.0,
    backend: str = 'auto',
) -> Tensor:
    """Inserts up - 1 zeros after every pixel, pads, convolves with f, multiplies by gain, keeps every down-th pixel.

    x        [N, C, H, W], any floating dtype and memory format
    f        [kh, kw], or [k] for the separable filter outer(f, f); no gradient is wanted for it in the fast path, but one is given
    up, down int or (x, y)
    padding  int, (x, y) or (left, right, top, bottom), in pixels of the upsampled image; negative values crop
    flip_filter  False: true convolution; True: correlation
    result   [N, C, (H up + top + bottom - kh) // down + 1, same for W], in whichever memory format was fastest; differentiable to any order

    Raises ValueError for bad shapes, factors below one, a filter larger than the padded image, or when a kernel was asked for by name and
    cannot do it: the kernels know float32, bfloat16 and float16 and give no gradient to the filter. 'auto' then takes the reference.
    """
    return _dispatch(x, f, _pair(up), _pair(down), _four(padding), flip_filter, gain, backend)


def upsample2d(x: Tensor, f: Tensor, up: int = 2, *, flip_filter: bool = False, gain: float = 1.0, backend: str = 'auto') -> Tensor:
    """[N, C, H, W] -> [N, C, H up, W up], aligned as images are (pixel edges coincide) and keeping the mean; zeros outside."""
    kh, kw = filter_size(f)
    padding = ((kw + up - 1) // 2, (kw - up) // 2, (kh + up - 1) // 2, (kh - up) // 2)
    return upfirdn2d(x, f, up=up, padding=padding, flip_filter=flip_filter, gain=gain * up * up, backend=backend)


def downsample2d(x: Tensor, f: Tensor, down: int = 2, *, flip_filter: bool = False, gain: float = 1.0, backend: str = 'auto') -> Tensor:
    """[N, C, H, W] -> [N, C, H / down, W / down] (H, W multiples of down), aligned as images are; zeros outside."""
    kh, kw = filter_size(f)
    padding = ((kw - down + 1) // 2, (kw - down) // 2, (kh - down + 1) // 2, (kh - down) // 2)
    return upfirdn2d(x, f, down=down, padding=padding, flip_filter=flip_filter, gain=gain, backend=backend)


def filter2d(x: Tensor, f: Tensor, *, flip_filter: bool = False, gain: float = 1.0, backend: str = 'auto') -> Tensor:
    """[N, C, H, W] filtered by f at the same size; zeros outside."""
    kh, kw = filter_size(f)
    padding = (kw // 2, (kw - 1) // 2, kh // 2, (kh - 1) // 2)
    return upfirdn2d(x, f, padding=padding, flip_filter=flip_filter, gain=gain, backend=backend)


def _dispatch(x: Tensor, f: Tensor, up: Two, down: Two, padding: Four, flip_filter: bool, gain: float, backend: str) -> Tensor:
    check_arguments(x, f, up, down, padding)
    if backend == 'auto' and not pays(x, up, down):
        return upfirdn2d_reference(x, f, up, down, padding, flip_filter, gain)
    if choose('upfirdn2d', backend, x.device, variant(x, f, up, down, padding)) != 'reference':
        why_not = obstacle(x, f)
        if why_not is None:
            return upfirdn2d_kernel(x, f, up, down, padding, flip_filter, gain)
        if backend != 'auto':
            raise ValueError(f"backend {backend!r} was asked for upfirdn2d, but {why_not}; use backend='auto' or 'reference'")
    return upfirdn2d_reference(x, f, up, down, padding, flip_filter, gain)


def _pair(value: Pair) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


def _four(padding: Padding) -> tuple[int, int, int, int]:
    if isinstance(padding, int):
        return (padding,) * 4
    if len(padding) == 2:
        x, y = padding
        return (x, x, y, y)
    return tuple(padding)


def _op(
    x: Tensor,
    f: Tensor,
    up: Sequence[int] = (1, 1),
    down: Sequence[int] = (1, 1),
    padding: Sequence[int] = (0, 0, 0, 0),
    flip_filter: bool = False,
    gain: float = 1.0,
) -> Tensor:
    """With the schema's defaults: the dispatcher leaves out arguments at their defaults. Only registered operations within, for tracing."""
    run, geometry = upfirdn2d_reference, (tuple(up), tuple(down), tuple(padding))
    check_arguments(x, f, *geometry)
    if obstacle(x, f) is None and pays(x, *geometry[:2]) and choose('upfirdn2d', 'auto', x.device, variant(x, f, *geometry)) != 'reference':
        run, f = torch.ops.unposed.upfirdn2d_kernel, f.float()
    return run(x, f, *geometry, flip_filter, gain)


_library = torch.library.Library('unposed', 'FRAGMENT')
_library.define(
    'upfirdn2d(Tensor x, Tensor f, int[2] up=1, int[2] down=1, int[4] padding=0, bool flip_filter=False, float gain=1.0) -> Tensor'
)
_library.impl('upfirdn2d', _op, 'CompositeImplicitAutograd')
