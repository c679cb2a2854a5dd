"""Damages of known size, done to pictures: what audits check metrics with."""

import torch
from torch import Tensor
from torch.nn import functional as F


def blurred(images: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of images [N, 3, S, S], sigma in pixels, edges reflected."""
    radius = max(1, round(3 * sigma))
    taps = torch.exp(-torch.arange(-radius, radius + 1).float().square() / (2 * sigma**2))
    taps = (taps / taps.sum()).expand(3, 1, 1, -1)
    padded = F.pad(images, (radius,) * 4, mode='reflect')
    return F.conv2d(F.conv2d(padded, taps, groups=3), taps.transpose(2, 3), groups=3)


def rearranged_quarters(images: Tensor, orders: Tensor) -> Tensor:
    """The four quarters of each image [N, 3, S, S] in the order orders [N, 4] (a permutation of 0 .. 3 in each row)."""
    half = images.shape[-1] // 2
    quarters = images.unfold(2, half, half).unfold(3, half, half).flatten(2, 3)
    quarters = quarters[torch.arange(len(images))[:, None], :, orders]  # [N, 4, 3, half, half]
    top, bottom = torch.cat([quarters[:, 0], quarters[:, 1]], dim=-1), torch.cat([quarters[:, 2], quarters[:, 3]], dim=-1)
    return torch.cat([top, bottom], dim=-2)
