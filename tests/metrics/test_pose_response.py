"""Pose response: exact slopes, trimming, wrapping and what noise does."""

import numpy as np
import pytest

from metrics.measurable import NotMeasurable
from metrics.pose_response import PoseResponse, pose_response

CHANGES = np.tile([-40.0, -25.0, -12.0, 12.0, 25.0, 40.0], 50)


@pytest.mark.parametrize('slope', [1.0, 0.61, 0.0, -0.4])
def test_exact_responses_give_their_slope(slope):
    found = pose_response(CHANGES, slope * CHANGES)
    assert (found.slope, found.trimmed, found.median_ratio) == pytest.approx((slope, 0, slope))


def test_least_squares_by_hand():
    # c = 10, r = 0 and c = 20, r = 30, in equal numbers: (10 x 0 + 20 x 30) / (100 + 400); ratios 0 and 1.5.
    found = pose_response(np.tile([10.0, 20.0], 15), np.tile([0.0, 30.0], 15))
    assert found == PoseResponse(slope=pytest.approx(1.2), trimmed=0.0, median_ratio=pytest.approx(0.75))


def test_equals_least_squares_of_numpy():
    draw = np.random.default_rng(0)
    response = 0.7 * CHANGES + draw.normal(0, 8, len(CHANGES))
    assert pose_response(CHANGES, response).slope == pytest.approx(np.linalg.lstsq(CHANGES[:, None], response)[0][0])


def test_responses_are_angles():
    found = pose_response(CHANGES, CHANGES + 360 * (np.arange(300) % 3 - 1))
    assert (found.slope, found.trimmed) == pytest.approx((1, 0))


def test_flips_are_trimmed_at_the_limit_and_counted():
    response = CHANGES.copy()
    response[:30] = 180 - CHANGES[:30]
    found = pose_response(CHANGES, response)
    assert (found.slope, found.trimmed) == pytest.approx((1, 0.1))
    edge = np.where(np.arange(300) < 60, 80.0, CHANGES)
    assert pose_response(CHANGES, edge).trimmed == pytest.approx(0.2)
    assert pose_response(CHANGES, edge, limit_deg=80.001).trimmed == 0
    assert pose_response(CHANGES, CHANGES, limit_deg=30).trimmed == pytest.approx(1 / 3)


def test_noise_pulls_the_slope_down_as_documented():
    draw = np.random.default_rng(1)
    changes = np.tile(CHANGES, 60)
    for noise, slope, trimmed in ((10, 1.0, 0.0), (30, 0.88, 0.05), (60, 0.46, 0.23)):
        found = pose_response(changes, changes + draw.normal(0, noise, len(changes)))
        assert found.slope == pytest.approx(slope, abs=0.02) and found.trimmed == pytest.approx(trimmed, abs=0.01)
    guessed = pose_response(changes, draw.uniform(-180, 180, len(changes)))
    assert abs(guessed.slope) < 0.05 and guessed.trimmed == pytest.approx(100 / 180, abs=0.02)


def test_few_pairs_are_refused():
    with pytest.raises(NotMeasurable, match='at least 20 rows, found 19'):
        pose_response(CHANGES[:19], CHANGES[:19])
    with pytest.raises(NotMeasurable, match='needs 20 pairs that turn by less than 80 degrees, found 19'):
        pose_response(CHANGES[:100], np.where(np.arange(100) < 19, 5.0, 120.0))
    with pytest.raises(NotMeasurable, match='300 of 300 rows are not finite'):
        pose_response(CHANGES, CHANGES * np.nan)
    with pytest.raises(AssertionError, match='does not move'):
        pose_response(CHANGES * 0, CHANGES)
