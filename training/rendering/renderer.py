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

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from custom_ops import TriplaneField, render_planes
from custom_ops.triplane import is_fused
from custom_ops.volume import LightRule, compositing, render_rays, sampling
from custom_ops.volume.render_rays import Field
from dnnlib.errors import UsageError
from torch_utils.rng import Stream
from training.cameras.rays import Rays
from training.rendering.background import over_background
from training.rendering.box import Box

POINTS_PER_CHUNK = {'cpu': 2**14, 'cuda': 2**19}  # per image; what a decoder keeps for them fits the cache or a small part of the memory


@dataclass(frozen=True, slots=True)
class RenderingConfig:
    """How a field is rendered. Lengths are world units."""

    samples_coarse: int = 48
    samples_fine: int = 48  # 0: the coarse samples only
    evaluation_factor: int = 1  # without a stream, so many times the samples: training wants speed, pictures want smooth surfaces
    near: float | Literal['box'] = 'box'
    far: float | Literal['box'] = 'box'
    far_at_start: float | None = None  # rays end here when training begins, and it moves the end to `far`; with the distance of the scenes'
    # middle from the camera no ray meets the inside of a far wall, so scenes cannot begin hollow
    box_side: float = 1.0
    axes: Literal['three_planes', 'EG3D_2022'] = 'three_planes'  # read by the networks; see planes.py
    background: Literal['black', 'white', 'field'] = 'black'  # 'field': what the field shows at the far end, as photographs have it
    density_shift: float = 1.0  # density = density_scale * softplus(raw - density_shift)
    density_scale: float = 1.0
    density_noise: float = 0.0  # standard deviation of what training adds to raw densities
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
        if self.far_at_start is not None and (self.far == 'box' or not self.near < self.far_at_start <= self.far):
            raise UsageError(f'rendering.far_at_start must lie between near and far, both distances; found {self.far_at_start} for '
                             f'{self.near} and {self.far}.')
        if self.evaluation_factor < 1:
            raise UsageError(f'Rendering needs an evaluation_factor of at least 1; found {self.evaluation_factor}.')
        if self.density_noise < 0:
            raise UsageError(f'Rendering needs a density_noise of at least 0; found {self.density_noise}.')
        if self.box_side <= 0 or (self.chunk_rays is not None and self.chunk_rays < 1):
            raise UsageError(f'box_side and chunk_rays must be positive; found {self.box_side} and {self.chunk_rays}.')


@dataclass(frozen=True, slots=True, eq=False)
class Rendered:
    """features [N, R, C] in [-1, 1]; depth [N, R, 1], the distance along the ray in world units; opacity [N, R, 1] in [0, 1]."""

    features: Tensor
    depth: Tensor
    opacity: Tensor


def render(field: Field, rays: Rays, config: RenderingConfig, stream: Stream | None = None, far: Tensor | None = None) -> Rendered:
    """Render rays [N, R]. With a stream (one row per image) the samples are jittered; without one everything is deterministic.

    Evaluation (stream None) puts coarse samples at u = 0.5 and fine ones at the quantiles (k + 0.5) / samples_fine, and under the rule 'unposed'
    no image has any influence on another. `far` [] replaces the configuration's distance. Long lists of rays go through in chunks without changing the result.
    """
    if stream is None and config.evaluation_factor > 1:
        factor = config.evaluation_factor
        config = replace(
            config, samples_coarse=factor * config.samples_coarse, samples_fine=factor * config.samples_fine, evaluation_factor=1
        )
    near, end = ray_bounds(rays, config)
    far = end if far is None else far.to(end).expand_as(end)
    draws = _draws(rays, config, stream)
    parts = []
    count, step = rays.origins.shape[1], _chunk(field, rays, config)
    for start in range(0, count, step):
        cut = slice(start, start + step)
        parts.append(_render_chunk(field, rays.slice(start, start + step), near[:, cut], far[:, cut], draws.cut(cut), config))
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


@dataclass(frozen=True, slots=True, eq=False)
class Draws:
    """Random numbers of all rays; None: no randomness."""

    coarse: Tensor | None  # [N, R, samples_coarse] in [0, 1)
    fine: Tensor | None  # [N, R, samples_fine] in [0, 1), increasing; None where there are no fine samples
    noise: Tensor | None  # [N, R, samples_coarse + samples_fine], to be added to raw densities

    def cut(self, part: slice) -> Draws:
        return Draws(*(None if draw is None else draw[:, part] for draw in (self.coarse, self.fine, self.noise)))


def _draws(rays: Rays, config: RenderingConfig, stream: Stream | None) -> Draws:
    """Drawn for all rays at once, so that chunks change nothing."""
    n, r = rays.origins.shape[:2]
    device, fine = rays.origins.device, config.samples_fine
    if stream is None:
        return Draws(None, sampling.strata(fine, 0.5, device).expand(n, r, fine) if fine else None, None)
    assert len(stream) == n, f'{n} images are rendered with a stream of {len(stream)} rows'
    coarse = stream.uniform('render/coarse', r, config.samples_coarse, device=device)
    noise = None
    if config.density_noise > 0:
        noise = stream.normal('render/noise', r, config.samples_coarse + fine, device=device) * config.density_noise
    if not fine:
        return Draws(coarse, None, noise)
    u = stream.uniform('render/fine', r, fine, device=device)
    # Independent quantiles, as released, are sorted: the merge wants increasing depths and their order means nothing.
    return Draws(coarse, u.sort(-1).values if config.rule == 'EG3D_2022' else sampling.strata(fine, u, device), noise)


def _chunk(field: Field, rays: Rays, config: RenderingConfig) -> int:
    """Rays per call of the field; independent of the number of images, so that an image is computed the same way in every batch."""
    if config.chunk_rays is not None:
        return config.chunk_rays
    if torch.is_grad_enabled() or (isinstance(field, TriplaneField) and is_fused(field, config.samples_coarse, config.samples_fine)):
        return max(1, rays.origins.shape[1])
    points = POINTS_PER_CHUNK.get(rays.origins.device.type, 2**16)
    return max(1, points // max(config.samples_coarse, config.samples_fine))


def _render_chunk(
    field: Field, rays: Rays, near: Tensor, far: Tensor, draws: Draws, config: RenderingConfig
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """(features, depth, opacity, lowest sample, highest sample), all [N, rays of the chunk, .]."""
    rule = LightRule(config.density_shift, config.density_scale, config.quadrature, config.depth_rule, config.rule)
    line = (rays.origins, rays.directions, near, far, config.samples_coarse, draws.coarse, draws.fine, rule)
    if isinstance(field, TriplaneField):
        seen = render_planes(field, *line, noise=draws.noise)
    else:
        seen = render_rays(field, *line, noise=draws.noise, tells_directions=config.view_dependent)
    behind, opacity, depth = 0.0, seen.opacity, seen.depth
    if config.background == 'white':
        behind = 1.0
    elif config.background == 'field':  # a field that is its own background lets no light through
        behind = _at_far_end(field, rays, far, config)
        depth = depth * opacity + far * (1 - opacity)
    colour = over_background(seen.features, opacity, behind)
    if config.background == 'field':
        opacity = torch.ones_like(opacity)
    return colour * 2 - 1, depth, opacity, seen.depths.amin(-1, keepdim=True), seen.depths.amax(-1, keepdim=True)


def _at_far_end(field: Field, rays: Rays, far: Tensor, config: RenderingConfig) -> Tensor:
    """Features [N, R, C] of the field where rays end."""
    return field(torch.addcmul(rays.origins, far, rays.directions), rays.directions if config.view_dependent else None)[1]
