"""Modulated convolutions against the equations of StyleGAN2, one sample at a time, in float64."""

import math

import pytest
import torch
from torch.nn import functional as F

from torch_utils.rng import Stream
from training.networks.modulated import ModulatedConv, ToImage, demodulation
from training.networks.resample import conv_up


def layer(up: bool = False, clamp: float | None = None) -> ModulatedConv:
    made = ModulatedConv(6, 5, w_dim=7, resolution=8, name='layer', up=up, clamp=clamp).double()
    made.bias.data.normal_()
    made.noise_strength.data.fill_(0.3)
    return made


@pytest.mark.parametrize('up', [False, True])
@pytest.mark.parametrize('clamp', [None, 0.8])
def test_a_modulated_convolution_is_its_equations(up, clamp):
    made = layer(up, clamp)
    side = 4 if up else 8
    x, w = torch.randn(3, 6, side, side, dtype=torch.float64), torch.randn(3, 7, dtype=torch.float64)
    rows = []
    for xi, style in zip(x, made.affine(w), strict=True):
        modulated = made.weight * style[None, :, None, None]  # eq. 1
        weight = modulated / (modulated.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).sqrt()  # eq. 3
        y = conv_up(xi[None], weight) if up else F.conv2d(xi[None], weight, padding=1)
        y = y + made.noise_const * made.noise_strength + made.bias[None, :, None, None]
        y = F.leaky_relu(y, 0.2) * math.sqrt(2)
        rows.append(y if clamp is None else y.clamp(-clamp, clamp))
    torch.testing.assert_close(made(x, w, 'const'), torch.cat(rows))


@pytest.mark.parametrize('up', [False, True])
def test_demodulation_keeps_unit_scale_whatever_the_style(up):
    made = ModulatedConv(64, 64, w_dim=32, resolution=32, name='layer', up=up)
    x = torch.randn(4, 64, 16, 16) if up else torch.randn(4, 64, 32, 32)
    for scale in (0.1, 1.0, 10.0):
        y = made(x, torch.randn(4, 32) * scale, 'none')[:, :, 2:-2, 2:-2]
        # Upsampled white noise loses power to the filter, (20/64 * 2)^2 per pixel on average; lrelu adds its 1.04.
        assert y.square().mean().item() == pytest.approx(1.04 * ((20 / 64 * 2) ** 2 if up else 1), rel=0.2)


def test_demodulation_is_the_norm_of_the_modulated_weight():
    weight, style = torch.randn(5, 6, 3, 3, dtype=torch.float64), torch.randn(4, 6, dtype=torch.float64)
    norms = (weight[None] * style[:, None, :, None, None]).flatten(2).norm(dim=2)
    torch.testing.assert_close(demodulation(weight, style), 1 / norms, rtol=1e-7, atol=0)


def test_to_image_is_a_scaled_convolution():
    made = ToImage(6, 4, w_dim=7).double()
    made.bias.data.normal_()
    x, w = torch.randn(3, 6, 5, 5, dtype=torch.float64), torch.randn(3, 7, dtype=torch.float64)
    expected = F.conv2d(x * made.affine(w)[:, :, None, None] / math.sqrt(6), made.weight, made.bias)
    torch.testing.assert_close(made(x, w), expected)


def test_noise_is_addressed_by_stream_row_and_layer():
    made = layer()
    x, w = torch.randn(2, 6, 8, 8, dtype=torch.float64), torch.randn(2, 7, dtype=torch.float64)
    stream = Stream(seed=0, step=3, rows=(0, 1))
    both = made(x, w, 'random', stream)
    torch.testing.assert_close(made(x, w, 'random', stream), both)
    torch.testing.assert_close(made(x[1:], w[1:], 'random', stream.for_rows(1, 2)), both[1:])
    assert not torch.allclose(made(x, w, 'random', Stream(seed=0, step=4, rows=(0, 1))), both)
    assert not torch.allclose(made(x, w, 'const'), made(x, w, 'none'))


def test_a_layer_without_noise_inputs_ignores_the_mode():
    made = ModulatedConv(6, 5, w_dim=7, resolution=8, name='layer', has_noise=False)
    x, w = torch.randn(2, 6, 8, 8), torch.randn(2, 7)
    torch.testing.assert_close(made(x, w, 'const'), made(x, w, 'none'))
    assert not any('noise' in name for name in made.state_dict())
