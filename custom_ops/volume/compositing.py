"""From densities along a ray to the share that every sample has in what the ray sees.

Light reaches depth t with transmittance T = exp(-tau(t)), tau the optical depth up to t, and the segment between two edges has the weight
w = T_in - T_out. Two rules say what a segment is:

* 'midpoint': segments lie between neighbouring samples and have the mean of their raw densities and of their features (mip-NeRF,
  arXiv 2103.13415, as in EG3D). Then sum over segments of w_i (c_i + c_{i+1}) / 2 = sum over samples of c_i (w_{i-1} + w_i) / 2: only scalars are
  averaged; features are read once, where the field left them, and weighted with the `shares` (w_{i-1} + w_i) / 2.
* 'cells': every sample stands for the cell around it, whose edges are the middles between neighbours. What lies outside a surface has no part
  in its colour.

With the accumulated opacity A = 1 - T = -expm1(-tau), weights are differences of A and their sum is the last A: no products, no epsilons, and
thin fog keeps its relative precision.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Quadrature = Literal['midpoint', 'cells']

EMPTY = 1e-6  # below this opacity a ray has seen nothing whose depth could be told


@dataclass(frozen=True, slots=True, eq=False)
class March:
    """What light does along rays with S samples and K segments.

    shares [N, R, S]: how much of each sample's feature the ray sees; they sum to the opacity.
    edges [N, R, K + 1]: where segments begin and end, increasing.
    optical_depth [N, R, K]: up to the end of each segment.  accumulated [N, R, K]: the opacity there, 1 - exp(-tau).
    """

    shares: Tensor
    edges: Tensor
    optical_depth: Tensor
    accumulated: Tensor

    @property
    def opacity(self) -> Tensor:
        """[N, R, 1]: the part of the light that stops before the last edge."""
        return self.accumulated[..., -1:]

    def segment_weights(self) -> Tensor:
        """[N, R, K]: the light that stops in each segment."""
        return torch.diff(self.accumulated, prepend=torch.zeros_like(self.accumulated[..., :1]))


def density_of(raw: Tensor, shift: float, scale: float) -> Tensor:
    """Density per world unit of a raw value: `scale * softplus(raw - shift)`."""
    return torch.nn.functional.softplus(raw - shift) * scale


def march(
    density_raw: Tensor,
    depths: Tensor,
    near: Tensor | None = None,
    far: Tensor | None = None,
    *,
    shift: float = 1.0,
    scale: float = 1.0,
    quadrature: Quadrature = 'midpoint',
) -> March:
    """Follow light along rays: density_raw [N, R, S] of the samples at increasing depths [N, R, S]; `shift`, `scale`: see `density_of`.

    `near` and `far` [N, R, 1] close the ray: the first and the last sample stand for what lies before and behind them, so that all of
    [near, far] counts whatever the jitter. Without them (EG3D's release) light is followed from the first sample to the last only.
    """
    first, last = depths[..., :1], depths[..., -1:]
    near, far = first if near is None else near, last if far is None else far
    if quadrature == 'cells':
        edges = torch.cat([near, (depths[..., 1:] + depths[..., :-1]) * 0.5, far], -1)
        raw = density_raw
    else:
        edges = torch.cat([near, depths, far], -1)
        middle = (density_raw[..., 1:] + density_raw[..., :-1]) * 0.5
        raw = torch.cat([density_raw[..., :1], middle, density_raw[..., -1:]], -1)
    optical_depth = (density_of(raw, shift, scale) * torch.diff(edges)).cumsum(-1)
    accumulated = -torch.expm1(-optical_depth)
    bounds = accumulated
    if quadrature == 'midpoint':
        # The share of sample i is what stops between the two middles (in accumulated opacity) around it.
        bounds = torch.cat([(accumulated[..., 1:-1] + accumulated[..., :-2]) * 0.5, accumulated[..., -1:]], -1)
    return March(torch.diff(bounds, prepend=torch.zeros_like(first)), edges, optical_depth, accumulated)


def merged(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Depths [N, R, A] and [N, R, B] in increasing order [N, R, A + B], and the index [N, R, A + B] of each in the concatenated list."""
    depths, order = torch.cat([first, second], -1).sort(dim=-1, stable=True)
    return depths, order


def unmerged(values: Tensor, order: Tensor) -> Tensor:
    """Values [N, R, A + B] given in increasing depth, put back into the order of the concatenated list: the inverse of `gather(-1, order)`."""
    return torch.zeros_like(values).scatter(-1, order, values)


def expected_depth(shares: Tensor, depths: Tensor, opacity: Tensor, far: Tensor) -> Tensor:
    """Mean distance at which light stopped [N, R, 1], given that it stopped; a ray that saw nothing has the depth of its own far end."""
    seen = opacity > EMPTY
    total = (shares * depths).sum(-1, keepdim=True)
    return torch.where(seen, total / torch.where(seen, opacity, torch.ones_like(opacity)), far)


def median_depth(optical_depth: Tensor, edges: Tensor, opacity: Tensor) -> Tensor:
    """Distance [N, R, 1] before which half of the light that stops has stopped; the last edge for a ray that saw nothing.

    optical_depth [N, R, K] at edges[..., 1:]. The density is constant inside a segment, so the optical depth is linear there and the crossing
    is exact. Unlike the mean it does not float between an edge and what lies behind it.
    """
    seen = opacity > EMPTY
    target = -torch.log1p(-0.5 * opacity)
    tau = torch.nn.functional.pad(optical_depth, (1, 0))
    upper = torch.searchsorted(tau.detach().contiguous(), target.detach().contiguous()).clamp(1, tau.shape[-1] - 1)
    t0, t1 = tau.gather(-1, upper - 1), tau.gather(-1, upper)
    e0, e1 = edges.gather(-1, upper - 1), edges.gather(-1, upper)
    step = torch.where(t1 > t0, t1 - t0, torch.ones_like(t0))
    return torch.where(seen, e0 + (e1 - e0) * ((target - t0) / step), edges[..., -1:])
