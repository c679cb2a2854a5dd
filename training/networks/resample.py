"""Resampling by two with the [1, 3, 3, 1] filter, alone and around a convolution (StyleGAN2, arXiv 1912.04958).

Filter and convolution stay two steps. Their joined forms (a 6x6 kernel, or one 3x3 kernel per phase) are the same linear map with four
times the products; on a CPU core with channels-last tensors they were 2 to 3 times slower at every width from 32 to 64 channels.
"""

from functools import cache

import torch
from torch import Tensor

from custom_ops import setup_filter, upfirdn2d
from training.networks.convolution import convolve, spread

TAPS = (1.0, 3.0, 3.0, 1.0)


@cache
def _filter(dtype: torch.dtype, device: torch.device) -> Tensor:
    return setup_filter(TAPS).to(device=device, dtype=dtype)


def filtered(x: Tensor, *, up: int = 1, down: int = 1, padding: int | tuple[int, int, int, int] = 0, gain: float = 1.0) -> Tensor:
    """upfirdn2d with the filter, in the dtype of x also under autocast: pictures are accumulated in float32."""
    with torch.autocast(x.device.type, enabled=False):
        return upfirdn2d(x, _filter(x.dtype, x.device), up=up, down=down, padding=padding, gain=gain)


def conv_up(x: Tensor, weight: Tensor) -> Tensor:
    """x2 transposed convolution with `weight` [O, I, 3, 3], then the filter at gain 4; [N, I, H, W] -> [N, O, 2H, 2W]."""
    return filtered(spread(x, weight, stride=2), padding=1, gain=4.0)


def conv_down(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The filter, then a stride-2 convolution with `weight` [O, I, 3, 3] and `bias` [O]; [N, I, H, W] -> [N, O, H/2, W/2]."""
    return convolve(filtered(x, padding=2), weight, bias, stride=2)


def upsample(x: Tensor) -> Tensor:
    """[N, C, H, W] -> [N, C, 2H, 2W] with the filter, zeros outside; pixel edges stay where they are."""
    return filtered(x, up=2, padding=(2, 1, 2, 1), gain=4.0)


def downsample(x: Tensor) -> Tensor:
    """[N, C, H, W] -> [N, C, H/2, W/2] with the filter, zeros outside; pixel edges stay where they are."""
    return filtered(x, down=2, padding=1)
