"""Drift: kernels fed with their own results many times over stay as close to float64 as PyTorch does in the same dtype, and lean to no side.

A single application hides a bias of a fraction of a unit in the last place; in a chain that forgets slowly it adds up with the number of
steps that are remembered, while errors without bias add up with its root.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from custom_ops import TriplaneField, bias_act, downsample2d, render_planes, setup_filter, upfirdn2d, upsample2d
from custom_ops.bias_act import ACTIVATIONS
from custom_ops.synthesis_epilogue import synthesis_epilogue
from custom_ops.testing import check_errors
from custom_ops.volume import LightRule

STEPS = 48
KEPT = 0.875  # of a state by each step, at most; a source makes up for the rest, or all states would become one
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
FORMATS = [torch.contiguous_format, torch.channels_last]
DEVICES = [
    'cpu',
    pytest.param('cuda', marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason='there is no GPU')]),
]
GAINS = {'selu': 0.5, 'swish': 0.75}  # of activations that are steeper than 1: errors would grow by themselves

Step = Callable[[Tensor, int, str], Tensor]
"""(state, number of the step, backend) -> the next state, in the dtype and on the device of the state."""


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def last_state(step: Step, start: Tensor, backend: str, steps: int) -> Tensor:
    x = start
    for number in range(steps):
        x = step(x, number, backend)
    return x


def check_drift(name: str, step: Step, start: Tensor, *, steps: int = STEPS, independent: int | None = None) -> None:
    """The kernel of start's device and the reference, in its dtype, against the reference in float64; `independent` as in check_errors."""
    truth, theirs, ours = (
        last_state(step, x, backend, steps)
        for x, backend in ((start.double(), 'reference'), (start, 'reference'), (start, start.device.type))
    )
    assert truth.abs().max() < 1e3 and truth.std() > 1e-3, 'the chain is to keep its size'
    check_errors(name, ours, theirs, truth, independent=independent)


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('act', ACTIVATIONS)
def test_bias_act(act: str, dtype: torch.dtype, device: str) -> None:
    # What 16 bits hold is what all of them add.
    source, biases = random(4, 8, 16, 16, seed=1).to(dtype), (random(STEPS, 8, seed=2) / 4).to(dtype)

    def step(x: Tensor, number: int, backend: str) -> Tensor:
        return bias_act(x, biases[number].to(x), act, gain=GAINS.get(act, KEPT), backend=backend) + source.to(x)

    for memory_format in FORMATS:
        check_drift(act, step, random(4, 8, 16, 16).to(device, dtype).contiguous(memory_format=memory_format))


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('dtype', DTYPES)
def test_synthesis_epilogue(dtype: torch.dtype, device: str) -> None:
    source, scales, biases = (
        t.to(dtype) for t in (random(4, 8, 16, 16, seed=1), KEPT + random(STEPS, 4, 8, seed=2) / 32, random(STEPS, 8, seed=3) / 4)
    )
    noises, strength = random(STEPS, 1, 1, 16, 16, seed=4).to(dtype), torch.tensor(1 / 8)

    def step(x: Tensor, number: int, backend: str) -> Tensor:
        factors = (t[number].to(x) for t in (scales, biases, noises))
        return synthesis_epilogue(x, *factors, strength.to(x), gain=1.0, backend=backend) + source.to(x)

    for memory_format in FORMATS:
        check_drift('epilogue', step, random(4, 8, 16, 16).to(device, dtype).contiguous(memory_format=memory_format))


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('name', ['filter', 'resampling'])
def test_filters(name: str, dtype: torch.dtype, device: str) -> None:
    source = (random(4, 8, 12, 12, seed=1) / 8 + 1 / 4).to(dtype)

    def step(x: Tensor, _: int, backend: str) -> Tensor:
        taps = setup_filter((1.0, 3.0, 3.0, 1.0)).to(x)
        if name == 'filter':
            y = upfirdn2d(x, taps, padding=(2, 1, 2, 1), gain=KEPT, backend=backend)
        else:
            y = downsample2d(upsample2d(x, taps, backend=backend), taps, gain=KEPT, backend=backend)
        return y + source.to(y)

    for memory_format in FORMATS:
        start = random(4, 8, 12, 12).to(device, dtype).contiguous(memory_format=memory_format)
        # Filters spread every error over its neighbours: only those of different pictures are independent.
        check_drift(name, step, start, steps=24, independent=4 * 8)


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize(('depth', 'quadrature'), [('expected', 'midpoint'), ('median', 'cells')])
def test_renderer(depth: str, quadrature: str, device: str) -> None:
    """Planes that descend towards a picture: each step renders, and moves them along their gradient."""
    n, channels, hidden, features, rays, samples = 2, 8, 16, 3, 64, 12
    weights, biases = [random(hidden, channels, seed=1) / 2, random(1 + features, hidden, seed=2) / 3], [random(hidden, seed=3), random(4, seed=4)]
    origins = torch.nn.functional.normalize(random(n, rays, 3, seed=5), dim=-1) * 2.7
    directions = torch.nn.functional.normalize(-origins + 0.4 * random(n, rays, 3, seed=6), dim=-1)
    target, ends = random(n, rays, features, seed=7), torch.ones(n, rays, 1)
    axes = torch.tensor([[[1.0, 0, 0], [0, 1, 0]], [[1.0, 0, 0], [0, 0, 1]], [[0, 0, 1.0], [0, 1, 0]]])

    def step(planes: Tensor, _: int, backend: str) -> Tensor:
        leaf = planes.detach().requires_grad_()
        field = TriplaneField(leaf, axes.to(leaf), [w.to(leaf) for w in weights], [b.to(leaf) for b in biases], 1.8, 'softplus')
        seen = render_planes(
            field, origins.to(leaf), directions.to(leaf), 1.75 * ends.to(leaf), 3.65 * ends.to(leaf), samples, None, None,
            LightRule(density_scale=8.0, depth=depth, quadrature=quadrature), backend=backend,
        )  # fmt: skip
        loss = (seen.features - target.to(leaf)).square().sum() + seen.depth.sub(2.5).square().mul(seen.opacity).sum() / 8
        return planes - torch.autograd.grad(loss, leaf)[0] / 16

    start = random(n, 3 * channels, 8, 8).to(device).contiguous(memory_format=torch.channels_last).unflatten(1, (3, channels))
    check_drift('planes', step, start, steps=24)
