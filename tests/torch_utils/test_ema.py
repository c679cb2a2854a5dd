"""The average follows, and leaves the original alone."""

import torch
from torch import nn

from torch_utils.ema import EMA, half_life_beta


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def test_update_is_the_formula() -> None:
    source, beta = network(), 0.75
    average = EMA(source)
    expected = [parameter.detach().clone() for parameter in source.parameters()]
    for _ in range(3):
        for parameter in source.parameters():
            parameter.data.add_(torch.ones_like(parameter))
        source[1].running_mean.add_(1.0)
        source[1].num_batches_tracked.add_(1)
        before = [parameter.detach().clone() for parameter in source.parameters()]
        average.update(source, beta)
        expected = [beta * mean + (1 - beta) * value for mean, value in zip(expected, before, strict=True)]
        for mean, value, unchanged, parameter in zip(average.module.parameters(), expected, before, source.parameters(), strict=True):
            torch.testing.assert_close(mean, value)
            assert torch.equal(parameter, unchanged)
        assert torch.equal(average.module[1].running_mean, source[1].running_mean)
        assert average.module[1].num_batches_tracked == source[1].num_batches_tracked


def test_beta_0_copies_exactly_and_1_changes_nothing() -> None:
    source = network()
    average = EMA(network())
    before = [parameter.clone() for parameter in average.module.parameters()]
    average.update(source, 1.0)
    assert all(torch.equal(a, b) for a, b in zip(average.module.parameters(), before, strict=True))
    average.update(source, 0.0)
    assert all(torch.equal(a, b) for a, b in zip(average.module.parameters(), source.parameters(), strict=True))


def test_the_average_is_for_evaluation() -> None:
    source = network()
    average = EMA(source)
    average.update(source, 0.5)
    assert source.training
    assert not average.module.training
    assert not any(parameter.requires_grad for parameter in average.module.parameters())
    assert all(parameter.requires_grad for parameter in source.parameters())
    assert {id(p) for p in source.parameters()}.isdisjoint({id(p) for p in average.module.parameters()})


def test_half_life() -> None:
    assert half_life_beta(100, 100) == 0.5
    assert half_life_beta(32, 10_000) ** (10_000 / 32) - 0.5 < 1e-9
    assert half_life_beta(32, 0) == 0.0
