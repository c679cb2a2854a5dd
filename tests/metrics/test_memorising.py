"""Memorising: fresh samples, copies, mixtures and ties."""

import numpy as np
import pytest

from dnnlib.errors import UsageError
from metrics.measurable import NotMeasurable
from metrics.memorising import memorising_auc


def three_sets(seed, count=400, columns=10):
    return np.random.default_rng(seed).normal(size=(3, count, columns))


def test_fresh_images_are_as_near_to_either_set():
    values = [memorising_auc(*three_sets(seed)) for seed in range(6)]
    assert np.mean(values) == pytest.approx(0.5, abs=0.03) and max(abs(value - 0.5) for value in values) < 0.1


def test_copies_score_one_and_a_share_of_them_its_half():
    fresh, train, held_out = three_sets(7)
    assert memorising_auc(train[::3], train, held_out) == 1
    assert memorising_auc(train + 0.05 * fresh, train, held_out) > 0.98
    mixed = np.concatenate([train[:120], fresh[:280]])
    assert memorising_auc(mixed, train, held_out) == pytest.approx(0.5 + 0.3 / 2, abs=0.06)
    assert memorising_auc(held_out, train, held_out) == 0


def test_bad_images_do_not_look_memorised():
    fresh, train, held_out = three_sets(8)
    assert memorising_auc(2.5 * fresh, train, held_out) == pytest.approx(0.5, abs=0.1)


def test_counted_by_hand_with_ties_half():
    train, held_out = np.arange(10.0)[:, None] * 10, np.arange(10.0)[:, None] * 10 + 4
    generated = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 11.0, 12.0, 13.0, 20.0, 22.0])[:, None]  # nearer, nearer, tie, farther, farther, ...
    assert memorising_auc(generated, train, held_out) == pytest.approx((1 + 1 + 0.5 + 0 + 0 + 1 + 0.5 + 0 + 1 + 0.5) / 10)


def test_the_two_sets_swapped_give_the_rest():
    fresh, train, held_out = three_sets(9)
    assert memorising_auc(fresh, train, held_out) + memorising_auc(fresh, held_out, train) == pytest.approx(1)
    assert memorising_auc(fresh, train, train[::-1]) == 0.5


def test_unequal_sets_are_refused_because_the_larger_one_is_nearer():
    fresh, train, held_out = three_sets(10)
    with pytest.raises(UsageError, match='found 400 and 399'):
        memorising_auc(fresh, train, held_out[1:])
    with pytest.raises(NotMeasurable, match='at least 10 rows, found 9'):
        memorising_auc(fresh, train[:9], held_out[:9])
    with pytest.raises(NotMeasurable, match='1 of 400 rows are not finite'):
        memorising_auc(np.where(np.arange(400)[:, None] == 3, np.nan, fresh), train, held_out)
