"""Where samples fall: cells, brute-force inverse CDF, and the published quirk."""

import math
from itertools import pairwise

import pytest
import torch

from custom_ops.volume import sampling

G = torch.Generator().manual_seed(3)


def uniform(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=G)


def test_stratified_has_one_sample_per_cell() -> None:
    near, far = uniform(2, 5, 1), 2 + uniform(2, 5, 1)
    t = sampling.stratified(near, far, 7, uniform(2, 5, 7))
    cell = ((t - near) / (far - near) * 7).floor()
    assert torch.equal(cell, torch.arange(7.0).expand(2, 5, 7))
    middle = sampling.stratified(near, far, 4, 0.5)
    assert torch.allclose(middle, near + (far - near) * torch.tensor([1, 3, 5, 7]) / 8)


def test_published_stratification() -> None:
    t = sampling.stratified_eg3d_2022(torch.full((1, 1, 1), 2.25), torch.full((1, 1, 1), 3.3), 8, 0.5)
    assert torch.allclose(t[0, 0], torch.linspace(2.25, 3.3, 8) + 0.5 * 1.05 / 7)


def inverse_cdf_by_loops(edges: list[float], weights: list[float], u: float) -> float:
    total, before = sum(weights), 0.0
    for k, weight in enumerate(weights):
        if u * total < before + weight or k == len(weights) - 1:
            return edges[k] + (edges[k + 1] - edges[k]) * (u * total - before) / weight
        before += weight
    raise AssertionError


def test_inverse_cdf_against_loops() -> None:
    edges, weights, u = uniform(2, 3, 9).sort(-1).values, uniform(2, 3, 8) + 0.01, uniform(2, 3, 20)
    found = sampling.invert_cdf(edges.double(), weights.double(), u.double())
    for n in range(2):
        for r in range(3):
            for s in range(20):
                expected = inverse_cdf_by_loops(edges[n, r].tolist(), weights[n, r].tolist(), u[n, r, s].item())
                assert found[n, r, s].item() == pytest.approx(expected, abs=1e-9)


def test_importance_goes_where_the_weight_is() -> None:
    """All the weight in one segment of ten: its share is 1 + floor, its two neighbours get half of it, as widened; the rest the floor."""
    edges, weights = torch.linspace(0, 1, 11).expand(1, 1, 11), torch.zeros(1, 1, 10)
    weights[..., 6] = 1.0
    t = sampling.importance(edges, weights, sampling.strata(1000, 0.5))
    share = torch.histc(t, 10, 0, 1) / 1000
    expected = torch.full((10,), 0.01)
    expected[5:8] += torch.tensor([0.5, 1.0, 0.5])
    assert torch.allclose(share, expected / expected.sum(), atol=2e-3)
    assert (torch.diff(t) >= 0).all() and t.min() >= 0 and t.max() <= 1


def test_importance_of_nothing_is_uniform() -> None:
    t = sampling.importance(torch.linspace(2, 3, 6).expand(1, 1, 6), torch.zeros(1, 1, 5), sampling.strata(10, 0.5))
    assert torch.allclose(t[0, 0], 2 + (torch.arange(10) + 0.5) / 10, atol=1e-6)


def test_importance_has_no_gradient() -> None:
    weights = torch.rand(1, 1, 5, generator=G, requires_grad=True)
    assert not sampling.importance(torch.linspace(0, 1, 6).expand(1, 1, 6), weights, sampling.strata(3, 0.5)).requires_grad


def published_importance_by_loops(t: list[float], w: list[float], u: float) -> float:
    padded = [-math.inf, *w, -math.inf]
    peaks = [max(padded[i], padded[i + 1]) for i in range(len(w) + 1)]
    smooth = [(peaks[i] + peaks[i + 1]) / 2 + 0.01 for i in range(len(w))]
    middles = [(a + b) / 2 for a, b in pairwise(t)]
    pdf = [x + 1e-5 for x in smooth[1:-1]]
    cdf = [0.0]
    for x in pdf:
        cdf.append(cdf[-1] + x / sum(pdf))
    i = sum(c <= u for c in cdf)
    below, above = max(i - 1, 0), min(i, len(pdf))
    step = cdf[above] - cdf[below]
    return middles[below] + (u - cdf[below]) / (step if step >= 1e-5 else 1.0) * (middles[above] - middles[below])


def test_published_importance_against_loops() -> None:
    t, w, u = uniform(1, 4, 9).double().sort(-1).values, uniform(1, 4, 8).double() ** 4, uniform(1, 4, 16).double()
    found = sampling.importance_eg3d_2022(t, w, u)
    for r in range(4):
        for s in range(16):
            assert found[0, r, s].item() == pytest.approx(published_importance_by_loops(t[0, r].tolist(), w[0, r].tolist(), u[0, r, s].item()), abs=1e-9)
