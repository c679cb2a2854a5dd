"""Identity across views: cosines by hand and the cases that have none."""

import math

import numpy as np
import pytest
import torch

from metrics.identity import identity_agreement
from metrics.measurable import NotMeasurable

ZERO = torch.zeros(3, dtype=torch.int64)


def test_cosines_and_labels_by_hand():
    a = torch.tensor([[1.0, 0.0], [2.0, 2.0], [1.0, 0.0]])
    b = torch.tensor([[5.0, 0.0], [0.0, 1.0], [-3.0, 0.0]])
    found = identity_agreement(a, b, torch.tensor([0, 1, 2]), torch.tensor([0, 2, 2]), torch.tensor([1, 1, 1]), torch.tensor([0, 1, 1]))
    assert found.cosine.tolist() == pytest.approx([1, math.sqrt(0.5), -1])
    assert found.same_class.tolist() == [True, False, True] and found.same_mode.tolist() == [False, True, True]


def test_equals_numpy_and_is_symmetric():
    draw = np.random.default_rng(0)
    a, b = draw.normal(size=(2, 20, 9))
    labels = torch.from_numpy(draw.integers(0, 3, size=(4, 20)))
    expected = [x @ y / np.linalg.norm(x) / np.linalg.norm(y) for x, y in zip(a, b, strict=True)]
    found = identity_agreement(torch.from_numpy(a), torch.from_numpy(b), *labels)
    assert found.cosine.tolist() == pytest.approx(expected)
    swapped = identity_agreement(torch.from_numpy(b), torch.from_numpy(a), labels[1], labels[0], labels[3], labels[2])
    assert torch.equal(found.cosine, swapped.cosine) and torch.equal(found.same_class, swapped.same_class)


def test_features_without_a_direction_are_nan_or_said():
    a = torch.tensor([[0.0, 0.0], [torch.nan, 1.0], [1.0, 1.0]])
    found = identity_agreement(a, torch.ones(3, 2), *[ZERO] * 4)
    assert found.cosine.isnan().tolist() == [True, True, False] and found.same_class.all()
    with pytest.raises(NotMeasurable, match='not all zero'):
        identity_agreement(torch.zeros(3, 2), torch.ones(3, 2), *[ZERO] * 4)
    with pytest.raises(NotMeasurable):
        identity_agreement(torch.zeros(0, 2), torch.zeros(0, 2), *[ZERO[:0]] * 4)
