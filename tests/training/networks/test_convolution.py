"""Convolutions in bands against PyTorch's own: values, gradients, gradients of gradients; and when they are chosen."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from training.networks import convolution
from training.networks.convolution import convolve, spread


@pytest.fixture
def always(monkeypatch) -> None:
    """Every weight gradient is computed in bands, most of them of a few rows."""
    monkeypatch.setattr(convolution, 'LARGE_FLOATS', 0)
    monkeypatch.setattr(convolution, 'BAND_FLOATS', 400)


def second_order(function, x: Tensor, weight: Tensor) -> list[Tensor]:
    """Value, gradients, and the gradients of what R1 makes of the first one."""
    y = function(x, weight)
    value = y.sin().sum()
    first = torch.autograd.grad(value, (x, weight), create_graph=True)
    return [y, *first, *torch.autograd.grad(first[0].square().sum() + first[1].square().sum() + value, (x, weight))]


def tensors(channels: int, kernel: int) -> tuple[Tensor, Tensor]:
    x = torch.randn(2, 3, 11, 8, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    return x.requires_grad_(), torch.randn(channels, 3, kernel, kernel, dtype=torch.float64).requires_grad_()


@pytest.mark.parametrize(('stride', 'padding', 'kernel'), [(1, 1, 3), (2, 0, 3), (2, 1, 3), (1, 0, 1), (3, 2, 5)])
def test_a_convolution_in_bands_is_the_convolution(always, stride, padding, kernel):
    x, weight = tensors(4, kernel)
    ours = second_order(lambda *inputs: convolve(*inputs, stride=stride, padding=padding), x, weight)
    theirs = second_order(lambda *inputs: F.conv2d(*inputs, stride=stride, padding=padding), x, weight)
    for left, right in zip(ours, theirs, strict=True):
        torch.testing.assert_close(left, right)


@pytest.mark.parametrize(('stride', 'kernel'), [(1, 3), (2, 3), (2, 4)])
def test_spreading_in_bands_is_the_transposed_convolution(always, stride, kernel):
    x, weight = tensors(4, kernel)
    ours = second_order(lambda *inputs: spread(*inputs, stride=stride), x, weight)
    theirs = second_order(lambda x, weight: F.conv_transpose2d(x, weight.transpose(0, 1), stride=stride), x, weight)
    for left, right in zip(ours, theirs, strict=True):
        torch.testing.assert_close(left, right)


def test_the_bias_is_added_and_learns(always):
    x, weight = tensors(4, 3)
    bias = torch.randn(4, dtype=torch.float64, requires_grad=True)
    ours, theirs = (function(x, weight, bias, stride=1, padding=1) for function in (convolve, F.conv2d))
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(*(torch.autograd.grad(y.sin().sum(), bias) for y in (ours, theirs)))


def test_bands_are_for_large_gradients_that_are_wanted():
    large, small = torch.randn(1, 16, 96, 96), torch.randn(1, 16, 48, 48)
    weight = torch.randn(8, 16, 3, 3, requires_grad=True)

    def name(x: Tensor, weight: Tensor) -> str:
        return type(convolve(x.requires_grad_(), weight, padding=1).grad_fn).__name__

    assert name(large, weight) == '_ConvolutionBackward'
    assert name(small, weight) == name(large, weight.detach()) == 'ConvolutionBackward0'
    with torch.autocast('cpu', torch.bfloat16):
        assert name(large, weight) == 'ConvolutionBackward0'
    with torch.no_grad():
        assert convolve(large, weight, padding=1).grad_fn is None


@pytest.mark.parametrize('channels', [3, 16])
def test_in_float32_bands_are_at_least_as_exact(channels):
    x = torch.randn(2, channels, 160, 160).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(4, channels, 3, 3, requires_grad=True)
    cotangent = torch.randn(2, 4, 160, 160)

    def gradient(function, dtype: torch.dtype) -> Tensor:
        return torch.autograd.grad(function(x.to(dtype), weight.to(dtype), padding=1), weight, cotangent.to(dtype))[0].double()

    exact = torch.autograd.grad(F.conv2d(x.double(), weight.double(), padding=1), weight, cotangent.double())[0].double()
    ours, theirs = ((gradient(function, torch.float32) - exact).norm() for function in (convolve, F.conv2d))
    assert ours <= 1.5 * theirs + 1e-6 * exact.norm()
