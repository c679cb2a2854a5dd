"""Moments and the Frechet distance: closed forms, the matrix square root, torch-fidelity and torchmetrics."""

import numpy as np
import pytest
import scipy.linalg
import torch

from metrics.frechet import frechet_distance
from metrics.moments import Moments


def correlated(seed: int, rows: int, columns: int) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return draw.normal(size=(rows, columns)) @ draw.normal(size=(columns, columns)) + draw.normal(size=columns)


@pytest.mark.parametrize('pieces', [[500], [1, 499], [7, 0, 130, 363]])
def test_moments_in_pieces_are_those_of_the_whole(pieces):
    rows = correlated(0, 500, 6) + 1e4
    moments, start = Moments.empty(6), 0
    for size in pieces:
        moments.add(rows[start : start + size].astype(np.float64))
        start += size
    assert moments.count == 500
    np.testing.assert_allclose(moments.mean, rows.mean(0), rtol=1e-13)
    np.testing.assert_allclose(moments.covariance, np.cov(rows, rowvar=False), rtol=1e-9)


def test_one_dimension_has_a_closed_form():
    a, b = np.array([[0.0], [2.0]]), np.array([[10.0], [18.0]])  # means 1 and 14, variances 2 and 32
    expected = 13.0**2 + (np.sqrt(32) - np.sqrt(2)) ** 2
    assert frechet_distance(Moments.of(a), Moments.of(b)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize('rows', [200, 5])  # 5 rows of 12 features: singular covariances
def test_equals_the_matrix_square_root(rows):
    a, b = correlated(1, rows, 12), correlated(2, rows, 12)
    root = scipy.linalg.sqrtm(np.cov(a, rowvar=False) @ np.cov(b, rowvar=False))
    traces = np.trace(np.cov(a, rowvar=False)) + np.trace(np.cov(b, rowvar=False)) - 2 * np.trace(root).real
    expected = np.square(a.mean(0) - b.mean(0)).sum() + traces
    assert frechet_distance(Moments.of(a), Moments.of(b)) == pytest.approx(expected, rel=1e-6)


def test_is_a_symmetric_distance_that_rotations_and_shifts_leave_alone():
    a, b = correlated(3, 300, 8), correlated(4, 300, 8)
    distance = frechet_distance(Moments.of(a), Moments.of(b))
    rotation = np.linalg.qr(correlated(5, 8, 8))[0]
    assert frechet_distance(Moments.of(b), Moments.of(a)) == pytest.approx(distance, rel=1e-10)
    assert frechet_distance(Moments.of(a @ rotation + 3), Moments.of(b @ rotation + 3)) == pytest.approx(distance, rel=1e-10)
    assert abs(frechet_distance(Moments.of(a), Moments.of(a))) < 1e-9 * np.trace(np.cov(a, rowvar=False))


def test_agrees_with_torch_fidelity_and_torchmetrics():
    from torch_fidelity.metric_fid import fid_statistics_to_metric
    from torchmetrics.image.fid import FrechetInceptionDistance

    real, generated = torch.rand(60, 3, 2, 2, dtype=torch.float64), torch.rand(50, 3, 2, 2, dtype=torch.float64) ** 2
    ours = frechet_distance(*(Moments.of(images.flatten(1).numpy()) for images in (real, generated)))
    statistics = [{'mu': x.mean(0), 'sigma': np.cov(x, rowvar=False)} for x in (real.flatten(1).numpy(), generated.flatten(1).numpy())]
    assert fid_statistics_to_metric(*statistics, verbose=False)['frechet_inception_distance'] == pytest.approx(ours, rel=1e-8)
    theirs = FrechetInceptionDistance(feature=torch.nn.Flatten(), input_img_size=(3, 2, 2), normalize=True).set_dtype(torch.float64)
    theirs.update(real, real=True)
    theirs.update(generated, real=False)
    assert float(theirs.compute()) == pytest.approx(ours, rel=1e-6)
