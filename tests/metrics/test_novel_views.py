"""Novel views: a closed form, equal numbers on both sides, and a fall-off that shows."""

import numpy as np
import pytest

from metrics.measurable import NotMeasurable
from metrics.novel_views import novel_view_distance


def test_one_dimension_has_a_closed_form():
    real, generated = np.array([[0.0], [2.0]]), np.array([[5.0], [9.0]])  # means 1 and 7, standard deviations sqrt 2 and sqrt 8
    assert novel_view_distance(generated, real) == pytest.approx(6**2 + (8**0.5 - 2**0.5) ** 2)


def test_equally_many_rows_take_part():
    draw = np.random.default_rng(0)
    generated, real = draw.normal(size=(30, 4)), draw.normal(size=(50, 4))
    assert novel_view_distance(generated, real) == novel_view_distance(generated, real[:30])
    assert novel_view_distance(real, generated) == novel_view_distance(real[:30], generated)


def test_quality_that_falls_off_with_the_angle_shows():
    draw = np.random.default_rng(1)
    real = {turn: draw.normal(size=(400, 6)) + turn / 10 for turn in (0, 20, 40)}  # poses move features: that alone must not count
    generated = {turn: draw.normal(size=(400, 6)) * (1 + turn / 40) + turn / 10 for turn in real}
    same = {turn: draw.normal(size=(400, 6)) + turn / 10 for turn in real}
    distances = [novel_view_distance(generated[turn], real[turn]) for turn in real]
    assert distances == sorted(distances) and distances[2] > 10 * distances[0]
    assert max(novel_view_distance(same[turn], real[turn]) for turn in real) < 0.2


def test_too_few_images_are_said():
    with pytest.raises(NotMeasurable, match='2 generated and 2 real'):
        novel_view_distance(np.zeros((1, 3)), np.zeros((5, 3)))
