"""Draws depend on their address and on nothing else, and look like what they are called."""

import math
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from torch_utils import rng
from torch_utils.rng import Stream, permutation

STREAM = Stream(seed=3, step=128, phase='D', rows=tuple(range(16)))
GOLDEN_UNIFORMS = [[8341318, 10486830], [1201532, 10590454]]
GOLDEN_NORMAL_BITS = [[1062176367, 1068564023], [-1130597226, 1051315972]]
GOLDEN_PERMUTATION = [4, 2, 3, 1, 7, 5, 0, 6]
DRAWS = [
    lambda stream: stream.uniform('x', 5, 3),
    lambda stream: stream.normal('x', 7),
    lambda stream: stream.integers('x', 10, 4),
    lambda stream: stream.bernoulli('x', 0.3),
]


@pytest.mark.parametrize('draw', DRAWS)
@settings(max_examples=25, deadline=None)
@given(rows=st.lists(st.integers(0, 2**40), max_size=9).map(tuple))
def test_a_row_does_not_know_its_neighbours(draw, rows) -> None:
    together = draw(Stream(seed=1, step=2, rows=rows))
    assert together.shape[0] == len(rows)
    for position, row in enumerate(rows):
        assert torch.equal(draw(Stream(seed=1, step=2, rows=(row,)))[0], together[position])


@pytest.mark.parametrize('draw', DRAWS)
def test_splitting_a_batch_changes_nothing(draw) -> None:
    halves = [draw(STREAM.for_rows(0, 5)), draw(STREAM.for_rows(5, 16))]
    assert torch.equal(torch.cat(halves), draw(STREAM))
    assert torch.equal(draw(Stream(3, 128, 'D', range(16))), draw(STREAM))


def test_neither_position_nor_thread_count_changes_a_bit() -> None:
    """Vector loops and their tails must agree, also where threads cut the work into pieces."""
    big = Stream(0, 0, rows=tuple(range(7))).normal('x', 33_333)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        again = Stream(0, 0, rows=(3,)).normal('x', 33_333)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(big[3], again[0])


def test_a_longer_draw_begins_like_a_shorter_one() -> None:
    assert torch.equal(STREAM.normal('x', 100)[:, :13], STREAM.normal('x', 13))


def test_every_part_of_the_address_matters() -> None:
    streams = [
        STREAM,
        STREAM.at(129),
        STREAM.within('G'),
        Stream(3, 128, 'G', STREAM.rows),
        Stream(4, 128, 'D', STREAM.rows),
        Stream(3, 128, 'D', range(16, 32)),
        STREAM.shared(),
    ]
    draws = [stream.uniform(name, 50).flatten() for stream in streams for name in ('x', 'y')]
    for i, first in enumerate(draws):
        for second in draws[:i]:
            assert not bool((first[:50] == second[:50]).all())
    # The parts are separated: no two addresses run together to the same text.
    assert not torch.equal(Stream(1, 23, 'a', (0,)).uniform('b', 9), Stream(12, 3, 'a', (0,)).uniform('b', 9))
    assert not torch.equal(Stream(1, 2, "a', 'b", (0,)).uniform('c', 9), Stream(1, 2, 'a', (0,)).uniform("b', 'c", 9))


def test_shared_draws() -> None:
    assert STREAM.shared().uniform('x').shape == ()
    assert STREAM.shared().normal('x', 2, 3).shape == (2, 3)
    assert torch.equal(STREAM.shared().uniform('x', 4), STREAM.for_rows(3, 7).shared().uniform('x', 4))
    assert len(STREAM) == 16
    assert len(STREAM.shared()) == 0


def test_shapes() -> None:
    assert STREAM.uniform('x').shape == (16,)
    assert STREAM.uniform('x', 3, 0).shape == (16, 3, 0)
    assert Stream(0, 0, rows=()).normal('x', 5).shape == (0, 5)
    assert STREAM.bernoulli('x', torch.tensor(0.5)).shape == (16,)
    assert STREAM.bernoulli('x', 0.5, 3).dtype == torch.bool
    assert STREAM.integers('x', 5).dtype == torch.int64
    with pytest.raises(AssertionError):
        Stream(0, 0, rows=(-1,))


def test_golden() -> None:
    """These numbers are part of the format: a run that is resumed by a later version must draw the same."""
    stream = Stream(seed=0, step=0, phase='golden', rows=(0, 1))
    assert (stream.uniform('u', 2) * 2**24).to(torch.int64).tolist() == GOLDEN_UNIFORMS
    assert stream.normal('n', 2).view(torch.int32).tolist() == GOLDEN_NORMAL_BITS
    assert permutation(0, 0, 8).tolist() == GOLDEN_PERMUTATION


def test_against_splitmix_in_python() -> None:
    """The tensor code against the published finaliser, written with Python's integers."""
    words = [0, 1, -1, 2**63 - 1, -(2**63), 0x123456789ABCDEF]
    expected = []
    for word in words:
        z = word % 2**64
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        expected.append(z ^ z >> 31)
    assert [word % 2**64 for word in rng._mix(torch.tensor(words)).tolist()] == expected


def test_uniform_is_uniform() -> None:
    """The p-values of 40 Kolmogorov-Smirnov tests are themselves uniform; extremes of the 2^24 grid are reached."""
    samples = [Stream(seed, 7, 'x', range(8)).uniform('u', 2048).double().numpy().ravel() for seed in range(40)]
    p_values = [stats.kstest(sample + 2.0**-25, 'uniform').pvalue for sample in samples]
    assert stats.kstest(p_values, 'uniform').pvalue > 1e-3
    everything = np.concatenate(samples)
    assert 0 <= everything.min() < 1e-4
    assert 1 - 1e-4 < everything.max() < 1
    grid = everything * 2**24
    assert np.array_equal(grid, np.round(grid))
    for bit in range(24):
        ones = (grid.astype(np.int64) >> bit & 1).mean()
        assert abs(ones - 0.5) < 5 * 0.5 / math.sqrt(len(grid)), bit


def test_normal_is_normal() -> None:
    samples = [Stream(seed, 7, 'x', range(8)).normal('n', 2048).double().numpy().ravel() for seed in range(40)]
    p_values = [stats.kstest(sample, 'norm').pvalue for sample in samples]
    assert stats.kstest(p_values, 'uniform').pvalue > 1e-3
    everything = np.concatenate(samples)
    n = len(everything)
    assert abs(everything.mean()) < 5 / math.sqrt(n)
    assert abs(everything.var() - 1) < 5 * math.sqrt(2 / n)
    assert abs(stats.kurtosis(everything)) < 5 * math.sqrt(24 / n)
    # The two numbers of a Box-Muller pair are independent, and so are their squares.
    first, second = everything[::2], everything[1::2]
    assert abs(np.corrcoef(first, second)[0, 1]) < 5 / math.sqrt(n / 2)
    assert abs(np.corrcoef(first**2, second**2)[0, 1]) < 5 / math.sqrt(n / 2)


def test_elementary_functions() -> None:
    x = torch.arange(1, 2**24 + 1, 37) * 2.0**-24
    exact = x.double()
    assert float((rng._log(x) - exact.log()).abs().div(exact.log().abs().clamp(min=2.0**-24)).max()) < 4e-7
    cosine, sine = rng._cosine_sine_of_turns(1.0 - x)
    angle = (1.0 - exact) * 2 * math.pi
    assert float((cosine - angle.cos()).abs().max()) < 3e-7
    assert float((sine - angle.sin()).abs().max()) < 3e-7
    assert rng._log(torch.ones(1)).item() == 0.0


def test_neighbours_are_uncorrelated() -> None:
    """Rows, names, steps, seeds and positions beside each other: no correlation of values, and none of single bits."""
    base = Stream(5, 9, 'x', range(64)).uniform('u', 1024)
    others = {
        'row': torch.cat([base[1:], base[:1]]),
        'position': base.roll(1, dims=1),
        'half of a word': base.roll(512, dims=1),
        'name': Stream(5, 9, 'x', range(64)).uniform('v', 1024),
        'phase': Stream(5, 9, 'y', range(64)).uniform('u', 1024),
        'step': Stream(5, 10, 'x', range(64)).uniform('u', 1024),
        'seed': Stream(6, 9, 'x', range(64)).uniform('u', 1024),
    }
    n = base.numel()
    for what, other in others.items():
        assert abs(np.corrcoef(base.flatten(), other.flatten())[0, 1]) < 5 / math.sqrt(n), what
        differing = (base * 2**24).to(torch.int64) ^ (other * 2**24).to(torch.int64)
        for bit in range(24):
            share = float((differing >> bit & 1).double().mean())
            assert abs(share - 0.5) < 5 * 0.5 / math.sqrt(n), (what, bit)


@pytest.mark.parametrize('high', [1, 2, 7, 1000, 2**31])
def test_integers(high) -> None:
    values = Stream(0, 1, rows=range(64)).integers('i', high, 256).flatten()
    assert int(values.min()) >= 0
    assert int(values.max()) < high
    counts = np.bincount((values.double() * min(high, 16) / high).long().numpy(), minlength=min(high, 16))
    if high in (2, 1000, 2**31):
        expected = np.bincount(
            (np.arange(high if high < 2**31 else 16) * min(high, 16) // (high if high < 2**31 else 16)), minlength=min(high, 16)
        )
        assert stats.chisquare(counts, expected / expected.sum() * counts.sum()).pvalue > 1e-4


def test_bernoulli() -> None:
    stream = Stream(0, 1, rows=range(20_000))
    assert not bool(stream.bernoulli('b', 0.0).any())
    assert bool(stream.bernoulli('b', 1.0).all())
    assert abs(float(stream.bernoulli('b', 0.3).double().mean()) - 0.3) < 5 * math.sqrt(0.21 / 20_000)
    assert torch.equal(stream.bernoulli('b', torch.tensor(0.3)), stream.bernoulli('b', 0.3))


def test_permutation() -> None:
    order = permutation(3, 0, 1000)
    assert order.dtype == np.int64
    assert sorted(order) == list(range(1000))
    assert np.array_equal(order, permutation(3, 0, 1000))
    assert not np.array_equal(order, permutation(3, 1, 1000))
    assert not np.array_equal(order, permutation(4, 0, 1000))
    assert abs(stats.spearmanr(order, np.arange(1000)).statistic) < 0.16
    assert abs(stats.spearmanr(order, permutation(3, 1, 1000)).statistic) < 0.16
    assert permutation(0, 0, 0).shape == (0,)
    with pytest.raises(ValueError, match='read-only'):
        order[0] = 1


def test_permutations_are_fair() -> None:
    """Each of the 24 orders of 4 items comes up equally often."""
    codes = [tuple(permutation(0, epoch, 4)) for epoch in range(2400)]
    counts = [codes.count(code) for code in set(codes)]
    assert len(counts) == 24
    assert stats.chisquare(counts).pvalue > 1e-4


def test_global_generators_are_left_alone() -> None:
    before = torch.get_rng_state()
    STREAM.normal('x', 10)
    permutation(1, 1, 10)
    assert torch.equal(before, torch.get_rng_state())


def test_fast_enough() -> None:
    """The draw of a 32x32 render, 16 images x 1024 rays x 16 depths, is not what a step waits for (about 2.5 ms on one core)."""
    durations = []
    for _ in range(5):
        start = time.perf_counter()
        STREAM.uniform('depth', 1024, 16)
        durations.append(time.perf_counter() - start)
    assert min(durations) < 0.03  # far above what it takes: a guard against another algorithm, not a benchmark


@pytest.mark.parametrize('device', ['cpu', *(['cuda'] if torch.cuda.is_available() else [])])
@pytest.mark.parametrize('draw', ['uniform', 'normal'])
def test_devices_agree_bit_for_bit(device, draw) -> None:
    assert torch.equal(getattr(STREAM, draw)('x', 10_001), getattr(STREAM, draw)('x', 10_001, device=device).cpu())
