"""Classes and colour modes: counted by hand, closed forms, the floor of equal laws."""

import math

import numpy as np
import pytest

from metrics.classes import class_agreement, class_histogram, mode_histogram
from metrics.measurable import NotMeasurable


def test_agreement_by_hand():
    assert class_agreement(np.array([0, 1, 2, 2]), np.array([0, 1, 1, 2])) == 0.75
    with pytest.raises(NotMeasurable):
        class_agreement(np.array([], dtype=int), np.array([], dtype=int))
    with pytest.raises(AssertionError, match='whole number'):
        class_agreement(np.array([0.0]), np.array([0]))


def test_divergence_by_hand():
    # Counts (3, 1) and (1, 1), half a count added: p = (3.5, 1.5) / 5, q = (1/2, 1/2).
    found = class_histogram(np.array([0, 0, 1, 0]), 2, np.array([1, 0]))
    assert found.kl == pytest.approx(0.7 * math.log(1.4) + 0.3 * math.log(0.6))
    assert found.share.tolist() == [0.75, 0.25] and found.present == 2


def test_missing_classes():
    real = np.arange(80000) % 8
    assert class_histogram(np.arange(7000) % 7, 8, real).kl == pytest.approx(math.log(8 / 7), rel=0.01)
    assert class_histogram(np.arange(4000) % 4, 8, real).kl == pytest.approx(math.log(2), rel=0.01)
    assert class_histogram(real, 8, real).kl == 0


def test_a_class_below_two_percent_is_not_present():
    for rare, present in ((2, 1), (3, 2)):
        assert class_histogram(np.repeat([0, 1], [100 - rare, rare]), 3, np.array([0, 1, 2])).present == present


def test_the_floor_of_equal_laws_is_as_documented():
    draw = np.random.default_rng(0)
    values = [class_histogram(draw.integers(0, 8, 1500), 8, draw.integers(0, 8, 6000)).kl for _ in range(200)]
    assert min(values) >= 0 and np.mean(values) == pytest.approx(7 / 2 * (1 / 1500 + 1 / 6000), rel=0.2)


def test_modes_by_hand():
    # Class 0: 3 images of modes (2, 1), real (1, 1); class 1: one image of mode 1, real (1, 0).
    found = mode_histogram(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]), 2, 2, np.array([0, 0, 1]), np.array([0, 1, 0]))
    first = 2.5 / 4 * math.log(2.5 / 4 * 2) + 1.5 / 4 * math.log(1.5 / 4 * 2)
    second = 0.25 * math.log(0.25 / 0.75) + 0.75 * math.log(0.75 / 0.25)
    assert found.kl == pytest.approx(0.75 * first + 0.25 * second)
    assert found.present == 3 and found.judged == 1


def test_the_top_mode_alone_is_seen_and_the_share_of_a_class_is_not():
    draw = np.random.default_rng(1)
    real_classes, real_modes = draw.integers(0, 8, 40000), draw.choice(3, 40000, p=(0.5, 0.3, 0.2))
    classes, modes = draw.integers(0, 8, 20000), draw.choice(3, 20000, p=(0.5, 0.3, 0.2))
    assert mode_histogram(classes, modes, 8, 3, real_classes, real_modes).kl < 0.002
    top = mode_histogram(classes, np.zeros(20000, dtype=int), 8, 3, real_classes, real_modes)
    assert top.kl == pytest.approx(math.log(2), abs=0.02) and top.present == 8
    lopsided = np.where(draw.random(20000) < 0.5, 0, classes)
    assert mode_histogram(lopsided, modes, 8, 3, real_classes, real_modes).kl < 0.002


def test_classes_that_the_reference_lacks_take_no_part():
    reference = np.zeros(10, dtype=int), np.arange(10) % 2
    with_stray = mode_histogram(np.array([0, 0, 0, 1]), np.array([0, 1, 0, 0]), 2, 2, *reference)
    assert with_stray.judged == 0.75
    assert with_stray.kl == mode_histogram(np.array([0, 0, 0]), np.array([0, 1, 0]), 2, 2, *reference).kl
    with pytest.raises(NotMeasurable, match='a class that the reference has'):
        mode_histogram(np.array([1]), np.array([0]), 2, 2, *reference)


def test_nothing_and_numbers_beyond_the_range_are_refused():
    none = np.array([], dtype=int)
    with pytest.raises(NotMeasurable, match='found 0 generated and 1 real'):
        class_histogram(none, 3, np.array([0]))
    for wrong in (3, -1):
        with pytest.raises(AssertionError, match='beyond 0 .. 2'):
            class_histogram(np.array([wrong]), 3, np.array([0]))
        with pytest.raises(AssertionError, match='beyond 0 .. 2'):
            mode_histogram(np.array([0]), np.array([wrong]), 2, 3, np.array([0]), np.array([0]))
