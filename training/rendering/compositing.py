"""From densities along a ray to the share that every sample has in what the ray sees.

The field is taken to be constant between neighbouring samples, with the mean of their raw densities and the mean of their features (mip-NeRF's
midpoint rule, arXiv 2103.13415, as in EG3D). Light reaches depth t with transmittance T = exp(-tau(t)), tau the optical depth up to t, and the
segment between two edges has the weight w = T_in - T_out. Two identities keep this cheap and exact:

* sum over segments of w_i (c_i + c_{i+1}) / 2 = sum over samples of c_i (w_{i-1} + w_i) / 2. Only scalars are sorted and averaged; features are
  read once, where the field left them, and weighted with the `shares` (w_{i-1} + w_i) / 2.
* With the accumulated opacity A = 1 - T = -expm1(-tau), weights are differences of A and their sum is the last A: no products, no epsilons,
  and thin fog keeps its relative precision.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

EMPTY = 1e-6  # below this opacity a ray has seen nothing whose depth could be told


@dataclass(frozen=True, slots=True, eq=False)
class March:
    """What light does along rays with S samples.

    shares [N, R, S]: how much of each sample's feature the ray sees; they sum to the opacity.
    accumulated [N, R, S + 1]: opacity from the near end up to t_0, ..., t_{S-1} and to the far end.
    optical_depth [N, R, S + 1]: the same before `1 - exp(-tau)`.
    """

    shares: Tensor
    accumulated: Tensor
    optical_depth: Tensor

    @property
    def opacity(self) -> Tensor:
        """[N, R, 1]: the part of the light that stops before the far end."""
        return self.accumulated[..., -1:]

    def segment_weights(self) -> Tensor:
        """[N, R, S + 1]: the light that stops in [near, t_0], [t_0, t_1], ..., [t_{S-1}, far]."""
        return torch.diff(self.accumulated, prepend=torch.zeros_like(self.accumulated[..., :1]))


def with_ends(depths: Tensor, near: Tensor, far: Tensor) -> Tensor:
    """The S + 2 edges [N, R, S + 2] of the segments: near, the S depths, far."""
    return torch.cat([near, depths, far], -1)


def march(density_raw: Tensor, depths: Tensor, near: Tensor | None = None, far: Tensor | None = None, *, shift: float = 1.0,
          scale: float = 1.0) -> March:
    """Follow light along rays: density_raw [N, R, S] of the samples at increasing depths [N, R, S].

    The density of a segment is `scale * softplus(mean raw density - shift)` per world unit. `near` and `far` [N, R, 1] close the ray: the first
    sample stands for [near, t_0], the last for [t_{S-1}, far], so that all of [near, far] counts whatever the jitter. Without them (EG3D's
    release) light is followed from t_0 to t_{S-1} only.
    """
    first, last = depths[..., :1], depths[..., -1:]
    edges = with_ends(depths, first if near is None else near, last if far is None else far)
    middle = (density_raw[..., 1:] + density_raw[..., :-1]) * 0.5
    raw = torch.cat([density_raw[..., :1], middle, density_raw[..., -1:]], -1)
    optical_depth = (torch.nn.functional.softplus(raw - shift) * torch.diff(edges) * scale).cumsum(-1)
    accumulated = -torch.expm1(-optical_depth)
    # The share of sample i is what stops between the two middles (in accumulated opacity) around it.
    middle = (accumulated[..., 1:-1] + accumulated[..., :-2]) * 0.5
    bounds = torch.cat([torch.zeros_like(first), middle, accumulated[..., -1:]], -1)
    return March(torch.diff(bounds), accumulated, optical_depth)


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

    optical_depth [N, R, S + 1] at edges[..., 1:]. The density is constant inside a segment, so the optical depth is linear there and the crossing
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
