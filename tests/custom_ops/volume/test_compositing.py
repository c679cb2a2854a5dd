"""Light along a ray: Beer and Lambert, splitting an interval, the share identity, merging, depth."""

import math
from itertools import pairwise

import pytest
import torch

from custom_ops.volume import compositing

G = torch.Generator().manual_seed(5)


def raw_of(density: float, shift: float = 1.0) -> float:
    """The raw density that softplus(raw - shift) turns into `density`."""
    return math.log(math.expm1(density)) + shift


def random_ray(samples: int = 12) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    depths = 1 + torch.rand(2, 3, samples, generator=G, dtype=torch.float64).sort(-1).values
    raw = 3 * torch.randn(2, 3, samples, generator=G, dtype=torch.float64)
    return raw, depths, torch.full((2, 3, 1), 0.9, dtype=torch.float64), torch.full((2, 3, 1), 2.1, dtype=torch.float64)


@pytest.mark.parametrize('density', [1e-6, 0.3, 5.0, 80.0])
def test_fog_obeys_beer_and_lambert(density: float) -> None:
    """Opacity is 1 - exp(-density * length), whatever the jitter and the number of samples; relative precision also in thin fog."""
    _, depths, near, far = (x.float() for x in random_ray())
    light = compositing.march(torch.full_like(depths, raw_of(density)), depths, near, far)
    assert torch.allclose(light.opacity, torch.tensor(-math.expm1(-density * 1.2)), rtol=2e-6, atol=0)
    open_ended = compositing.march(torch.full_like(depths, raw_of(density)), depths)
    assert torch.allclose(open_ended.opacity, -torch.expm1(-density * (depths[..., -1:] - depths[..., :1])), rtol=2e-6, atol=0)


def test_shares_are_midpoint_colours_by_loops() -> None:
    raw, depths, near, far = random_ray()
    colours = torch.rand(*raw.shape, 4, generator=G, dtype=torch.float64)
    light = compositing.march(raw, depths, near, far, scale=2.0)
    found = (light.shares[..., None] * colours).sum(-2)
    for n in range(2):
        for r in range(3):
            t, s, c = depths[n, r].tolist(), raw[n, r].tolist(), colours[n, r]
            edges = [0.9, *t, 2.1]
            means = [s[0], *((a + b) / 2 for a, b in pairwise(s)), s[-1]]
            middle = [c[0], *((a + b) / 2 for a, b in pairwise(c)), c[-1]]
            transmitted, total = 1.0, torch.zeros(4, dtype=torch.float64)
            for k, value in enumerate(means):
                density = 2.0 * math.log1p(math.exp(value - 1))
                alpha = 1 - math.exp(-density * (edges[k + 1] - edges[k]))
                total += transmitted * alpha * middle[k]
                transmitted *= 1 - alpha
            assert torch.allclose(found[n, r], total, atol=1e-12)
            assert light.opacity[n, r, 0].item() == pytest.approx(1 - transmitted, abs=1e-12)
    assert torch.allclose(light.shares.sum(-1, keepdim=True), light.opacity)
    assert torch.allclose(light.segment_weights().sum(-1, keepdim=True), light.opacity)


def test_splitting_an_interval_changes_nothing() -> None:
    """A sample in the middle of a segment whose ends agree (in density and colour), and repeated depths, are invisible."""
    raw, depths, near, far = random_ray(6)
    raw = raw[..., :3].repeat_interleave(2, -1)
    colours = torch.rand(2, 3, 3, 4, generator=G, dtype=torch.float64).repeat_interleave(2, -2)
    before = compositing.march(raw, depths, near, far)
    middle = (depths[..., 2:3] + depths[..., 3:4]) / 2

    def split(x: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        return torch.cat([x[..., :3], value, x[..., 3:]], -1)

    after = compositing.march(split(raw, raw[..., 2:3]), split(depths, middle), near, far)
    assert torch.allclose(after.opacity, before.opacity)
    more = torch.cat([colours[..., :3, :], colours[..., 2:3, :], colours[..., 3:, :]], -2)
    assert torch.allclose((after.shares[..., None] * more).sum(-2), (before.shares[..., None] * colours).sum(-2))
    empty = torch.zeros_like(raw[..., :1])
    doubled = compositing.march(split(raw, raw[..., 2:3]), split(depths, depths[..., 2:3]), near, far)
    assert torch.allclose(doubled.opacity, before.opacity) and torch.equal(doubled.segment_weights()[..., 3:4], empty)


def test_merge_and_back() -> None:
    a, b = torch.rand(2, 3, 5, generator=G).sort(-1).values, torch.rand(2, 3, 8, generator=G).sort(-1).values
    b[..., 3] = a[..., 2]
    b = b.sort(-1).values
    depths, order = compositing.merged(a, b)
    both = torch.cat([a, b], -1)
    assert torch.equal(depths, both.sort(-1).values) and torch.equal(both.gather(-1, order), depths)
    assert torch.equal(compositing.unmerged(depths, order), both)


def test_depth_of_an_empty_ray_is_its_far_end() -> None:
    _, depths, near, far = random_ray()
    light = compositing.march(torch.full_like(depths, -60.0), depths, near, far)
    edges = light.edges
    assert torch.equal(compositing.expected_depth(light.shares, depths, light.opacity, far), far)
    assert torch.equal(compositing.median_depth(light.optical_depth, edges, light.opacity), far)


def test_median_depth_of_fog_is_exact() -> None:
    """Half of what stops in fog of density s over length L has stopped at -ln(1 - o/2) / s, o = 1 - exp(-s L)."""
    for density in (0.01, 1.0, 20.0):
        _, depths, near, far = random_ray()
        light = compositing.march(torch.full_like(depths, raw_of(density)), depths, near, far)
        median = compositing.median_depth(light.optical_depth, light.edges, light.opacity)
        expected = 0.9 - math.log1p(math.expm1(-density * 1.2) / 2) / density
        assert torch.allclose(median, torch.tensor(expected, dtype=torch.float64), atol=1e-9)


@pytest.mark.parametrize(('sheet', 'low', 'high'), [(0.35, 2.9, 3.0), (1.2, 1.0, 1.1)])
def test_a_sheet_before_a_wall(sheet: float, low: float, high: float) -> None:
    """The mean depth floats in the air between the two; the median lies in the one that stops more light."""
    edges = torch.tensor([[[1.0, 1.1, 2.9, 3.0]]])
    optical_depth = torch.tensor([[[sheet, sheet, sheet + 20]]])
    opacity = -torch.expm1(-optical_depth[..., -1:])
    assert low < compositing.median_depth(optical_depth, edges, opacity).item() < high
    shares = torch.tensor([[[1 - math.exp(-sheet), math.exp(-sheet)]]])
    mean = compositing.expected_depth(shares, torch.tensor([[[1.05, 2.95]]]), opacity, edges[..., -1:]).item()
    assert 1.3 < mean < 2.7


def test_gradients() -> None:
    raw, depths, near, far = random_ray(5)
    raw, depths = raw.requires_grad_(), depths.requires_grad_()

    def everything(raw: torch.Tensor, depths: torch.Tensor) -> tuple[torch.Tensor, ...]:
        light = compositing.march(raw, depths, near, far)
        edges = light.edges
        return (light.shares, light.opacity, compositing.expected_depth(light.shares, depths, light.opacity, far),
                compositing.median_depth(light.optical_depth, edges, light.opacity))

    assert torch.autograd.gradcheck(everything, (raw, depths))
    assert torch.autograd.gradgradcheck(lambda r: compositing.march(r, depths.detach(), near, far).shares, (raw,))
