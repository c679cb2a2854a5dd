"""sample_planes against a loop over taps, decode_planes against its layers, derivatives and registration."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from custom_ops import decode_planes, sample_planes
from custom_ops.testing import check_derivatives, check_registration

AXES = torch.tensor([[[1.0, 0, 0], [0, 1, 0]], [[1, 0, 0], [0, 0, 1]], [[0, 0, 1], [0, 1, 0]]])


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def by_loop(planes, points, axes):
    """One point, one plane, one tap at a time; pixel i spans [i, i+1] of a width that maps to [-1, 1]."""
    n, p, c, h, w = planes.shape
    out = planes.new_zeros(n, points.shape[1], c)
    for i, j, k in itertools.product(range(n), range(points.shape[1]), range(p)):
        x = (float(axes[k, 0] @ points[i, j]) + 1) * w / 2 - 0.5
        y = (float(axes[k, 1] @ points[i, j]) + 1) * h / 2 - 0.5
        for column, row in itertools.product((math.floor(x), math.floor(x) + 1), (math.floor(y), math.floor(y) + 1)):
            if 0 <= column < w and 0 <= row < h:
                out[i, j] += (1 - abs(x - column)) * (1 - abs(y - row)) * planes[i, k, :, row, column] / p
    return out


@pytest.mark.parametrize('planes_per_sample', [1, 3])
def test_against_a_loop(planes_per_sample):
    planes, points = random(2, planes_per_sample, 4, 5, 6), random(2, 17, 3, seed=1)
    axes = AXES.double()[:planes_per_sample]
    expected = by_loop(planes, points, axes)
    innermost = planes.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    for source in (planes, innermost):
        torch.testing.assert_close(sample_planes(source, points, axes), expected)


def test_first_coordinate_indexes_width():
    planes = torch.zeros(1, 3, 1, 2, 4)
    planes[0, 0, 0, 1, 3] = 3.0  # last row, last column of the x-y plane
    assert sample_planes(planes, torch.tensor([[[0.75, 0.5, 0.0]]]), AXES).item() == pytest.approx(1.0)


def test_outside_is_zero():
    assert sample_planes(torch.ones(1, 3, 2, 4, 4), torch.full((1, 1, 3), 1.5), AXES).abs().max() == 0


def test_decoder_is_its_layers():
    planes, points = random(2, 3, 4, 5, 5), random(2, 7, 3, seed=1)
    weights, biases = [random(6, 4, seed=2), random(3, 6, seed=3)], [random(6, seed=4), random(3, seed=5)]
    for name, function in (('softplus', F.softplus), ('relu', F.relu)):
        expected = function(sample_planes(planes, points, AXES) @ weights[0].t() + biases[0]) @ weights[1].t() + biases[1]
        torch.testing.assert_close(decode_planes(planes, points, AXES, weights, biases, name), expected)


def test_derivatives():
    axes = AXES.double()
    planes, points = random(2, 3, 2, 3, 3), torch.tanh(random(2, 4, 3, seed=1))
    check_derivatives(lambda p, q: sample_planes(p, q, axes), planes, points)
    check_derivatives(
        lambda p, q, w0, b0, w1, b1: decode_planes(p, q, axes, [w0, w1], [b0, b1]),
        planes[:1], points[:1], random(3, 2, seed=2), random(3, seed=3), random(2, 3, seed=4), random(2, seed=5),
    )  # fmt: skip


def test_registered():
    planes, points = random(2, 3, 4, 5, 5).float().requires_grad_(), random(2, 7, 3).float().requires_grad_()
    check_registration('sample_planes', (planes, points, AXES))
    check_registration('decode_planes', (planes, points, AXES, [torch.ones(3, 4)], [torch.ones(3)], 'relu'))


def test_compiles():
    planes, points = random(2, 3, 4, 5, 5).float().requires_grad_(), random(2, 7, 3).float()
    weights, biases = [torch.ones(3, 4), torch.ones(2, 3)], [torch.ones(3), torch.ones(2)]
    compiled = torch.compile(decode_planes, backend='aot_eager', fullgraph=True)
    grads = [torch.autograd.grad(f(planes, points, AXES, weights, biases).sum(), planes)[0] for f in (compiled, decode_planes)]
    torch.testing.assert_close(*grads)


def test_errors():
    planes, points = torch.zeros(2, 3, 4, 5, 5), torch.zeros(2, 7, 3)
    with pytest.raises(ValueError, match='points'):
        sample_planes(planes, points[:1], AXES)
    with pytest.raises(ValueError, match='axes'):
        sample_planes(planes, points, AXES[:2])
    with pytest.raises(ValueError, match='no activation'):
        decode_planes(planes, points, AXES, [torch.ones(3, 4)], [torch.ones(3)], 'gelu')
    with pytest.raises(ValueError, match='one bias per weight'):
        decode_planes(planes, points, AXES, [torch.ones(3, 4)], [])
