"""upfirdn2d against a loop and against scipy, its derivatives against finite differences, and the laws of its three uses."""

import itertools

import numpy as np
import pytest
import scipy.signal
import torch

from custom_ops import bias_act, downsample2d, filter2d, setup_filter, upfirdn2d, upsample2d
from custom_ops.testing import check_derivatives, check_registration


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def by_loop(x, f, up, down, padding, flip_filter, gain):
    """The definition, one output pixel at a time."""
    if f.ndim == 1:
        f = torch.outer(f, f)
    if flip_filter:
        f = f.flip((0, 1))
    n, c, h, w = x.shape
    (ux, uy), (dx, dy), (left, right, top, bottom) = up, down, padding
    zeros = x.new_zeros(n, c, h * uy, w * ux)
    zeros[:, :, ::uy, ::ux] = x
    border = 16
    padded = x.new_zeros(n, c, h * uy + 2 * border, w * ux + 2 * border)
    padded[:, :, border:-border, border:-border] = zeros
    padded = padded[:, :, border - top : border + h * uy + bottom, border - left : border + w * ux + right]
    kh, kw = f.shape
    out_h, out_w = (padded.shape[2] - kh) // dy + 1, (padded.shape[3] - kw) // dx + 1
    out = x.new_zeros(n, c, out_h, out_w)
    for i, j in itertools.product(range(out_h), range(out_w)):
        out[:, :, i, j] = gain * (padded[:, :, i * dy : i * dy + kh, j * dx : j * dx + kw] * f.flip((0, 1))).sum((2, 3))
    return out


CASES = [
    ((4, 4), (1, 1), (1, 1), (2, 1, 2, 1)),
    ((4, 4), (2, 2), (1, 1), (2, 1, 2, 1)),
    ((4, 4), (1, 1), (2, 2), (1, 1, 1, 1)),
    ((3, 5), (2, 1), (1, 3), (4, 2, 0, 1)),
    ((3, 2), (3, 2), (2, 3), (3, 4, 5, 0)),
    ((4, 4), (2, 2), (1, 1), (-1, 3, 9, -2)),
    ((5, 3), (1, 1), (2, 2), (-1, 0, 3, -2)),
    ((4, 4), (2, 2), (1, 1), (9, 8, 7, 9)),
    ((4,), (2, 2), (1, 1), (2, 1, 2, 1)),
    ((12,), (2, 2), (1, 1), (6, 5, 6, 5)),
    ((12,), (1, 1), (2, 2), (5, 5, 5, 5)),
    ((12,), (2, 1), (1, 2), (6, 7, 8, 5)),
]


@pytest.mark.parametrize('channels', [3, 13])
@pytest.mark.parametrize('flip', [False, True])
@pytest.mark.parametrize('size, up, down, padding', CASES)
def test_against_a_loop(size, up, down, padding, flip, channels):
    x, f = random(2, channels, 6, 7), random(*size, seed=1)
    expected = by_loop(x, f, up, down, padding, flip, 1.7)
    for source in (x, x.to(memory_format=torch.channels_last), x.clone().requires_grad_()):
        ours = upfirdn2d(source, f, up=up, down=down, padding=padding, flip_filter=flip, gain=1.7)
        torch.testing.assert_close(ours.detach(), expected)


@pytest.mark.parametrize('up, down, taps', [(1, 1, 5), (2, 1, 12), (1, 2, 12), (3, 2, 7)])
def test_against_scipy(up, down, taps):
    x, f = random(1, 1, 9, 10), random(taps, seed=1)
    expected = scipy.signal.upfirdn(f.numpy(), scipy.signal.upfirdn(f.numpy(), x[0, 0].numpy(), up, down, axis=0), up, down, axis=1)
    # scipy pads by a whole filter, and does not append the zeros that follow the last sample.
    ours = upfirdn2d(x, f, up=up, down=down, padding=(taps - 1, taps - up) * 2)[0, 0].numpy()
    np.testing.assert_allclose(ours, expected, atol=1e-12)


@pytest.mark.parametrize('channels', [2, 12])
@pytest.mark.parametrize('size, up, down, padding', CASES)
def test_derivatives(size, up, down, padding, channels):
    f = random(*size, seed=1)
    x = random(2 if channels == 2 else 1, channels, 4, 5)
    leaf = x.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: upfirdn2d(x, f, up=up, down=down, padding=padding), leaf, fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda x: upfirdn2d(x, f, up=up, down=down, padding=padding), leaf, fast_mode=True)


def test_derivative_with_respect_to_the_filter():
    x = random(1, 2, 4, 4)
    check_derivatives(lambda f: upfirdn2d(x, f, up=2, padding=(2, 1)), random(4, 4, seed=1))


def test_third_derivative():
    f = setup_filter([1, 3, 3, 1]).double()

    def second(x):
        (g,) = torch.autograd.grad(upsample2d(x, f).pow(4).sum(), x, create_graph=True)
        return torch.autograd.grad(g.pow(2).sum(), x, create_graph=True)[0]

    assert torch.autograd.gradcheck(second, random(1, 1, 3, 3).requires_grad_(), fast_mode=True)


@pytest.mark.parametrize('taps', [[1, 3, 3, 1], [1, 2, 1], [1, 1], np.hanning(14)[1:-1].tolist()])
def test_resampling_keeps_a_constant_image(taps):
    f, ones = setup_filter(taps), torch.ones(1, 2, 40, 40)
    inner = (..., slice(14, -14), slice(14, -14))
    for y, size in ((upsample2d(ones, f), 80), (downsample2d(torch.ones(1, 2, 80, 80), f), 40), (filter2d(ones, f), 40)):
        assert y.shape == (1, 2, size, size)
    for y in (downsample2d(torch.ones(1, 2, 80, 80), f), filter2d(ones, f)):
        torch.testing.assert_close(y[inner], torch.ones_like(y[inner]))
    if len(taps) % 2 == 0 and len(taps) < 8:  # [1,3,3,1] splits its weight evenly between the two phases
        y = upsample2d(ones, f)
        torch.testing.assert_close(y[inner], torch.ones_like(y[inner]))


def test_upsampling_is_linear_interpolation_at_quarter_pixels():
    y = upsample2d(torch.tensor([[[[0.0, 4.0, 8.0]]]]).expand(1, 1, 3, 3), setup_filter([1, 3, 3, 1]))
    torch.testing.assert_close(y[0, 0, 2, 1:5], torch.tensor([1.0, 3.0, 5.0, 7.0]))


def test_down_is_the_adjoint_of_up():
    f, x, y = random(4, 4), random(1, 2, 5, 6), random(1, 2, 10, 12, seed=1)
    torch.testing.assert_close((upsample2d(x, f, gain=0.25) * y).sum(), (x * downsample2d(y, f, flip_filter=True)).sum())


def test_setup_filter():
    f = setup_filter([1, 3, 3, 1])
    assert f.shape == (4, 4) and f.dtype == torch.float32
    torch.testing.assert_close(f, torch.outer(torch.tensor([1.0, 3, 3, 1]), torch.tensor([1.0, 3, 3, 1])) / 64)
    assert setup_filter(range(1, 9)).shape == (8,)
    torch.testing.assert_close(setup_filter(range(1, 9), gain=4).sum(), torch.tensor(2.0))
    torch.testing.assert_close(setup_filter([1, 3, 3, 1], gain=4).sum(), torch.tensor(4.0))
    with pytest.raises(ValueError, match='sum to zero'):
        setup_filter([1, -1])


@pytest.mark.parametrize('f', [setup_filter([1, 3, 3, 1]), setup_filter(range(1, 13))])
def test_registered(f):
    x = random(2, 3, 8, 8).float().requires_grad_()
    check_registration('upfirdn2d', (x, f, [2, 2], [1, 1], [6, 5, 6, 5], False, 4.0))
    check_registration('upfirdn2d', (x, f, [1, 1], [2, 2], [5, 5, 5, 5]))


def test_compiles():
    f, x = setup_filter([1, 3, 3, 1]), random(2, 3, 8, 8).float().requires_grad_()

    def function(x):
        return downsample2d(upsample2d(x, f).square(), f)

    grads = [torch.autograd.grad(g(x).square().sum(), x)[0] for g in (torch.compile(function, backend='aot_eager', fullgraph=True),
    function)]
    torch.testing.assert_close(*grads)


def test_bfloat16():
    x, f = random(2, 3, 8, 8), setup_filter([1, 3, 3, 1])
    y = upsample2d(x.bfloat16(), f)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.double(), upsample2d(x.bfloat16().double(), f.double()), rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize('up, down', [(2, 1), (1, 2), (1, 1)])
def test_gradient_under_autocast(up, down):
    f, x = setup_filter([1, 3, 3, 1]), random(2, 3, 8, 8).float().requires_grad_()
    with torch.autocast('cpu', torch.bfloat16):
        y = bias_act(upfirdn2d(x, f, up=up, down=down, padding=2), torch.ones(3), 'lrelu')
    (g,) = torch.autograd.grad(y.float().square().sum(), x, create_graph=True)
    g.square().sum().backward()
    assert g.dtype == x.grad.dtype == torch.float32


def test_errors():
    x, f = torch.zeros(1, 1, 4, 4), torch.ones(4, 4)
    with pytest.raises(ValueError, match='smaller than the filter'):
        upfirdn2d(x[:, :, :2], f)
    with pytest.raises(ValueError, match='at least 1'):
        upfirdn2d(x, f, up=0)
    with pytest.raises(ValueError, match=r'\[N, C, H, W\]'):
        upfirdn2d(x[0], f)
