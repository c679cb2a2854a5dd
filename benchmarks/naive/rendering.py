"""Volume rendering as EG3D (arXiv 2112.07945) and NeRF (arXiv 2003.08934) describe it: every sample of every ray in memory at once.

Stratified samples, the field, compositing by a cumulative product, samples by importance, the field again, both lists concatenated and
sorted with their colours, compositing once more. The function is that of training.rendering.renderer under the rule 'unposed': the same
arguments give the same picture. Uniform numbers are arguments, or None for the middles that evaluation uses.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from training.cameras.rays import Rays
from training.rendering.renderer import RenderingConfig, ray_bounds

Field = Callable[[Tensor], tuple[Tensor, Tensor]]
"""points [N, M, 3] -> raw density [N, M, 1], features [N, M, C]."""


def sample_planes(planes: Tensor, points: Tensor, axes: Tensor) -> Tensor:
    """planes [N, P, C, H, W], points [N, M, 3] in [-1, 1], axes [P, 2, 3] -> the mean of the bilinear samples [N, M, C]."""
    n, count, channels, height, width = planes.shape
    grid = torch.einsum('pkd,nmd->npmk', axes, points).reshape(n * count, 1, -1, 2)
    sampled = F.grid_sample(
        planes.reshape(n * count, channels, height, width), grid, mode='bilinear', padding_mode='zeros', align_corners=False
    )
    return sampled.view(n, count, channels, -1).mean(dim=1).transpose(1, 2)


def uniforms(n: int, rays: int, config: RenderingConfig, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Jitter of the coarse samples [n, rays, S] and of the fine quantiles [n, rays, F]."""
    coarse, fine = (
        torch.rand(n, rays, count, device=generator.device, generator=generator) for count in (config.samples_coarse, config.samples_fine)
    )
    return coarse, fine


def render(field: Field, rays: Rays, config: RenderingConfig, u: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """(features [N, R, C] in [-1, 1], depth [N, R, 1], opacity [N, R, 1])."""
    u_coarse, u_fine = (0.5, 0.5) if u is None else u
    near, far = ray_bounds(rays, config)
    factor = config.evaluation_factor if u is None else 1
    depths = near + (far - near) * strata(config.samples_coarse * factor, u_coarse, near)
    raw, colours = ask(field, rays, depths)
    if config.samples_fine:
        with torch.no_grad():
            edges, weights = march(raw, depths, near, far, config)
            fine = importance(edges, weights, strata(config.samples_fine * factor, u_fine, near).expand(*near.shape[:2], -1))
        fine_raw, fine_colours = ask(field, rays, fine)
        depths, order = torch.cat([depths, fine], -1).sort(dim=-1)
        raw = torch.cat([raw, fine_raw], -1).gather(-1, order)
        colours = torch.cat([colours, fine_colours], -2)
        colours = colours.gather(-2, order[..., None].expand(-1, -1, -1, colours.shape[-1]))
    _, weights = march(raw, depths, near, far, config)
    opacity = weights.sum(-1, keepdim=True)
    colour = weighted(weights, colours, config)
    depth = weighted(weights, depths[..., None], config) / opacity.clamp(min=1e-6)
    depth = torch.where(opacity > 1e-6, depth, far)
    if config.background == 'field':
        behind = ask(field, rays, far)[1].squeeze(2)
        return (colour + (1 - opacity) * behind) * 2 - 1, depth * opacity + far * (1 - opacity), torch.ones_like(opacity)
    background = 1.0 if config.background == 'white' else 0.0
    return (colour + (1 - opacity) * background) * 2 - 1, depth, opacity


def strata(count: int, u: Tensor | float, like: Tensor) -> Tensor:
    """(k + u) / count for k = 0 .. count - 1."""
    return (torch.arange(count, device=like.device) + u) / count


def ask(field: Field, rays: Rays, depths: Tensor) -> tuple[Tensor, Tensor]:
    """Raw density [N, R, S] and features [N, R, S, C] of the field at depths [N, R, S]."""
    n, r, s = depths.shape
    points = rays.origins[:, :, None] + depths[..., None] * rays.directions[:, :, None]
    raw, colours = field(points.reshape(n, r * s, 3))
    return raw.reshape(n, r, s), colours.reshape(n, r, s, -1)


def march(raw: Tensor, depths: Tensor, near: Tensor, far: Tensor, config: RenderingConfig) -> tuple[Tensor, Tensor]:
    """Edges [N, R, K + 1] of the segments of each ray and the light [N, R, K] that stops in each, by alpha compositing.

    'midpoint': segments between the samples, with their mean density, and two more out to near and far. 'cells': one around each sample.
    """
    if config.quadrature == 'midpoint':
        edges = torch.cat([near, depths, far], -1)
        raw = torch.cat([raw[..., :1], (raw[..., 1:] + raw[..., :-1]) / 2, raw[..., -1:]], -1)
    else:
        edges = torch.cat([near, (depths[..., 1:] + depths[..., :-1]) / 2, far], -1)
    density = F.softplus(raw - config.density_shift) * config.density_scale
    alpha = 1 - torch.exp(-density * (edges[..., 1:] - edges[..., :-1]))
    # No factor is exactly zero, so that the derivative of the product exists everywhere.
    passed = torch.cumprod(torch.cat([torch.ones_like(alpha[..., :1]), 1 - alpha + 1e-10], -1), -1)
    return edges, alpha * passed[..., :-1]


def weighted(weights: Tensor, values: Tensor, config: RenderingConfig) -> Tensor:
    """weights [N, R, K] of segments, values [N, R, S, C] of samples -> what the ray sees [N, R, C]."""
    if config.quadrature == 'cells':
        return (weights[..., None] * values).sum(-2)
    middles = (values[..., 1:, :] + values[..., :-1, :]) / 2
    between = (weights[..., 1:-1, None] * middles).sum(-2)
    return between + weights[..., :1] * values[..., 0, :] + weights[..., -1:] * values[..., -1, :]


def importance(edges: Tensor, weights: Tensor, u: Tensor) -> Tensor:
    """Depths [N, R, F] at the quantiles u of the weights, which are widened first (mip-NeRF, arXiv 2103.13415, section 3.1)."""
    n, r, k = weights.shape
    widened = F.avg_pool1d(F.max_pool1d(weights.reshape(n * r, 1, k), 2, stride=1, padding=1), 2, stride=1).view(n, r, k) + 0.01
    cdf = torch.cumsum(widened / widened.sum(-1, keepdim=True), -1)
    cdf = torch.cat([torch.zeros_like(cdf[..., :1]), cdf], -1)
    above = torch.searchsorted(cdf, u.contiguous(), right=True).clamp(1, k)
    below = above - 1
    cdf_below, cdf_above = cdf.gather(-1, below), cdf.gather(-1, above)
    edge_below, edge_above = edges.gather(-1, below), edges.gather(-1, above)
    step = cdf_above - cdf_below
    fraction = (u - cdf_below) / torch.where(step < 1e-5, torch.ones_like(step), step)
    return edge_below + fraction.clamp(0, 1) * (edge_above - edge_below)
