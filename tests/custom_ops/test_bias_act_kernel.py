"""The kernels of bias_act against the reference: the twin law, corners of the number line, memory, registration."""

import math
import sys

import pytest
import torch

from custom_ops import bias_act
from custom_ops.bias_act import ACTIVATIONS
from custom_ops.testing import check_registration, check_twin, with_gradients

LAST = torch.channels_last
# (shape, memory format, dim): images both ways, rows longer than a strip, rows of many strips, dense layers, channels elsewhere
LAYOUTS = [
    ((3, 8, 7, 5), torch.contiguous_format, 1),
    ((3, 8, 7, 5), LAST, 1),
    ((1, 2, 40, 30), torch.contiguous_format, 1),
    ((2, 2048, 1, 2), LAST, 1),
    ((90, 24), torch.contiguous_format, 1),
    ((3, 4, 5), torch.contiguous_format, -3),
    ((2, 3, 4, 6), LAST, -1),
]


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def example(shape, stored, dim, dtype):
    """x and bias without ties: where x + bias is zero or lies on the clamp, formats may differ on which side it falls."""
    x, bias = random(*shape).to(dtype).contiguous(memory_format=stored), random(shape[dim], seed=1).to(dtype)
    u = x.double() + bias.double().view(-1, *[1] * (x.ndim - 1 - dim % x.ndim))
    return torch.where(u.abs() < 0.01, torch.ones((), dtype=dtype), x), bias


def on(backend, act, **settings):
    return lambda x, bias: bias_act(x, bias, act, backend=backend, **settings)


def without_bias(backend, act, **settings):
    return lambda x: bias_act(x, None, act, backend=backend, **settings)


@pytest.mark.parametrize('act', ACTIVATIONS)
@pytest.mark.parametrize('clamp', [None, 0.7])
def test_twin(act, clamp):
    for shape, stored, dim in LAYOUTS:
        x, bias = example(shape, stored, dim, torch.float32)
        settings = {'clamp': clamp, 'dim': dim}
        check_twin(on('cpu', act, **settings), on('reference', act, **settings), x, bias)
        check_twin(without_bias('cpu', act, **settings), without_bias('reference', act, **settings), x)


@pytest.mark.parametrize('act', ACTIVATIONS)
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_twin_on_16_bits(act, dtype):
    for shape, stored, dim in (((3, 8, 3, 2), torch.contiguous_format, 1), ((3, 8, 3, 2), LAST, 1)):
        check_twin(on('cpu', act, dim=dim), on('reference', act, dim=dim), *example(shape, stored, dim, dtype))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='there is no GPU')
@pytest.mark.parametrize('act', ACTIVATIONS)
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16])
def test_twin_on_the_gpu(act, dtype):
    for shape, stored, dim in LAYOUTS:
        x, bias = (t.cuda() for t in example(shape, stored, dim, dtype))
        for clamp in (None, 0.7):
            settings = {'clamp': clamp, 'dim': dim}
            check_twin(on('cuda', act, **settings), on('reference', act, **settings), x, bias)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_clamped_on_16_bits(dtype):
    """What rounds to the clamp but does not reach it still has a gradient."""
    x = torch.tensor([0.498, 0.4999, 0.5, 0.502, -0.4999, -0.6]).to(dtype)
    expected = [(u.abs() <= 0.5001).float() for u in x.float()]
    leaf = x.clone().requires_grad_()
    (grad,) = torch.autograd.grad(bias_act(leaf, None, 'relu', alpha=None, gain=1.0, clamp=0.5001, backend='cpu').sum(), leaf)
    assert grad.tolist() == [e.item() * (u > 0) for e, u in zip(expected, x.tolist(), strict=True)]


def overflowing(dtype):
    """x of lrelu whose results are infinite in `dtype`, beside one whose result is not; the gain is sqrt(2)."""
    most = torch.finfo(dtype).max
    return torch.tensor([most / 1.3, -most, 1.0, torch.inf, -torch.inf]).to(dtype)


def check_overflow(backend, dtype, device='cpu'):
    """Where no clamp holds a result back, it has a gradient, even if it is infinite."""
    x = overflowing(dtype).to(device).requires_grad_()
    for clamp in (None, 2.0):
        y, expected = (bias_act(x, None, 'lrelu', clamp=clamp, alpha=0.9, backend=b) for b in (backend, 'reference'))
        assert y.tolist() == expected.tolist() and (clamp or y.isinf().tolist() == [True, True, False, True, True])
        ours, theirs = (torch.autograd.grad(z.sum(), x)[0] for z in (y, expected))
        assert ours.tolist() == pytest.approx([0, 0, math.sqrt(2), 0, 0] if clamp else theirs.tolist(), rel=torch.finfo(dtype).eps)
        assert clamp or theirs.abs().min() > 1.2


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16])
def test_infinite_results_have_gradients(dtype):
    check_overflow('cpu', dtype)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='there is no GPU')
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16])
def test_infinite_results_have_gradients_on_the_gpu(dtype):
    check_overflow('cuda', dtype, 'cuda')


@pytest.mark.parametrize(
    'act, settings', [('lrelu', {'gain': -0.7}), ('lrelu', {'alpha': -0.3}), ('relu', {'gain': 0.0}), ('swish', {'gain': -2.0})]
)
def test_odd_gains_and_slopes(act, settings):
    x, bias = example((3, 8, 7, 5), LAST, 1, torch.float32)
    check_twin(on('cpu', act, clamp=0.4, **settings), on('reference', act, clamp=0.4, **settings), x, bias)


@pytest.mark.parametrize('act', ACTIVATIONS)
def test_far_out_and_close_to_zero(act):
    """Relative to the size of each number, not to the largest: saturated and tiny values and derivatives are as good as those between."""
    size = torch.cat([torch.logspace(-6, 1.9, 400), torch.tensor([87.0, 88.0, 89.0, 100.0, 1e4])])
    x = torch.cat([-size.flip(0), size])
    leaf = x.clone().requires_grad_()
    y = bias_act(leaf, None, act, gain=1.0, backend='cpu')
    (first,) = torch.autograd.grad(y.sum(), leaf, create_graph=True)
    exact = x.double().requires_grad_()
    y_exact = bias_act(exact, None, act, gain=1.0, backend='reference')
    (first_exact,) = torch.autograd.grad(y_exact.sum(), exact)
    # exp(-|x|) ends at the smallest normal float. What PyTorch calls exact is not: its derivatives of tanh and sigmoid cancel, and its
    # softplus is x above 20.
    torch.testing.assert_close(y.detach().double(), y_exact.detach(), rtol=6e-7, atol=2e-37 if act != 'swish' else 2e-32)
    tolerance = {'softplus': 3e-9, 'tanh': 2e-16, 'sigmoid': 2e-16}.get(act, 2e-32)
    torch.testing.assert_close(first.detach().double(), first_exact.detach(), rtol=3e-6, atol=tolerance)


@pytest.mark.parametrize('act', ACTIVATIONS)
def test_nothing_broken_is_hidden(act):
    x = torch.tensor([torch.nan, 1.0]).requires_grad_()
    y = bias_act(x, None, act, clamp=3.0, backend='cpu')
    assert y.isnan().tolist() == [True, False]
    if act not in ('linear', 'relu', 'lrelu'):
        assert torch.autograd.grad(y.sum(), x)[0].isnan().tolist() == [True, False]


def test_keeps_memory_and_takes_any():
    x, bias = random(2, 6, 5, 4), random(6, seed=1)
    expected = bias_act(x, bias, 'swish')
    turned = x.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0)
    for other in (x.contiguous(memory_format=LAST), turned, torch.stack([x, x], -1)[..., 0]):
        y = bias_act(other, bias, 'swish', backend='cpu')
        torch.testing.assert_close(y, expected)
        assert y.is_contiguous(memory_format=LAST) == other.is_contiguous(memory_format=LAST)
    leaf = x.clone().requires_grad_()
    (grad,) = torch.autograd.grad(bias_act(leaf, bias, 'lrelu', backend='cpu').sum(), leaf)  # an expanded gradient
    assert grad.is_contiguous()
    assert bias_act(x.bfloat16(), bias.double(), 'relu', backend='cpu').dtype == torch.bfloat16
    assert bias_act(torch.zeros(0, 6), bias, 'relu', backend='cpu').shape == (0, 6)
    assert bias_act(torch.zeros(()), None, 'sigmoid', backend='cpu') == 0.5


def test_bias_gradient_is_a_good_sum():
    """A million numbers near one: floats summed one after the other would be off by a hundred."""
    for stored in (torch.contiguous_format, LAST):
        x = (1 + random(2, 4, 512, 256) / 8).contiguous(memory_format=stored)
        bias = torch.full((4,), 4.0, requires_grad=True)
        (grad,) = torch.autograd.grad(bias_act(x.detach(), bias, 'lrelu', backend='cpu'), bias, x)
        torch.testing.assert_close(grad.double(), x.double().sum((0, 2, 3)) * math.sqrt(2), rtol=2e-7, atol=0)


def test_threads_share_the_work():
    inputs = random(8, 16, 64, 64), random(16, seed=1)
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 3, 3):
            torch.set_num_threads(count)
            results.append(with_gradients(on('cpu', 'swish'), *inputs))
    finally:
        torch.set_num_threads(threads)
    for one, three, again in zip(*results, strict=True):
        torch.testing.assert_close(one, three)
        assert torch.equal(three, again)


def test_keeps_the_result_alone():
    """The next layer keeps it too, so a leaky ReLU costs no memory of its own."""
    x = random(2, 3, 4).requires_grad_()
    y = bias_act(x, random(3), 'lrelu', clamp=1.0, backend='cpu')
    assert y.grad_fn.saved_tensors[0].data_ptr() == y.data_ptr()


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_gradient_penalty_leaves_forward_activations_alone(dtype):
    """The second derivative of lrelu is no tensor of zeros: it is not there, so no second pass through the forward graph happens."""
    x, bias = random(2, 3, 4).to(dtype).requires_grad_(), random(3).requires_grad_()
    (g,) = torch.autograd.grad(bias_act(x * 2, bias, 'lrelu', clamp=1.0, backend='cpu').sum(), x, create_graph=True)
    assert not g.requires_grad


def test_registered():
    x, bias = random(2, 3, 4, 5).contiguous(memory_format=LAST).requires_grad_(), random(3).requires_grad_()
    grad = torch.ones_like(x, requires_grad=True)
    settings = (0.2, 1.4, 0.8, 1)
    check_registration('bias_act_forward', (x, bias, 'swish', *settings))
    check_registration('bias_act_backward', (grad, x, bias, 'swish', *settings, False, True))
    check_registration('bias_act_backward', (grad, x.detach(), None, 'lrelu', *settings, True, False))
    check_registration('bias_act_second', (grad.detach(), grad.detach().clone(), x.detach(), bias.detach(), 'swish', *settings, True))
    large = random(4, 16, 32, 32).requires_grad_()
    check_registration('bias_act', (large, random(16).requires_grad_(), 'lrelu', None, None, 0.5))


def test_compiles():
    x, bias = random(4, 16, 32, 32).requires_grad_(), random(16, seed=1).requires_grad_()
    compiled = torch.compile(on('cpu', 'swish', clamp=1.0), backend='aot_eager', fullgraph=True)
    results = [(y := f(x, bias), *torch.autograd.grad(y.square().sum(), (x, bias))) for f in (compiled, on('cpu', 'swish', clamp=1.0))]
    for ours, theirs in zip(*results, strict=True):
        assert torch.equal(ours, theirs)


def test_auto_takes_the_kernel_where_it_pays(monkeypatch):
    calls = []
    monkeypatch.setattr(sys.modules['custom_ops.bias_act'], 'bias_act_fused', lambda x, *rest: calls.append(x.shape) or x)
    large = torch.zeros(1, 16, 64, 64)
    bias_act(large, None, 'lrelu')
    assert calls == [large.shape]
    for x, act in ((large[:, :1], 'lrelu'), (large.double(), 'lrelu'), (large, 'linear'), (large.bfloat16(), 'relu')):
        bias_act(x, None, act)
    assert len(calls) == 1


def test_errors():
    x = torch.zeros(2, 3)
    with pytest.raises(ValueError, match='take fewer than .* of float32, bfloat16 or float16; x has 6 of float64'):
        bias_act(x.double(), None, 'lrelu', backend='cpu')
    with pytest.raises(ValueError, match='expected'):
        bias_act(x, torch.zeros(2), backend='cpu')
    leaf = x.clone().requires_grad_()
    (first,) = torch.autograd.grad(bias_act(leaf, None, 'tanh', backend='cpu').sum(), leaf, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), leaf, create_graph=True)
    with pytest.raises(NotImplementedError, match="third derivative .* backend='reference'"):
        torch.autograd.grad(second.sum(), leaf)
