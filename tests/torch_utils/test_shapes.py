"""Shapes are checked against numbers, letters and gaps."""

import pytest
import torch

from dnnlib.errors import UsageError
from torch_utils.shapes import check_shape


@pytest.mark.parametrize(('size', 'shape'), [((2, 3, 4, 4), (None, 3, 'S', 'S')), ((), ()), ((5,), ('N',)), ((0, 3), (None, 3))])
def test_fits(size, shape) -> None:
    check_shape(torch.empty(size), shape, 'x')


@pytest.mark.parametrize(('size', 'shape'), [((2, 3, 4, 5), (None, 3, 'S', 'S')), ((2, 4), (None, 3)), ((2, 3), (2, 3, None)), ((2,), ())])
def test_does_not_fit(size, shape) -> None:
    with pytest.raises(UsageError, match='x must have the shape'):
        check_shape(torch.empty(size), shape, 'x')


def test_message() -> None:
    with pytest.raises(UsageError, match=r'image must have the shape \[any, 3, S, S\], but has \[1, 3, 4, 5\]\.'):
        check_shape(torch.empty(1, 3, 4, 5), (None, 3, 'S', 'S'), 'image')
