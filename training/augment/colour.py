"""Changing colours by one affine map of RGB per image (Karras et al. 2020, arXiv 2006.06676, appendix B.2).

Matrices are [N, 4, 4] on homogeneous RGB in [-1, 1]; the grey axis is (1, 1, 1) / sqrt(3).
"""

import math

import torch
from torch import Tensor

from training.augment.draws import Draws
from training.augment.settings import AugmentConfig


def draw_colours(config: AugmentConfig, p: float, draws: Draws) -> tuple[Tensor, Tensor]:
    """Random colour maps, float64 [N, 4, 4], and which rows have one that is not the identity, bool [N]."""
    brightens = draws.happens('brightness', config.brightness * p)
    contrasts = draws.happens('contrast', config.contrast * p)
    flips = draws.happens('lumaflip', config.lumaflip * p) & (draws.uniform('lumaflip') < 0.5)
    turns = draws.happens('hue', config.hue * p)
    saturates = draws.happens('saturation', config.saturation * p)
    matrix = luma_flip(flips)
    matrix = matrix @ contrast((config.contrast_std * draws.normal('contrast') * contrasts).exp2())
    matrix = matrix @ brightness(config.brightness_std * draws.normal('brightness') * brightens)
    matrix = hue((draws.uniform('hue') - 0.5) * (2 * math.pi * config.hue_max) * turns) @ matrix
    matrix = saturation((config.saturation_std * draws.normal('saturation') * saturates).exp2()) @ matrix
    return matrix, brightens | contrasts | flips | turns | saturates


def recolour(images: Tensor, matrices: Tensor) -> Tensor:
    """images [N, 3 k, H, W]: the same [N, 4, 4] map on each of the k RGB triples. Rows with an identity matrix come out bit for bit."""
    n, c, h, w = images.shape
    matrices = matrices.to(device=images.device, dtype=images.dtype).repeat_interleave(c // 3, dim=0)
    triples = images.reshape(n * (c // 3), 3, h * w)
    return torch.baddbmm(matrices[:, :3, 3:], matrices[:, :3, :3], triples).view(n, c, h, w)


def brightness(by: Tensor) -> Tensor:
    """[N] added to every channel."""
    matrix = _identity(by)
    matrix[:, :3, 3] = by[:, None]
    return matrix


def contrast(factor: Tensor) -> Tensor:
    """[N] times every channel."""
    return torch.diag_embed(torch.stack([factor, factor, factor, torch.ones_like(factor)], dim=1))


def luma_flip(flips: Tensor) -> Tensor:
    """bool [N]: mirror the colour at the plane through the origin across the grey axis, which inverts luma and keeps hue and saturation."""
    return _identity(flips.double()) - 2 * flips.double()[:, None, None] * _grey()


def hue(angle: Tensor) -> Tensor:
    """[N] radians about the grey axis (Rodrigues' formula)."""
    grey = _grey()
    across = torch.eye(4, dtype=torch.float64)
    across[3, 3] = 0
    across = across - grey
    turn = torch.zeros(4, 4, dtype=torch.float64)
    turn[:3, :3] = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]], dtype=torch.float64) / math.sqrt(3)
    return _identity(angle) + (angle.cos() - 1)[:, None, None] * across + angle.sin()[:, None, None] * turn


def saturation(factor: Tensor) -> Tensor:
    """[N] times the part of the colour across the grey axis."""
    across = torch.eye(4, dtype=torch.float64)
    across[3, 3] = 0
    return _identity(factor) + (factor - 1)[:, None, None] * (across - _grey())


def _identity(like: Tensor) -> Tensor:
    return torch.eye(4, dtype=torch.float64).repeat(len(like), 1, 1)


def _grey() -> Tensor:
    """The projection onto the grey axis."""
    matrix = torch.zeros(4, 4, dtype=torch.float64)
    matrix[:3, :3] = 1 / 3
    return matrix
