"""Volume rendering of a radiance field: `render(field, rays, config, stream)`.

What happens, in order: bounds of every ray (absolute, or where it crosses the box); coarse samples; the field; fine samples where the coarse
ones stopped light (if any are asked for); light is followed through all samples (compositing.py); features over the background; and the result,
which lies in [0, 1] for a field with features in [0, 1], is mapped to image range by `2 x - 1`. That holds for every model and rule: features
of a Rendered are in [-1, 1], and a white background is +1 on all channels, a black one (none) is -1.

Two rules. 'unposed': samples in the middles of cells, light followed over the whole of [near, far], importance weights on their own segments,
every ray's result a function of that ray. 'EG3D_2022' reproduces the published weights' renderer: samples at near + (k + u) (far - near) / (S - 1),
light followed from first to last sample, importance half a step early, rays that miss the box given the bounds of the whole batch, depth clamped
to the range of the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from dnnlib.errors import UsageError
from torch_utils.rng import Stream
from training.cameras.rays import Rays
from training.rendering import compositing, sampling
from training.rendering.background import over_background
from training.rendering.box import Box

Field = Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor]]
"""points [N, M, 3] (world), directions [N, M, 3] or None -> raw density [N, M, 1], features [N, M, C] in [0, 1]."""

POINTS_PER_CHUNK = {'cpu': 2**14, 'cuda': 2**19}  # per image; what a decoder keeps for them fits the cache or a small part of the memory


@dataclass(frozen=True, slots=True)
class RenderingConfig:
    """How a field is rendered. Lengths are world units."""

    samples_coarse: int = 48
    samples_fine: int = 48  # 0: the coarse samples only
    evaluation_factor: int = 1  # without a stream, so many times the samples: training wants speed, pictures want smooth surfaces
    near: float | Literal['box'] = 'box'
    far: float | Literal['box'] = 'box'
    box_side: float = 1.0
    axes: Literal['three_planes', 'EG3D_2022'] = 'three_planes'  # read by the networks; see planes.py
    background: Literal['black', 'white', 'field'] = 'black'  # 'field': what the field shows at the far end, as photographs have it
    density_shift: float = 1.0  # density = density_scale * softplus(raw - density_shift)
    density_scale: float = 1.0
    quadrature: compositing.Quadrature = 'midpoint'
    depth_rule: Literal['expected', 'median'] = 'expected'
    rule: Literal['unposed', 'EG3D_2022'] = 'unposed'
    view_dependent: bool = False  # whether the field is told the directions
    chunk_rays: int | None = None  # rays per call of the field; None: all while training, a bounded number in evaluation

    def __post_init__(self) -> None:
        least = 4 if self.rule == 'EG3D_2022' and self.samples_fine else 2
        if self.samples_coarse < least or self.samples_fine < 0:
            raise UsageError(f'Rendering needs samples_coarse >= {least} and samples_fine >= 0; found {self.samples_coarse} and {self.samples_fine}.')
        if (self.near == 'box') != (self.far == 'box'):
            raise UsageError(f"near and far must both be 'box' or both be distances; found {self.near} and {self.far}.")
        if self.near != 'box' and not 0 <= self.near < self.far:
            raise UsageError(f'Rendering needs 0 <= near < far; found {self.near} and {self.far}.')
        if self.evaluation_factor < 1:
            raise UsageError(f'Rendering needs an evaluation_factor of at least 1; found {self.evaluation_factor}.')
        if self.box_side <= 0 or (self.chunk_rays is not None and self.chunk_rays < 1):
            raise UsageError(f'box_side and chunk_rays must be positive; found {self.box_side} and {self.chunk_rays}.')


@dataclass(frozen=True, slots=True, eq=False)
class Rendered:
    """features [N, R, C] in [-1, 1]; depth [N, R, 1], the distance along the ray in world units; opacity [N, R, 1] in [0, 1]."""

    features: Tensor
    depth: Tensor
    opacity: Tensor


def render(field: Field, rays: Rays, config: RenderingConfig, stream: Stream | None = None) -> Rendered:
    """Render rays [N, R]. With a stream (one row per image) the samples are jittered; without one everything is deterministic.

    Evaluation (stream None) puts coarse samples at u = 0.5 and fine ones at the quantiles (k + 0.5) / samples_fine, and under the rule 'unposed'
    no image has any influence on another. Long lists of rays go through in chunks without changing the result.
    """
    if stream is None and config.evaluation_factor > 1:
        factor = config.evaluation_factor
        config = replace(
            config, samples_coarse=factor * config.samples_coarse, samples_fine=factor * config.samples_fine, evaluation_factor=1
        )
    near, far = ray_bounds(rays, config)
    jitter = _jitter(rays, config, stream)
    parts = []
    count, step = rays.origins.shape[1], _chunk(rays, config)
    for start in range(0, count, step):
        cut = slice(start, start + step)
        coarse, fine = (u if u is None or isinstance(u, float) else u[:, cut] for u in jitter)
        parts.append(_render_chunk(field, rays.slice(start, start + step), near[:, cut], far[:, cut], coarse, fine, config))
    features, depth, opacity, lowest, highest = (x[0] if len(x) == 1 else torch.cat(x, 1) for x in zip(*parts, strict=True))
    if config.rule == 'EG3D_2022':
        depth = depth.clamp(lowest.min(), highest.max())
    return Rendered(features, depth, opacity)


def ray_bounds(rays: Rays, config: RenderingConfig) -> tuple[Tensor, Tensor]:
    """(near, far), each [N, R, 1]: where sampling starts and ends. A ray that misses the box has near = far under the rule 'unposed'."""
    if config.near != 'box':
        like = rays.origins[..., :1]
        return torch.full_like(like, config.near), torch.full_like(like, config.far)
    near, far, hit = Box(config.box_side).intersect(rays)
    if config.rule == 'EG3D_2022' and bool(hit.any()):
        starts = near[hit]
        # As released: both ends of a missing ray come from the *near* ends of the batch.
        near, far = torch.where(hit, near, starts.min()), torch.where(hit, far, starts.max())
    return near, far


def _jitter(rays: Rays, config: RenderingConfig, stream: Stream | None) -> tuple[Tensor | float, Tensor | None]:
    """Uniform numbers for the coarse cells and for the fine quantiles; drawn for all rays at once, so that chunks change nothing."""
    n, r = rays.origins.shape[:2]
    device, fine = rays.origins.device, config.samples_fine
    if stream is None:
        return 0.5, sampling.strata(fine, 0.5, device).expand(n, r, fine) if fine else None
    assert len(stream) == n, f'{n} images are rendered with a stream of {len(stream)} rows'
    coarse = stream.uniform('render/coarse', r, config.samples_coarse, device=device)
    if not fine:
        return coarse, None
    u = stream.uniform('render/fine', r, fine, device=device)
    # Independent quantiles, as released, are sorted: the merge wants increasing depths and their order means nothing.
    return coarse, u.sort(-1).values if config.rule == 'EG3D_2022' else sampling.strata(fine, u, device)


def _chunk(rays: Rays, config: RenderingConfig) -> int:
    """Rays per call of the field; independent of the number of images, so that an image is computed the same way in every batch."""
    if config.chunk_rays is not None:
        return config.chunk_rays
    if torch.is_grad_enabled():
        return max(1, rays.origins.shape[1])
    points = POINTS_PER_CHUNK.get(rays.origins.device.type, 2**16)
    return max(1, points // max(config.samples_coarse, config.samples_fine))


def _render_chunk(
    field: Field, rays: Rays, near: Tensor, far: Tensor, u_coarse: Tensor | float, u_fine: Tensor | None, config: RenderingConfig
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """(features, depth, opacity, lowest sample, highest sample), all [N, rays of the chunk, .]."""
    released = config.rule == 'EG3D_2022'
    place = sampling.stratified_eg3d_2022 if released else sampling.stratified
    ends = (None, None) if released else (near, far)
    depths = place(near, far, config.samples_coarse, u_coarse)
    raw, features = _ask(field, rays, depths, config)
    if u_fine is None:
        light = _march(raw, depths, ends, config)
        colour = _weighted_sum(light.shares, features)
    else:
        fine_depths = _fine_depths(raw, depths, ends, u_fine, config)
        fine_raw, fine_features = _ask(field, rays, fine_depths, config)
        depths, order = compositing.merged(depths, fine_depths)
        raw = torch.cat([raw, fine_raw], -1).gather(-1, order)
        light = _march(raw, depths, ends, config)
        shares, fine_shares = compositing.unmerged(light.shares, order).split([config.samples_coarse, config.samples_fine], -1)
        colour = _weighted_sum(shares, features) + _weighted_sum(fine_shares, fine_features)
    behind, opacity = _background(field, rays, far, light.opacity, config)
    colour = over_background(colour, light.opacity, behind)
    lowest, highest = depths[..., :1], depths[..., -1:]
    if config.depth_rule == 'median':
        depth = compositing.median_depth(light.optical_depth, light.edges, light.opacity)
    else:
        # As released, an empty ray is infinitely far, until it is clamped to the batch.
        depth = compositing.expected_depth(light.shares, depths, light.opacity, torch.full_like(far, torch.inf) if released else far)
    if config.background == 'field':
        depth = depth * light.opacity + far * (1 - light.opacity)
    return colour * 2 - 1, depth, opacity, lowest, highest


def _background(field: Field, rays: Rays, far: Tensor, opacity: Tensor, config: RenderingConfig) -> tuple[Tensor | float, Tensor]:
    """What is behind everything, and the opacity of the whole: a field that is its own background lets no light through."""
    if config.background != 'field':
        return (1.0 if config.background == 'white' else 0.0), opacity
    return _ask(field, rays, far, config)[1].squeeze(2), torch.ones_like(opacity)


def _ask(field: Field, rays: Rays, depths: Tensor, config: RenderingConfig) -> tuple[Tensor, Tensor]:
    """Raw density [N, R, S] and features [N, R, S, C] of the field at these depths."""
    n, r, s = depths.shape
    directions = rays.directions[:, :, None]
    points = torch.addcmul(rays.origins[:, :, None], depths[..., None], directions)
    seen_from = directions.expand(n, r, s, 3).reshape(n, r * s, 3) if config.view_dependent else None
    raw, features = field(points.view(n, r * s, 3), seen_from)
    # Optical depths are summed in float32 at least, whatever precision the field computes in.
    return raw.reshape(n, r, s).to(torch.promote_types(raw.dtype, torch.float32)), features.reshape(n, r, s, -1)


@torch.no_grad()
def _fine_depths(raw: Tensor, depths: Tensor, ends: tuple[Tensor | None, Tensor | None], u: Tensor, config: RenderingConfig) -> Tensor:
    """Depths [N, R, samples_fine], increasing, where the coarse samples say that light stops."""
    light = _march(raw, depths, ends, config)
    weights = light.segment_weights()
    if ends[0] is None:
        return sampling.importance_eg3d_2022(depths, weights[..., 1:-1], u)
    return sampling.importance(light.edges, weights, u)


def _march(raw: Tensor, depths: Tensor, ends: tuple[Tensor | None, Tensor | None], config: RenderingConfig) -> compositing.March:
    return compositing.march(raw, depths, *ends, shift=config.density_shift, scale=config.density_scale, quadrature=config.quadrature)


def _weighted_sum(shares: Tensor, features: Tensor) -> Tensor:
    """sum_s shares [N, R, S] * features [N, R, S, C] -> [N, R, C], in the precision of the shares."""
    with torch.autocast(shares.device.type, enabled=False):  # a sum over a whole ray deserves all digits
        return (shares[:, :, None] @ features.to(shares.dtype)).squeeze(2)
