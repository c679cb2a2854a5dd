"""Separable Gaussian blur of images, used to hide fine detail from the discriminator early in training."""

import math

import torch
from torch import Tensor

from custom_ops import filter2d


def gaussian_taps(sigma_px: float, device: torch.device) -> Tensor:
    """Normalised taps 2^-(k / sigma)^2 for |k| <= floor(3 sigma): the width that EG3D calls sigma (base 2, not e)."""
    radius = math.floor(3 * sigma_px)
    offsets = torch.arange(-radius, radius + 1, device=device, dtype=torch.float32)
    taps = (-(offsets / max(sigma_px, 1e-8)).square()).exp2()
    return taps / taps.sum()


def blur(images: Tensor, sigma_px: float) -> Tensor:
    """[N, C, H, W] -> the same shape, zero outside; unchanged when sigma is below a third of a pixel."""
    if math.floor(3 * sigma_px) < 1:
        return images
    return filter2d(images, gaussian_taps(sigma_px, images.device))
