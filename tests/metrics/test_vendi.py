"""Vendi score: counts of distinct things, the definition itself, laws."""

import math

import numpy as np
import pytest

from metrics.measurable import NotMeasurable
from metrics.vendi import vendi_score


def test_rows_at_right_angles_are_counted_and_copies_are_one():
    assert vendi_score(np.eye(7)) == pytest.approx(7)
    assert vendi_score(np.repeat(np.eye(7)[:3], 5, axis=0)) == pytest.approx(3)
    assert vendi_score(np.outer([1, 2, 30], [3.0, 4.0])) == pytest.approx(1)


def test_two_kinds_in_unequal_shares():
    entropy = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert vendi_score(np.repeat(np.eye(2), [1, 3], axis=0)) == pytest.approx(math.exp(entropy))


def test_two_rows_at_60_degrees():
    # K / 2 has the eigenvalues (1 +- 1/2) / 2.
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert vendi_score(np.array([[1.0, 0.0], [0.5, math.sqrt(0.75)]])) == pytest.approx(math.exp(entropy))


@pytest.mark.parametrize('shape', [(30, 8), (8, 30)])  # either matrix is the smaller one
def test_equals_the_definition(shape):
    features = np.random.default_rng(0).normal(size=shape)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    eigenvalues = np.linalg.eigvals(unit @ unit.T / len(unit)).real.clip(1e-300)
    assert vendi_score(features) == pytest.approx(float(np.exp(-(eigenvalues * np.log(eigenvalues)).sum())), rel=1e-9)
    assert 1 <= vendi_score(features) <= min(shape)


def test_neither_the_order_nor_the_length_nor_the_axes_matter():
    draw = np.random.default_rng(1)
    features = draw.normal(size=(40, 6))
    score = vendi_score(features)
    rotation = np.linalg.qr(draw.normal(size=(6, 6)))[0]
    assert vendi_score(features[::-1] * draw.uniform(1, 5, (40, 1)) @ rotation) == pytest.approx(score, rel=1e-10)


def test_what_has_no_cosine_is_refused():
    with pytest.raises(NotMeasurable, match='1 of 3 feature rows are all zero'):
        vendi_score(np.array([[1.0, 0], [0, 0], [0, 1]]))
    with pytest.raises(NotMeasurable, match='at least 2 rows'):
        vendi_score(np.ones((1, 4)))
    with pytest.raises(NotMeasurable, match='2 of 2 rows are not finite'):
        vendi_score(np.full((2, 2), np.nan))
