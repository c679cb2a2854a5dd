"""bias_act against its formula, its derivatives against finite differences, and its registration."""

import math

import pytest
import torch

from custom_ops import bias_act
from custom_ops.bias_act import ACTIVATIONS
from custom_ops.testing import check_derivatives, check_registration, check_twin

FORMULAS = {
    'linear': lambda x: x,
    'relu': lambda x: torch.where(x > 0, x, 0 * x),
    'lrelu': lambda x: torch.where(x > 0, x, 0.2 * x),
    'tanh': lambda x: (x.exp() - (-x).exp()) / (x.exp() + (-x).exp()),
    'sigmoid': lambda x: 1 / (1 + (-x).exp()),
    'elu': lambda x: torch.where(x > 0, x, x.exp() - 1),
    'selu': lambda x: 1.0507009873554804934 * torch.where(x > 0, x, 1.6732632423543772848 * (x.exp() - 1)),
    'softplus': lambda x: (1 + x.exp()).log(),
    'swish': lambda x: x / (1 + (-x).exp()),
}
GAINS = {'relu': math.sqrt(2), 'lrelu': math.sqrt(2), 'swish': math.sqrt(2)}


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_every_activation_has_a_formula():
    assert set(FORMULAS) == set(ACTIVATIONS)


@pytest.mark.parametrize('act', FORMULAS)
@pytest.mark.parametrize('gain', [None, 1.0, 0.3, -2.0])
@pytest.mark.parametrize('clamp', [None, 0.5])
@pytest.mark.parametrize('has_bias', [True, False])
def test_formula(act, gain, clamp, has_bias):
    x = random(2, 3, 4, 5)
    bias = random(3, seed=1) if has_bias else None
    before = x.clone()
    expected = FORMULAS[act](x + bias[:, None, None] if has_bias else x) * (GAINS.get(act, 1.0) if gain is None else gain)
    if clamp is not None:
        expected = expected.clamp(-clamp, clamp)
    torch.testing.assert_close(bias_act(x, bias, act, gain=gain, clamp=clamp), expected)
    torch.testing.assert_close(bias_act(x.clone().requires_grad_(), bias, act, gain=gain, clamp=clamp).detach(), expected)
    assert torch.equal(x, before), 'the argument was written on'


def test_alpha_dim_and_channels_last():
    x, bias = random(2, 3, 4, 5), random(5, seed=1)
    y = x + bias
    torch.testing.assert_close(bias_act(x, bias, 'lrelu', alpha=0.5, gain=1.0, dim=-1), torch.where(y > 0, y, 0.5 * y))
    torch.testing.assert_close(bias_act(x[:, :, 0, 0], bias[:3], 'linear'), x[:, :, 0, 0] + bias[:3])
    last = x.to(memory_format=torch.channels_last)
    out = bias_act(last, bias[:3], 'lrelu')
    torch.testing.assert_close(out, bias_act(x, bias[:3], 'lrelu'))
    assert out.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize('act', FORMULAS)
def test_derivatives(act):
    check_derivatives(lambda x, b: bias_act(x, b, act, clamp=1.1), random(2, 3, 2), random(3, seed=1))
    check_derivatives(lambda x: bias_act(x, None, act, gain=0.7), random(2, 3, 2))


def test_gradient_penalty_leaves_forward_activations_alone():
    """The second derivative of lrelu is no tensor of zeros: it is not there, so no second pass through the forward graph happens."""
    x = random(4, 3).requires_grad_()
    before = x * 2
    y = bias_act(before, None, 'lrelu')
    (g,) = torch.autograd.grad(y.sum(), before, create_graph=True)
    assert not g.requires_grad


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
def test_keeps_the_dtype(dtype):
    x = random(2, 3, 4).to(dtype)
    assert bias_act(x, random(3), 'lrelu', clamp=256.0).dtype == dtype


@pytest.mark.parametrize('act', ['linear', 'lrelu', 'softplus'])
def test_registered(act):
    x = random(2, 3, 4).float().requires_grad_()
    check_registration('bias_act', (x, random(3).float().requires_grad_(), act, None, None, 0.5))
    check_registration('bias_act', (x, None, act))


def test_compiles():
    x, bias = random(2, 3, 4).float().requires_grad_(), random(3).float().requires_grad_()
    compiled = torch.compile(lambda x, b: bias_act(x, b, 'lrelu', clamp=1.0), backend='aot_eager', fullgraph=True)
    grads = [torch.autograd.grad(f(x, bias).square().sum(), (x, bias)) for f in (compiled, lambda x, b: bias_act(x, b, 'lrelu', clamp=1.0))]
    for ours, theirs in zip(*grads):
        torch.testing.assert_close(ours, theirs)


def test_twin_law_accepts_the_reference_and_refuses_a_biased_kernel():
    x, bias = random(64, 3).float(), random(3).float()
    reference = lambda x, b: bias_act(x, b, 'tanh')
    check_twin(reference, reference, x, bias)
    with pytest.raises(AssertionError):
        check_twin(lambda x, b: reference(x, b) * 1.00001, reference, x, bias)


def test_errors():
    x = torch.zeros(2, 3)
    with pytest.raises(ValueError, match='no activation'):
        bias_act(x, None, 'gelu')
    with pytest.raises(ValueError, match='no alpha'):
        bias_act(x, None, 'tanh', alpha=0.1)
    with pytest.raises(ValueError, match='expected'):
        bias_act(x, torch.zeros(2))
