"""Channels last, in strides that convolutions understand."""

import pytest
import torch
from torch.nn import functional as F

from torch_utils.layout import channels_last

SHAPES = [(2, 3, 4, 5), (1, 3, 4, 5), (2, 1, 4, 5), (1, 1, 4, 5), (1, 3, 1, 5), (2, 3, 1, 1)]


@pytest.mark.parametrize('shape', SHAPES)
def test_strides_are_those_of_the_format(shape):
    n, c, h, w = shape
    rows = torch.randn(n, h * w, c)
    for x in (torch.randn(shape), rows.transpose(1, 2).unflatten(2, (h, w)), torch.randn(1, c, h, w).expand(shape)):
        y = channels_last(x)
        assert torch.equal(y, x) and y.stride() == (c * h * w, 1, c * w, c)


def test_nothing_moves_that_lies_right():
    for x in (torch.randn(1, 20, 3).transpose(1, 2).unflatten(2, (4, 5)), torch.randn(2, 1, 4, 5), torch.randn(2, 4, 5, 3).permute(0, 3, 1, 2)):
        assert channels_last(x).data_ptr() == x.data_ptr()


@pytest.mark.parametrize(('n', 'c'), [(1, 3), (2, 1), (1, 1)])
def test_a_convolution_computes_in_it(n, c):
    rows = torch.randn(n, 64, c)
    open_strides = rows.transpose(1, 2).unflatten(2, (8, 8))
    y = F.conv2d(channels_last(open_strides), torch.randn(4, c, 3, 3), padding=1)
    assert y.stride() == (256, 1, 32, 4)


def test_gradients_pass():
    x = torch.randn(1, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: channels_last(x).pow(3), x)
