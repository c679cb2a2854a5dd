"""Duplicates and diversity: known repeats, brute force, real toy scenes."""

import numpy as np
import pytest
import torch

from metrics import duplicates as room
from metrics.duplicates import diversity, duplicate_fraction, nearest_distance
from metrics.features import PhotoFeatures
from metrics.measurable import NotMeasurable
from training.data.item import from_uint8
from training.data.toyworld.world import Toyworld, ToyworldConfig


@pytest.mark.parametrize('rows_at_a_time', [7, 1000])
def test_nearest_distances_equal_brute_force(rows_at_a_time, monkeypatch):
    monkeypatch.setattr(room, 'ROWS_AT_A_TIME', rows_at_a_time)
    draw = np.random.default_rng(0)
    rows, others = draw.normal(size=(25, 3)) + 100, draw.normal(size=(20, 3)) + 100
    table = np.linalg.norm(rows[:, None] - others[None], axis=2)
    np.testing.assert_array_equal(nearest_distance(rows, others), table.min(axis=1))
    own = np.linalg.norm(rows[:, None] - rows[None], axis=2) + np.diag(np.full(25, np.inf))
    np.testing.assert_array_equal(nearest_distance(rows), own.min(axis=1))


def test_copies_are_at_exactly_zero_and_all_of_them_count():
    features = np.random.default_rng(1).normal(size=(100, 30))
    assert duplicate_fraction(features) == 0
    assert duplicate_fraction(np.concatenate([features, features[:20]])) == 40 / 120
    assert duplicate_fraction(np.concatenate([features, 3 * features[:20]])) == 40 / 120  # a cosine: the length does not matter
    assert duplicate_fraction(np.repeat(features[:10], 10, axis=0)) == 1
    assert (nearest_distance(np.repeat(features + 1e3, 2, axis=0)) == 0).all()


def test_the_limit_is_a_cosine_distance():
    for degrees, expected in ((2.5, 1.0), (2.6, 0.0)):  # 1 - cos = .00095 and .00103
        angle = np.radians(degrees)
        assert duplicate_fraction(np.array([[1.0, 0.0], [np.cos(angle), np.sin(angle)]])) == expected


def test_nearly_equal_images_are_duplicates_although_nothing_is_farther_apart():
    draw = np.random.default_rng(2)
    assert duplicate_fraction(draw.uniform(1, 2, 40) + 1e-3 * draw.normal(size=(50, 40))) == 1


def test_toy_scenes_have_no_duplicates_and_their_noisy_copies_are_all_found():
    scenes = Toyworld(ToyworldConfig(classes=('car',)))  # one class on white: as alike as the data get
    images = np.stack([scenes.image(index, 32) for index in range(200)])
    noise = np.random.default_rng(3).normal(0, 1, images.shape)
    copies = np.clip(images + noise, 0, 255).round().astype(np.uint8)
    extractor = PhotoFeatures()
    real, noisy = (extractor(from_uint8(torch.from_numpy(pixels))).numpy() for pixels in (images, copies))
    assert duplicate_fraction(real) == 0
    assert duplicate_fraction(np.concatenate([real, noisy])) == 1


def test_diversity_equals_brute_force():
    draw = np.random.default_rng(4)
    features, classes = draw.normal(size=(30, 5)), np.repeat([2, 5, 9], [14, 15, 1])
    found = diversity(features, classes)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    for number in (2, 5):
        rows = unit[classes == number]
        pairs = 1 - rows @ rows.T
        others = pairs[~np.eye(len(rows), dtype=bool)].reshape(len(rows), -1)
        assert found.per_class[number].pairwise == pytest.approx(others.mean(), rel=1e-10)
        assert found.per_class[number].nearest == pytest.approx(others.min(axis=1).mean(), rel=1e-10)
        assert found.per_class[number].count == len(rows)
    assert found.unmeasured == (9,) and set(found.per_class) == {2, 5}
    assert found.pairwise == pytest.approx((found.per_class[2].pairwise + found.per_class[5].pairwise) / 2)
    assert found.nearest == pytest.approx((found.per_class[2].nearest + found.per_class[5].nearest) / 2)


def test_a_collapse_within_a_class_shows_there_only():
    draw = np.random.default_rng(5)
    features, classes = draw.normal(size=(60, 8)), np.repeat([0, 1], 30)
    before = diversity(features, classes)
    features[30:] = features[30]
    after = diversity(features, classes)
    assert after.per_class[0] == before.per_class[0]
    assert after.per_class[1].nearest == 0 and after.per_class[1].pairwise == pytest.approx(0, abs=1e-12)
    assert after.nearest == pytest.approx(before.per_class[0].nearest / 2)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(NotMeasurable, match='no class has two images'):
        diversity(np.eye(3), np.arange(3))
    with pytest.raises(NotMeasurable, match='at least 2 rows, found 1'):
        duplicate_fraction(np.ones((1, 3)))
    with pytest.raises(NotMeasurable, match='1 of 2 feature rows are all zero'):
        duplicate_fraction(np.array([[0.0, 0.0], [1.0, 0.0]]))
    with pytest.raises(NotMeasurable, match='1 of 2 rows are not finite'):
        duplicate_fraction(np.array([[np.nan, 0.0], [1.0, 0.0]]))
