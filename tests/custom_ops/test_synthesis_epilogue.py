"""synthesis_epilogue against its formula, its derivatives against finite differences, its kernel against the reference."""

import math
import sys

import pytest
import torch

from custom_ops.synthesis_epilogue import synthesis_epilogue
from custom_ops.testing import check_derivatives, check_registration, check_twin, with_gradients

LAST = torch.channels_last
# Rows that vectors do not divide; several flushes of partial sums per sample; a channel longer than a strip.
SHAPES = [(3, 21, 5, 7), (2, 4, 20, 9), (1, 2, 40, 30)]


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def example(shape, stored=torch.contiguous_format, dtype=torch.float32):
    """x, scale, bias in one format; v is not so close to zero, where 16 bits and float64 may see different signs."""
    n, c, _, _ = shape
    x, scale, bias = random(*shape), random(n, c, seed=1), random(c, seed=2)
    x = torch.where((x * scale[:, :, None, None] + bias[:, None, None]).abs() < 0.1, 3.0, x)
    return x.to(dtype).contiguous(memory_format=stored), scale.to(dtype), bias.to(dtype)


def on(backend, noise=None, **settings):
    """A function of x, scale, bias and, with noise, its strength."""
    return lambda x, scale, bias, *strength: synthesis_epilogue(
        x, scale, bias, None if noise is None else noise.to(x.dtype), *(strength or (None,)), backend=backend, **settings
    )


@pytest.mark.parametrize('backend', ['reference', 'cpu'])
@pytest.mark.parametrize('stored', [torch.contiguous_format, LAST])
@pytest.mark.parametrize('noises', [None, 0, 1, 3])
def test_formula(backend, stored, noises):
    x, scale, bias = example((3, 4, 5, 6), stored)
    noise = None if noises is None else random(noises, 1, 5, 6, seed=3) if noises else random(5, 6, seed=3)
    v = x * scale.view(3, 4, 1, 1) + bias.view(4, 1, 1)
    v = v if noise is None else v + 0.3 * noise
    for clamp in (None, 0.9):
        expected = math.sqrt(2) * torch.where(v > 0, v, 0.2 * v)
        expected = expected if clamp is None else expected.clamp(-clamp, clamp)
        strength = None if noise is None else torch.tensor(0.3)
        y = synthesis_epilogue(x, scale, bias, noise, strength, clamp=clamp, backend=backend)
        torch.testing.assert_close(y, expected)
        assert y.is_contiguous(memory_format=stored), 'channels-last stays channels-last, or every layer after it is slow'


def test_derivatives_of_the_reference():
    x, scale, bias = (t.double() for t in example((2, 3, 2, 2)))
    noise = random(2, 1, 2, 2, seed=3).double()
    check_derivatives(on('reference', noise, clamp=1.2), x, scale, bias, torch.tensor(0.3).double())


@pytest.mark.parametrize('stored', [torch.contiguous_format, LAST])
@pytest.mark.parametrize('clamp', [None, 0.9])
@pytest.mark.parametrize('shape', SHAPES)
def test_twin(shape, stored, clamp):
    """Including the gradient of a gradient penalty."""
    inputs = example(shape, stored)
    check_twin(on('cpu', clamp=clamp), on('reference', clamp=clamp), *inputs)
    strength = torch.tensor(0.3)
    for n in (1, shape[0]):
        with_noise = {backend: on(backend, random(n, 1, *shape[2:], seed=3), clamp=clamp) for backend in ('cpu', 'reference')}
        fixed = {backend: lambda x, s, b, f=f: f(x, s, b, strength.to(x.dtype)) for backend, f in with_noise.items()}
        check_twin(fixed['cpu'], fixed['reference'], *inputs)
        # The law compares errors of many numbers; the strength has one.
        ours = with_gradients(with_noise['cpu'], *inputs, strength)
        truth = with_gradients(with_noise['reference'], *(t.double() for t in (*inputs, strength)))
        for index in (4, 8):
            torch.testing.assert_close(ours[index].double(), truth[index], rtol=2e-5, atol=0)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('stored', [torch.contiguous_format, LAST])
def test_twin_on_16_bits(dtype, stored):
    x, scale, bias = example((3, 21, 3, 2), stored, dtype)
    check_twin(on('cpu'), on('reference'), x, scale, bias)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='there is no GPU')
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize('stored', [torch.contiguous_format, LAST])
@pytest.mark.parametrize('shape', SHAPES)
def test_twin_on_the_gpu(shape, stored, dtype):
    inputs = [t.cuda() for t in example(shape, stored, dtype)]
    check_twin(on('cuda'), on('reference'), *inputs)
    noise, strength = random(shape[0], 1, *shape[2:], seed=3).cuda(), torch.tensor(0.3).cuda()
    with_noise = {backend: on(backend, noise) for backend in ('cuda', 'reference')}
    fixed = {backend: lambda x, s, b, f=f: f(x, s, b, strength.to(x.dtype)) for backend, f in with_noise.items()}
    check_twin(fixed['cuda'], fixed['reference'], *inputs)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16])
def test_infinite_results_have_gradients(dtype):
    """Only a clamp takes them away."""
    most = torch.finfo(dtype).max
    x = torch.tensor([most / 1.3, -most, 1.0, torch.inf]).to(dtype).view(1, 1, 2, 2).requires_grad_()
    for clamp, slopes in ((None, [1, 0.2, 1, 1]), (2.0, [0, 0, 1, 0])):
        y = synthesis_epilogue(x, torch.ones(1, 1).to(dtype), torch.zeros(1).to(dtype), clamp=clamp, backend='cpu')
        (grad,) = torch.autograd.grad(y.sum(), x)
        assert grad.flatten().tolist() == pytest.approx([s * math.sqrt(2) for s in slopes], rel=1e-3)


def test_any_order():
    """A third derivative, which PyTorch makes of the pieces of the second."""
    inputs = [t.double().float() for t in example((2, 3, 2, 2))]
    thirds = []
    for backend in ('cpu', 'reference'):
        leaves = [t.clone().requires_grad_() for t in inputs]
        total = on(backend)(*leaves).pow(4).sum()
        for _ in range(3):
            grads = torch.autograd.grad(total, leaves, create_graph=True)
            total = sum(g.pow(2).sum() for g in grads)
        thirds.append(total)
    torch.testing.assert_close(*thirds, rtol=1e-4, atol=0)


def test_threads_share_the_work():
    inputs = *example((8, 16, 64, 64), LAST), torch.tensor(0.3)
    function = on('cpu', random(64, 64, seed=3))
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 3, 3):
            torch.set_num_threads(count)
            results.append(with_gradients(function, *inputs))
    finally:
        torch.set_num_threads(threads)
    for one, three, again in zip(*results, strict=True):
        torch.testing.assert_close(one, three, rtol=0, atol=1e-6 * one.abs().max().item())
        assert torch.equal(three, again)


def test_keeps_its_input_alone_and_takes_any_memory():
    x, scale, bias = example((2, 6, 5, 4))
    noise = random(2, 1, 4, 5, seed=3).transpose(2, 3)
    expected = synthesis_epilogue(x, scale, bias, noise, torch.tensor(0.3), backend='reference')
    strided = torch.stack([x, x], -1)[..., 0].requires_grad_()
    y = synthesis_epilogue(strided, scale.double(), bias.bfloat16().float(), noise, torch.tensor(0.3), backend='cpu')
    torch.testing.assert_close(y, expected, rtol=0, atol=0.05)
    large = [t for t in y.grad_fn.saved_tensors if t is not None and t.numel() == x.numel()]
    assert [t.data_ptr() for t in large] == [strided.data_ptr()]
    (grad,) = torch.autograd.grad(y.sum(), strided)  # an expanded gradient
    assert grad.shape == x.shape
    assert synthesis_epilogue(x[:0], scale[:0], bias, backend='cpu').shape == (0, 6, 5, 4)


def test_a_nan_comes_through():
    x, scale, bias = example((1, 4, 2, 2))
    x[0, 0, 0, 0] = torch.nan
    for backend in ('cpu', 'reference'):
        assert synthesis_epilogue(x, scale, bias, clamp=1.0, backend=backend).isnan().sum() == 1


def test_registered():
    x, scale, bias = (t.requires_grad_() for t in example((2, 3, 4, 5), LAST))
    noise, strength = random(1, 1, 4, 5, seed=3), torch.tensor(0.3, requires_grad=True)
    grad = torch.ones(2, 3, 4, 5, requires_grad=True)
    check_registration('synthesis_epilogue_forward', (x, scale, bias, noise, strength, 1.4, 0.9))
    check_registration('synthesis_epilogue_backward', (grad, x, scale, bias, noise, strength, 1.4, 0.9))
    check_registration('synthesis_epilogue', (x, scale, bias, noise, strength))


def test_compiles():
    inputs = [t.requires_grad_() for t in (*example((4, 16, 32, 32)), torch.tensor(0.3))]
    function = on('cpu', random(32, 32, seed=3), clamp=1.0)
    compiled = torch.compile(function, backend='aot_eager', fullgraph=True)
    results = [(y := f(*inputs), *torch.autograd.grad(y.square().sum(), inputs)) for f in (compiled, function)]
    for ours, theirs in zip(*results, strict=True):
        assert torch.equal(ours, theirs)


def test_auto_takes_the_kernel_where_it_pays(monkeypatch):
    calls = []
    module = sys.modules['custom_ops.synthesis_epilogue']
    monkeypatch.setattr(module, 'synthesis_epilogue_fused', lambda x, *rest: calls.append(x.shape) or x)
    x, scale, bias = torch.zeros(1, 16, 32, 32), torch.zeros(1, 16), torch.zeros(16)
    synthesis_epilogue(x, scale, bias)
    assert calls == [x.shape]
    synthesis_epilogue(x.double(), scale, bias)
    synthesis_epilogue(x[:, :, :16, :16], scale, bias)
    assert len(calls) == 1


def test_errors():
    x, scale, bias = example((2, 3, 4, 5))
    noise, strength = random(4, 5), torch.tensor(0.3)
    for match, call in (
        ('must be positive', lambda: synthesis_epilogue(x, scale, bias, gain=0.0)),
        (r'must be \[N, C, H, W\]', lambda: synthesis_epilogue(x[0], scale, bias)),
        (r'must be \(2, 3\) and \(3,\)', lambda: synthesis_epilogue(x, scale[:1], bias)),
        ('together or neither', lambda: synthesis_epilogue(x, scale, bias, noise)),
        (r'they must be \(4, 5\) or', lambda: synthesis_epilogue(x, scale, bias, noise.t(), strength)),
        ('whose kernels take', lambda: synthesis_epilogue(x.double(), scale, bias, backend='cpu')),
    ):
        with pytest.raises(ValueError, match=match):
            call()
