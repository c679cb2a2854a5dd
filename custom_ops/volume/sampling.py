"""Where along a ray the field is asked: stratified first samples, then samples where the first ones found matter.

Vocabulary: S depths t_0 < ... < t_{S-1} per ray; `edges` [N, R, K + 1] bound K segments; `weights` [N, R, K] say how much light stops in each.
Distances are world units along the ray. Uniform numbers come in as arguments, so that every function here is deterministic.
"""

import torch
from torch import Tensor

WEIGHT_FLOOR = 0.01  # keeps some samples everywhere, so that a surface that is not there yet can be found


def stratified(near: Tensor, far: Tensor, count: int, u: Tensor | float) -> Tensor:
    """Depths [N, R, count], one in each of `count` equal cells of [near, far] ([N, R, 1]) at the fraction u in [0, 1) of its cell.

    u [N, R, count] or one number; 0.5 gives the middles of the cells.
    """
    cell = torch.arange(count, device=near.device, dtype=near.dtype)
    return torch.addcmul(near, far - near, (cell + u) / count)


def stratified_eg3d_2022(near: Tensor, far: Tensor, count: int, u: Tensor | float) -> Tensor:
    """Depths [N, R, count] as EG3D's release places them: near + (k + u) (far - near) / (count - 1), so the last one may pass `far` by a step."""
    cell = torch.arange(count, device=near.device, dtype=near.dtype)
    return torch.addcmul(near, far - near, (cell + u) / (count - 1))


def strata(count: int, u: Tensor | float, device: torch.device | str | None = None) -> Tensor:
    """Sorted uniform numbers [..., count] in [0, 1): (k + u_k) / count. With u = 0.5 the deterministic ones of evaluation."""
    return (torch.arange(count, device=device) + u) / count


@torch.no_grad()
def importance(edges: Tensor, weights: Tensor, u: Tensor) -> Tensor:
    """Depths [N, R, count] distributed as the weights of the segments are, by inverting their cumulative sum. No gradient.

    edges [N, R, K + 1], weights [N, R, K], u [N, R, count] (or broadcasting to it) in [0, 1). The weights are widened first, so that a surface
    is also looked for next to where it was seen (mip-NeRF, arXiv 2103.13415, section 3.1), each one staying with its own segment.
    """
    peaks = torch.maximum(weights[..., 1:], weights[..., :-1])
    left = torch.cat([weights[..., :1], peaks], -1)
    right = torch.cat([peaks, weights[..., -1:]], -1)
    return invert_cdf(edges, (left + right) / 2 + WEIGHT_FLOOR, u)


@torch.no_grad()
def importance_eg3d_2022(depths: Tensor, weights: Tensor, u: Tensor) -> Tensor:
    """Depths [N, R, count] as EG3D's release draws them. No gradient. depths [N, R, S], weights [N, R, S - 1] of the segments between them.

    Its quirk: the weight of the segment [t_k, t_{k+1}] is given to the bin that is centred on t_k, half a step too early; the last bin is
    never used.
    """
    peaks = torch.maximum(weights[..., 1:], weights[..., :-1])
    left = torch.cat([weights[..., :1], peaks], -1)
    right = torch.cat([peaks, weights[..., -1:]], -1)
    smooth = (left + right) / 2 + WEIGHT_FLOOR
    middles = (depths[..., 1:] + depths[..., :-1]) / 2
    return invert_cdf(middles[..., :-1], smooth[..., 1:-1] + 1e-5, u)


def invert_cdf(edges: Tensor, weights: Tensor, u: Tensor) -> Tensor:
    """Positions [..., count] at the quantiles u of the histogram with these edges [..., K + 1] and positive weights [..., K]."""
    cdf = torch.nn.functional.pad(weights.cumsum(-1), (1, 0))
    cdf = cdf / cdf[..., -1:]
    u = u.expand(*cdf.shape[:-1], u.shape[-1]).contiguous()
    upper = torch.searchsorted(cdf, u, right=True).clamp(1, weights.shape[-1])
    c0, c1 = cdf.gather(-1, upper - 1), cdf.gather(-1, upper)
    e0, e1 = edges.gather(-1, upper - 1), edges.gather(-1, upper)
    # Below 1e-5 the release divides by one instead; with a floor on the weights this never happens in practice.
    step = c1 - c0
    fraction = (u - c0) / torch.where(step < 1e-5, torch.ones_like(step), step)
    return torch.lerp(e0, e1, fraction.clamp(0.0, 1.0))
