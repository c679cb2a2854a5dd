"""Pose accuracy: known offsets, flips and noise; the offset against brute force."""

import math

import numpy as np
import pytest

from metrics.measurable import NotMeasurable
from metrics.pose_accuracy import pose_accuracy


def commanded(count=300, seed=0):
    return np.random.default_rng(seed).uniform(-np.pi, np.pi, count)


def test_a_global_offset_is_no_error():
    asked = commanded()
    for degrees in (0.0, 100.0, 179.9, -135.0):
        found = pose_accuracy(asked + math.radians(degrees) + 2 * np.pi * (np.arange(300) % 3), asked)
        assert found.offset_deg == pytest.approx(degrees, abs=1e-6) and found.median_deg < 1e-6
        assert found.flips == 0 and found.alignment == pytest.approx(1) and found.errors_deg.shape == (300,)
        assert found.elevation_median_deg is None


def test_errors_by_hand():
    # Twenty right ones, four at 10 degrees, six turned round: the shortest half is where the right ones are.
    off = np.radians(np.repeat([0.0, 10.0, 180.0], [20, 4, 6]))
    asked = commanded(30)
    found = pose_accuracy(asked + off + 1.0, asked)
    np.testing.assert_allclose(np.sort(found.errors_deg), np.repeat([0.0, 10.0, 180.0], [20, 4, 6]), atol=1e-6)
    assert found.flips == 6 / 30 and found.median_deg == pytest.approx(0, abs=1e-6) and found.offset_deg == pytest.approx(math.degrees(1))
    assert found.alignment == pytest.approx(abs(20 + 4 * np.exp(1j * math.radians(10)) - 6) / 30)


@pytest.mark.parametrize('count', [101, 150])
def test_no_other_offset_has_a_smaller_median_error(count):
    draw = np.random.default_rng(count)
    asked = commanded(count)
    read = asked + np.where(draw.random(count) < 0.7, draw.normal(2.9, 0.3, count), draw.uniform(-np.pi, np.pi, count))

    def upper_median(offset):
        return np.sort(np.abs(np.angle(np.exp(1j * (read - asked - offset)))))[count // 2]

    best = upper_median(math.radians(pose_accuracy(read, asked).offset_deg))
    assert best <= min(upper_median(offset) for offset in np.linspace(-np.pi, np.pi, 4001)) + 1e-12


def test_noise_of_known_size():
    draw = np.random.default_rng(2)
    asked = commanded(4000)
    found = pose_accuracy(asked + draw.normal(0, math.radians(10), 4000), asked)
    assert found.median_deg == pytest.approx(6.745, rel=0.05)  # of a normal error the median is .6745 standard deviations
    assert found.alignment == pytest.approx(math.exp(-(math.radians(10) ** 2) / 2), abs=0.002)


def test_a_camera_that_is_ignored_and_a_mirrored_solution():
    asked = commanded(4000)
    for read in (np.zeros(4000), -asked):
        found = pose_accuracy(read, asked)
        assert found.median_deg > 80 and found.flips == pytest.approx(0.5, abs=0.05) and found.alignment < 0.05
    narrow = np.random.default_rng(3).normal(0, math.radians(18), 4000)
    blind = pose_accuracy(np.zeros(4000), narrow)  # what the docstring warns of: a narrow law hides it
    assert blind.median_deg < 13 and blind.alignment == pytest.approx(abs(np.exp(1j * narrow).mean()))


def test_elevations_are_compared_without_an_offset():
    asked = commanded(40)
    up = np.linspace(-0.1, 0.5, 40)
    assert pose_accuracy(asked, asked, up + math.radians(4), up).elevation_median_deg == pytest.approx(4)
    with pytest.raises(AssertionError, match='pairs'):
        pose_accuracy(asked, asked, up)


def test_few_poses_and_poses_that_are_not_finite_are_refused():
    with pytest.raises(NotMeasurable, match='at least 20 rows, found 5'):
        pose_accuracy(np.zeros(5), np.zeros(5))
    with pytest.raises(NotMeasurable, match='1 of 30 rows are not finite'):
        pose_accuracy(np.where(np.arange(30) == 4, np.nan, 0.0), np.zeros(30))
