"""Equalised layers keep unit variance whatever their width and learning rate, and compute what their docstrings say."""

import math

import pytest
import torch
from torch.nn import functional as F

from training.networks.layers import ClassEmbedding, Conv, Dense, normalise_second_moment


@pytest.mark.parametrize('lr_multiplier', [1.0, 0.01])
@pytest.mark.parametrize('width', [32, 512])
def test_a_dense_layer_keeps_unit_second_moment_at_initialisation(width, lr_multiplier):
    x = torch.randn(256, width)
    assert Dense(width, 256, lr_multiplier=lr_multiplier)(x).square().mean().item() == pytest.approx(1.0, rel=0.1)
    # sqrt(2) lrelu of slope 0.2: E = 2 (1 + 0.04) / 2
    assert Dense(width, 256, lrelu=True, lr_multiplier=lr_multiplier)(x).square().mean().item() == pytest.approx(1.04, rel=0.1)


@pytest.mark.parametrize('kernel', [1, 3])
def test_a_convolution_keeps_unit_second_moment_at_initialisation(kernel):
    x = torch.randn(8, 48, 16, 16)
    y = Conv(48, 64, kernel)(x)[:, :, 1:-1, 1:-1]
    assert y.square().mean().item() == pytest.approx(1.04, rel=0.1)


def test_a_dense_layer_is_its_formula():
    layer = Dense(7, 5, lrelu=True, lr_multiplier=0.1, bias_init=3.0).double()
    x = torch.randn(4, 7, dtype=torch.float64)
    expected = F.leaky_relu(x @ (layer.weight * 0.1 / math.sqrt(7)).t() + layer.bias * 0.1, 0.2) * math.sqrt(2)
    torch.testing.assert_close(layer(x), expected)
    weight, bias = layer.effective()
    torch.testing.assert_close(F.leaky_relu(x @ weight.t() + bias, 0.2) * math.sqrt(2), expected)


def test_a_convolution_is_its_formula_and_clamps_after_its_gain():
    layer = Conv(3, 4, 3, clamp=0.5).double()
    layer.bias.data.normal_()
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    expected = F.leaky_relu(F.conv2d(x, layer.weight / math.sqrt(27), layer.bias, padding=1), 0.2) * math.sqrt(2)
    torch.testing.assert_close(layer(x), expected.clamp(-0.5, 0.5))


def test_normalisation_has_unit_second_moment():
    x = torch.randn(5, 64) * 7
    torch.testing.assert_close(normalise_second_moment(x).square().mean(1), torch.ones(5))


def test_a_class_embedding_is_a_dense_layer_on_the_one_hot_vector():
    layer = ClassEmbedding(6, 9)
    classes = torch.tensor([5, 0, 5])
    torch.testing.assert_close(layer(classes), F.one_hot(classes, 6).float() @ layer.weight)
