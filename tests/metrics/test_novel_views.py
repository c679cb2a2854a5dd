"""Novel-view distances: closed forms, equal numbers on both sides, floors, pooled signs."""

import numpy as np
import pytest
import torch

from metrics.frechet import frechet_distance
from metrics.measurable import NotMeasurable
from metrics.moments import Moments
from metrics.novel_views import novel_view_distances, novel_view_floors


def rows(seed, count, shift=0.0):
    return np.random.default_rng(seed).normal(size=(count, 4)) + shift


def test_is_the_frechet_distance_per_angle_from_equal_numbers():
    generated, real = rows(0, 50, 1.0), rows(1, 120)
    found = novel_view_distances({20.0: (generated, real)})
    assert found == {20.0: frechet_distance(Moments.of(generated), Moments.of(real[:50]))}
    assert novel_view_floors({20.0: (generated, real)}) == {20.0: frechet_distance(Moments.of(real[50:100]), Moments.of(real[:50]))}
    # Few real images: both sides shrink to half of them.
    expected = frechet_distance(Moments.of(generated[:30]), Moments.of(real[:30]))
    assert novel_view_distances({20.0: (generated, real[:60])}) == {20.0: expected}


def test_one_dimension_has_a_closed_form():
    generated, real = np.array([[10.0], [18.0]]), np.array([[0.0], [2.0], [1.0], [3.0]])
    assert novel_view_distances({0.0: (generated, real)})[0.0] == pytest.approx(13.0**2 + (np.sqrt(32) - np.sqrt(2)) ** 2)
    assert novel_view_floors({0.0: (generated, real)})[0.0] == pytest.approx(1)


def test_both_signs_of_an_angle_are_pooled_and_tensors_will_do():
    parts = {-20.0: (rows(0, 30, 0.5), rows(1, 60)), 0.0: (rows(2, 30), rows(3, 60)), 20.0: (rows(4, 30, 1.5), rows(5, 60))}
    found = novel_view_distances({angle: tuple(map(torch.from_numpy, pair)) for angle, pair in parts.items()})
    pooled = [np.concatenate([parts[angle][side][:30] for angle in (-20.0, 20.0)]) for side in (0, 1)]
    assert list(found) == [0.0, 20.0] and found[20.0] == frechet_distance(*map(Moments.of, pooled))


def test_quality_that_falls_off_shows_above_a_level_floor():
    parts = {angle: (rows(int(angle), 400, angle / 40), rows(int(angle) + 1, 800)) for angle in (0.0, 20.0, 40.0)}
    found, floor = novel_view_distances(parts), novel_view_floors(parts)
    assert found[0.0] < 3 * floor[0.0] and found[20.0] > 10 * floor[20.0] and found[40.0] > 2 * found[20.0]
    assert found[40.0] == pytest.approx(4, rel=0.2)  # a shift by 1 in each of 4 features


def test_too_few_images_are_said():
    with pytest.raises(NotMeasurable, match='there are none'):
        novel_view_distances({})
    with pytest.raises(NotMeasurable, match='at 40 degrees'):
        novel_view_floors({40.0: (rows(0, 10), rows(1, 3))})
