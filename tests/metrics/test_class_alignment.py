"""Alignment within classes: fronts of its own for each class, one sense for all; and how well a model reads real pictures."""

import math

import numpy as np
import pytest

from metrics.class_alignment import class_alignment, reader_error_deg
from metrics.measurable import NotMeasurable
from metrics.pose_accuracy import pose_accuracy

DRAW = np.random.default_rng(0)
CLASSES = np.repeat(np.arange(8), 100)
ASKED = DRAW.uniform(-np.pi, np.pi, 800)
FRONTS = DRAW.uniform(-np.pi, np.pi, 8)[CLASSES]  # what each class calls its front


def test_each_class_may_have_its_own_front() -> None:
    assert class_alignment(ASKED + FRONTS, ASKED, CLASSES) == pytest.approx(1)
    assert pose_accuracy(ASKED + FRONTS, ASKED).alignment < 0.6, 'one turn for all does not do'
    noise = DRAW.normal(0, 0.5, 800)
    assert class_alignment(ASKED + FRONTS + noise, ASKED, CLASSES) == pytest.approx(math.exp(-(0.5**2) / 2), abs=0.03)


def test_a_wrong_sense_shows_in_the_other_number_alone() -> None:
    wrong = FRONTS - ASKED
    assert class_alignment(wrong, ASKED, CLASSES, reversed_sense=True) == pytest.approx(1)
    assert class_alignment(wrong, ASKED, CLASSES) < 0.25
    assert class_alignment(ASKED + FRONTS, ASKED, CLASSES, reversed_sense=True) < 0.25


def test_half_of_the_classes_turned_the_wrong_way_are_half() -> None:
    mixed = FRONTS + np.where(CLASSES < 4, ASKED, -ASKED)
    for reversed_sense in (False, True):
        assert class_alignment(mixed, ASKED, CLASSES, reversed_sense=reversed_sense) == pytest.approx(0.5, abs=0.1)


def test_one_class_is_the_alignment_of_all_and_chance_is_what_the_docstring_says() -> None:
    read = ASKED + DRAW.normal(0, 1, 800)
    assert class_alignment(read, ASKED, np.zeros(800, int)) == pytest.approx(pose_accuracy(read, ASKED).alignment)
    chance = [class_alignment(DRAW.permutation(ASKED), ASKED, CLASSES) for _ in range(30)]
    assert np.mean(chance) == pytest.approx(0.89 / math.sqrt(100), rel=0.15)


def test_readings_are_right_up_to_fronts_and_one_sense() -> None:
    noise = DRAW.normal(0, math.radians(10), 800)
    for read in (ASKED + FRONTS + noise, FRONTS - ASKED + noise):
        assert reader_error_deg(read, ASKED, CLASSES) == pytest.approx(6.745, rel=0.1)
    mixed = FRONTS + np.where(CLASSES < 4, ASKED, -ASKED)
    assert reader_error_deg(mixed, ASKED, CLASSES) > 30, 'no class has a sense of its own'
    assert reader_error_deg(0 * ASKED, ASKED, CLASSES) > 75


def test_rare_classes_and_angles_that_are_not_finite_are_refused() -> None:
    rare = np.where(np.arange(800) < 4, 8, CLASSES)
    with pytest.raises(NotMeasurable, match='5 images of each class, found 4 of class 8'):
        class_alignment(ASKED, ASKED, rare)
    with pytest.raises(NotMeasurable, match='not finite'):
        class_alignment(np.where(CLASSES == 3, np.nan, ASKED), ASKED, CLASSES)
    with pytest.raises(NotMeasurable, match='at least 20 rows, found 19'):
        reader_error_deg(ASKED[:19], ASKED[:19], CLASSES[:19])
