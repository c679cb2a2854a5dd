"""From a field and the ends of rays to what the rays see: coarse samples, fine samples where light stopped, and a march through all of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from custom_ops.volume import compositing, sampling

Field = Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor]]
"""points [N, M, 3] (world), directions [N, M, 3] or None -> raw density [N, M, 1], features [N, M, C] in [0, 1]."""


@dataclass(frozen=True, slots=True)
class LightRule:
    """How samples are placed and how light is followed; see training.rendering.renderer for the two rules."""

    density_shift: float = 1.0  # density = density_scale * softplus(raw - density_shift)
    density_scale: float = 1.0
    quadrature: compositing.Quadrature = 'midpoint'
    depth: Literal['expected', 'median'] = 'expected'
    rule: Literal['unposed', 'EG3D_2022'] = 'unposed'

    @property
    def released(self) -> bool:
        return self.rule == 'EG3D_2022'


@dataclass(frozen=True, slots=True, eq=False)
class RayResult:
    """What rays see, without any background.

    features [N, R, C]: the sum of every sample's feature times its share.  opacity [N, R, 1] in [0, 1].
    depth [N, R, 1]: distance at which light stopped; for a ray that saw nothing its far end (under 'EG3D_2022' infinity).
    depths [N, R, coarse + fine]: of the samples, coarse ones, then fine ones; a constant.
    """

    features: Tensor
    depth: Tensor
    opacity: Tensor
    depths: Tensor


def render_rays(
    field: Field,
    origins: Tensor,
    directions: Tensor,
    near: Tensor,
    far: Tensor,
    samples: int,
    u_coarse: Tensor | None,
    u_fine: Tensor | None,
    rule: LightRule,
    *,
    noise: Tensor | None = None,
    tells_directions: bool = False,
) -> RayResult:
    """Follow light along rays through a field.

    origins, directions [N, R, 3], near and far [N, R, 1] in world units
    samples             coarse samples per ray
    u_coarse            [N, R, samples] in [0, 1), a place in each coarse cell; None: the middles
    u_fine              [N, R, fine] in [0, 1), increasing: quantiles of the fine samples; None: no fine samples
    noise               [N, R, samples + fine], added to the raw densities of coarse, then fine samples
    tells_directions    whether the field is told them
    """

    def ask(depths: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        return _ask(field, origins, directions, depths, noise, tells_directions)

    place = sampling.stratified_eg3d_2022 if rule.released else sampling.stratified
    ends = (None, None) if rule.released else (near, far)
    coarse = place(near, far, samples, 0.5 if u_coarse is None else u_coarse)
    raw, features = ask(coarse, None if noise is None else noise[..., :samples])
    if u_fine is None:
        depths = everything = coarse
        light = _march(raw, depths, ends, rule)
        seen = _weighted_sum(light.shares, features)
    else:
        fine = _fine_depths(raw, coarse, ends, u_fine, rule)
        fine_raw, fine_features = ask(fine, None if noise is None else noise[..., samples:])
        depths, order = compositing.merged(coarse, fine)
        light = _march(torch.cat([raw, fine_raw], -1).gather(-1, order), depths, ends, rule)
        shares, fine_shares = compositing.unmerged(light.shares, order).split([samples, fine.shape[-1]], -1)
        seen = _weighted_sum(shares, features) + _weighted_sum(fine_shares, fine_features)
        everything = torch.cat([coarse, fine], -1)
    if rule.depth == 'median':
        depth = compositing.median_depth(light.optical_depth, light.edges, light.opacity)
    else:
        depth = compositing.expected_depth(light.shares, depths, light.opacity, torch.full_like(far, torch.inf) if rule.released else far)
    return RayResult(seen, depth, light.opacity, everything.detach())


def _ask(
    field: Field, origins: Tensor, directions: Tensor, depths: Tensor, noise: Tensor | None, tells_directions: bool
) -> tuple[Tensor, Tensor]:
    """Raw density [N, R, S] and features [N, R, S, C] of the field at these depths."""
    n, r, s = depths.shape
    points = torch.addcmul(origins[:, :, None], depths[..., None], directions[:, :, None])
    seen_from = directions[:, :, None].expand(n, r, s, 3).reshape(n, r * s, 3) if tells_directions else None
    raw, features = field(points.view(n, r * s, 3), seen_from)
    # Optical depths are summed in float32 at least, whatever precision the field computes in.
    raw = raw.reshape(n, r, s).to(torch.promote_types(raw.dtype, torch.float32))
    return raw if noise is None else raw + noise, features.reshape(n, r, s, features.shape[-1])


@torch.no_grad()
def _fine_depths(raw: Tensor, depths: Tensor, ends: tuple[Tensor | None, Tensor | None], u: Tensor, rule: LightRule) -> Tensor:
    """Depths [N, R, fine], increasing, where the coarse samples say that light stops."""
    light = _march(raw, depths, ends, rule)
    weights = light.segment_weights()
    if ends[0] is None:
        return sampling.importance_eg3d_2022(depths, weights[..., 1:-1], u)
    return sampling.importance(light.edges, weights, u)


def _march(raw: Tensor, depths: Tensor, ends: tuple[Tensor | None, Tensor | None], rule: LightRule) -> compositing.March:
    return compositing.march(raw, depths, *ends, shift=rule.density_shift, scale=rule.density_scale, quadrature=rule.quadrature)


def _weighted_sum(shares: Tensor, features: Tensor) -> Tensor:
    """sum_s shares [N, R, S] * features [N, R, S, C] -> [N, R, C], in the precision of the shares."""
    with torch.autocast(shares.device.type, enabled=False):  # a sum over a whole ray deserves all digits
        return (shares[:, :, None] @ features.to(shares.dtype)).squeeze(2)
