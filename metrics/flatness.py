"""Non-flatness score: over how many depths a rendered depth image spreads (3DGP, Skorokhodov et al. 2023, arXiv 2303.01416)."""

from dataclasses import dataclass

import torch
from torch import Tensor

BINS = 64
OBJECT_OPACITY = 0.5


@dataclass(frozen=True, slots=True)
class DepthImages:
    """depth [N, 1, H, W] along the rays and, per image, the limits near < far [N] of the rays, in world units; opacity [N, 1, H, W] in [0, 1]."""

    depth: Tensor
    opacity: Tensor
    near: Tensor
    far: Tensor


def non_flatness(depth: Tensor, near: Tensor, far: Tensor, opacity: Tensor | None = None) -> Tensor:
    """Exponential of the entropy of a histogram of depths: per image [N], from 1 (all pixels in one bin) to 64 (evenly spread).

    depth [N, 1, H, W] in world units along the rays, binned evenly between near and far [N]; a depth outside counts into the outermost bin. With
    opacity [N, 1, H, W] in [0, 1] only object pixels (opacity > 0.5) count; an image without any scores 1, as a flat one would: the frame as a
    whole mostly measures the background. A hollow or noisy shape scores as well as a right one: this number proves flatness, never correctness.
    """
    assert depth.ndim == 4 and depth.shape[1] == 1 and (opacity is None or opacity.shape == depth.shape), depth.shape
    assert near.shape == far.shape == depth.shape[:1] and bool((near < far).all()), (near, far)
    start, extent = near.double()[:, None], (far - near).double()[:, None]
    bins = ((depth.flatten(1).double() - start) * (BINS / extent)).floor().clamp(0, BINS - 1).long()
    weight = torch.ones_like(bins, dtype=torch.float64) if opacity is None else (opacity.flatten(1) > OBJECT_OPACITY).double()
    counts = torch.zeros(len(depth), BINS, dtype=torch.float64, device=depth.device).scatter_add_(1, bins, weight)
    share = counts / counts.sum(1, keepdim=True).clamp(min=1)
    return torch.special.entr(share).sum(1).exp()
