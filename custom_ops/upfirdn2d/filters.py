"""Filters for upfirdn2d, as tensors."""

from collections.abc import Sequence

import torch
from torch import Tensor

# From this length on, two one-dimensional passes beat one two-dimensional pass, so the filter stays one-dimensional.
SEPARABLE_FROM_TAPS = 8


def setup_filter(taps: Sequence[float] | Sequence[Sequence[float]] | Tensor, normalize: bool = True, gain: float = 1) -> Tensor:
    """A float32 filter for upfirdn2d from its taps.

    taps       [k] (the filter is outer(taps, taps)) or [kh, kw]
    normalize  divide by the sum, so that a constant image keeps its value
    gain       what a constant image is multiplied by
    result     [k, k] for fewer than 8 taps, [k] (applied separably) from 8 on, [kh, kw] as given

    Raises ValueError for empty taps, another number of dimensions, or a sum of zero under `normalize`.
    """
    f = torch.as_tensor(taps, dtype=torch.float32)
    if f.ndim not in (1, 2) or f.numel() == 0:
        raise ValueError(f'a filter is a list of taps or a matrix of them; shape {tuple(f.shape)} was given')
    if f.ndim == 1 and f.numel() < SEPARABLE_FROM_TAPS:
        f = torch.outer(f, f)
    if normalize:
        total = f.sum()
        if total == 0:
            raise ValueError('the taps sum to zero, so they cannot be normalised; pass normalize=False')
        f = f / total
    # A one-dimensional filter acts once per axis.
    return f * gain if f.ndim == 2 else f * gain**0.5


def filter_size(f: Tensor) -> tuple[int, int]:
    """(kh, kw) of the two-dimensional filter that f stands for."""
    return tuple(f.shape) if f.ndim == 2 else (f.shape[0], f.shape[0])
