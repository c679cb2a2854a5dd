"""Precision, recall, density, coverage: brute force, extreme cases, torch-fidelity."""

import numpy as np
import pytest
import torch

from dnnlib.errors import UsageError
from metrics import precision_recall as room
from metrics.precision_recall import PrecisionRecall, PrecisionRecallConfig, precision_recall


def radius(rows, index, k):
    return sorted(np.linalg.norm(rows[index] - other) for j, other in enumerate(rows) if j != index)[k - 1]


def brute_force(real, generated, config):
    def inside(point, rows, k):
        return [np.linalg.norm(point - row) <= radius(rows, j, k) for j, row in enumerate(rows)]

    k, wide = config.neighbours, config.density_neighbours
    held = np.array([inside(g, real, wide) for g in generated])
    return PrecisionRecall(
        precision=float(np.mean([any(inside(g, real, k)) for g in generated])),
        recall=float(np.mean([any(inside(r, generated, k)) for r in real])),
        density=float(held.sum() / (wide * len(generated))),
        coverage=float(held.any(axis=0).mean()),
    )


@pytest.mark.parametrize('rows_at_a_time', [7, 1000])
def test_equals_brute_force(rows_at_a_time, monkeypatch):
    monkeypatch.setattr(room, 'ROWS_AT_A_TIME', rows_at_a_time)
    draw = np.random.default_rng(0)
    real, generated = draw.normal(size=(25, 3)) + 50, draw.normal(size=(20, 3)) * 0.7 + 50.5
    config = PrecisionRecallConfig(neighbours=2, density_neighbours=4)
    assert precision_recall(real, generated, config) == brute_force(real, generated, config)


def test_extremes():
    draw = np.random.default_rng(1)
    real = draw.normal(size=(300, 4))
    same = precision_recall(real, real)
    assert (same.precision, same.recall, same.coverage) == (1, 1, 1)
    assert same.density == pytest.approx(1.2, abs=1e-9)  # a ball around a row holds its five neighbours and the row itself: (5 + 1) / 5
    fresh = precision_recall(real, draw.normal(size=(300, 4)))
    assert fresh.density == pytest.approx(1, abs=0.15) and fresh.coverage > 0.9
    away = precision_recall(real, real + 100)
    assert (away.precision, away.recall, away.density, away.coverage) == (0, 0, 0, 0)
    collapsed = precision_recall(real, np.repeat(real[:5], 60, axis=0))
    assert collapsed.precision == 1 and collapsed.recall < 0.05 and collapsed.coverage < 0.3


def test_too_few_images_are_refused():
    with pytest.raises(UsageError, match='more than 5 images'):
        precision_recall(np.zeros((5, 2)), np.zeros((50, 2)))


def test_agrees_with_torch_fidelity():
    from torch_fidelity.metric_prc import calculate_precision_recall_full

    draw = np.random.default_rng(2)
    real, generated = draw.normal(size=(150, 6)), draw.normal(size=(120, 6)) * 1.2
    ours = precision_recall(real, generated)
    theirs = calculate_precision_recall_full(torch.from_numpy(generated), torch.from_numpy(real), neighborhood=3)
    assert (ours.precision, ours.recall) == pytest.approx(theirs, abs=1e-6)
