"""Inception score: its two extremes and torch-fidelity."""

import numpy as np
import pytest
import torch

from dnnlib.errors import UsageError
from metrics.inception_score import inception_score


def test_is_one_when_every_answer_is_the_same_and_k_when_all_classes_are_certain():
    same = np.tile(np.array([[1.0, 2.0, 3.0]]), (40, 1))
    assert inception_score(same, splits=4) == pytest.approx((1, 0), abs=1e-12)
    certain = np.tile(np.eye(5) * 1000, (8, 1))
    assert inception_score(certain, splits=2) == pytest.approx((5, 0), abs=1e-9)


def test_too_few_images_are_refused():
    with pytest.raises(UsageError, match='at least 10 images'):
        inception_score(np.zeros((9, 3)))


def test_agrees_with_torch_fidelity():
    from torch_fidelity.metric_isc import isc_features_to_metric

    logits = np.random.default_rng(0).normal(size=(103, 30)) * 2
    theirs = isc_features_to_metric(torch.from_numpy(logits), splits=10, shuffle=False)
    expected = (theirs['inception_score_mean'], theirs['inception_score_std'])
    assert inception_score(logits) == pytest.approx(expected, rel=1e-9)
