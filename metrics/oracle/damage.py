"""What training pictures suffer, so that blurred, noisy and blotched pictures, as young generators make them, are read sensibly too."""

import torch
from torch import Tensor
from torch.nn import functional as F

from torch_utils.rng import Stream

BLUR_RADIUS = 4


def damaged(images: Tensor, draws: Stream) -> Tensor:
    """images [N, 3, S, S] in [-1, 1], S a multiple of 8 -> the same shape and range; a quarter of them stays as it is.

    The others, independently: a little brightness and contrast; half the resolution (1 in 4); Gaussian blur of 0.4 to 1.4 pixels (1 in 3);
    blotches of an eighth of the picture, sigma up to 0.15 (1 in 3); noise per pixel, sigma up to 0.15 (1 in 2).
    """
    n, size = len(images), images.shape[-1]
    chances = images.new_tensor([0.75, 0.25, 1 / 3, 1 / 3, 0.5])
    hurt, halve, blur, blotch, noise = (draws.uniform('which', 5) < chances)[:, :, None, None, None].unbind(1)
    amount = draws.uniform('how much', 5)[:, :, None, None, None].unbind(1)
    x = images * (0.85 + 0.3 * amount[0]) + (0.2 * amount[1] - 0.1)
    x = torch.where(halve, F.interpolate(F.avg_pool2d(x, 2), size=(size, size), mode='bilinear', align_corners=False), x)
    x = torch.where(blur, blurred(x, 0.4 + amount[2].flatten()), x)
    blotches = F.interpolate(draws.normal('blotches', 3, 8, 8), size=(size, size), mode='bilinear', align_corners=False)
    x = x + blotches * (0.15 * amount[3] * blotch)
    x = x + draws.normal('noise', 3, size, size) * (0.15 * amount[4] * noise)
    assert x.shape == (n, 3, size, size), x.shape
    return torch.where(hurt, x.clamp(-1, 1), images)


def blurred(images: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur of images [N, C, S, S], each with its sigma [N] in pixels (at most 1.5: the kernel ends at 4); edges reflected."""
    n, channels, size, _ = images.shape
    taps = torch.exp(-torch.arange(-BLUR_RADIUS, BLUR_RADIUS + 1).square() / (2 * sigma[:, None].square()))
    taps = (taps / taps.sum(1, keepdim=True)).repeat_interleave(channels, dim=0)[:, None, None, :]
    x = F.pad(images, (BLUR_RADIUS,) * 4, mode='reflect').reshape(1, n * channels, size + 2 * BLUR_RADIUS, size + 2 * BLUR_RADIUS)
    x = F.conv2d(F.conv2d(x, taps, groups=n * channels), taps.transpose(2, 3), groups=n * channels)
    return x.reshape(n, channels, size, size)
