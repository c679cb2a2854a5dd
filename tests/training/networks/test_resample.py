"""Resampling convolutions against their definitions, written with loops over taps, in float64."""

import pytest
import torch
from torch import Tensor

from training.networks.resample import conv_down, conv_up, downsample, upsample

TAPS = torch.outer(torch.tensor([1.0, 3, 3, 1]), torch.tensor([1.0, 3, 3, 1])).double() / 64


def shifted(x: Tensor, dy: int, dx: int, height: int, width: int) -> Tensor:
    """out[i, j] = x[i + dy, j + dx], zero outside."""
    margin = 8
    padded = torch.nn.functional.pad(x, [margin] * 4)
    return padded[..., margin + dy : margin + dy + height, margin + dx : margin + dx + width]


def filtered(x: Tensor, before: int, after: int) -> Tensor:
    """True convolution with TAPS after padding (symmetric taps: flipping them changes nothing)."""
    height, width = (s + before + after - 3 for s in x.shape[-2:])
    return sum(TAPS[a, b] * shifted(x, a - before, b - before, height, width) for a in range(4) for b in range(4))


def stuffed(x: Tensor) -> Tensor:
    """A zero after every pixel: [..., H, W] -> [..., 2H, 2W]."""
    y = x.new_zeros(*x.shape[:-2], 2 * x.shape[-2], 2 * x.shape[-1])
    y[..., ::2, ::2] = x
    return y


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 3, 4, 4, dtype=torch.float64)


def test_upsample(x):
    torch.testing.assert_close(upsample(x), 4 * filtered(stuffed(x), 2, 1))


def test_downsample(x):
    torch.testing.assert_close(downsample(x), filtered(x, 1, 1)[..., ::2, ::2])


def test_conv_up(x):
    weight = torch.randn(5, 3, 3, 3, dtype=torch.float64)
    spread = stuffed(x)
    transposed = sum(
        torch.einsum('oi,nihw->nohw', weight[:, :, a, b], shifted(spread, -a, -b, 9, 9)) for a in range(3) for b in range(3)
    )
    torch.testing.assert_close(conv_up(x, weight), 4 * filtered(transposed, 1, 1))


def test_conv_down(x):
    weight, bias = torch.randn(5, 3, 3, 3, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
    low = filtered(x, 2, 2)
    dense = sum(torch.einsum('oi,nihw->nohw', weight[:, :, a, b], shifted(low, a, b, 3, 3)) for a in range(3) for b in range(3))
    torch.testing.assert_close(conv_down(x, weight, bias), dense[..., ::2, ::2] + bias[:, None, None])


def test_up_then_down_keeps_a_constant_away_from_the_border():
    x = torch.ones(1, 1, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(downsample(upsample(x))[..., 2:-2, 2:-2], torch.ones(1, 1, 4, 4, dtype=torch.float64))
