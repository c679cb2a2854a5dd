"""Kernel distance: unbiasedness, brute force, torch-fidelity."""

import numpy as np
import pytest
import torch

from dnnlib.errors import UsageError
from metrics.kernel import KernelConfig, kernel_distance, unbiased_mmd2


def test_equals_the_sum_over_pairs():
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(5, 3)), draw.normal(size=(4, 3)) + 1

    def k(a, b):
        return (a @ b / 3 + 1) ** 3

    within_x = np.mean([k(x[i], x[j]) for i in range(5) for j in range(5) if i != j])
    within_y = np.mean([k(y[i], y[j]) for i in range(4) for j in range(4) if i != j])
    between = np.mean([k(a, b) for a in x for b in y])
    assert unbiased_mmd2(x, y) == pytest.approx(within_x + within_y - 2 * between, rel=1e-12)


@pytest.mark.parametrize('size', [5, 40])
def test_is_zero_on_average_for_equal_distributions_whatever_the_size(size):
    draw = np.random.default_rng(1)
    values = np.array([unbiased_mmd2(*draw.normal(size=(2, size, 4))) for _ in range(4000)])
    assert abs(values.mean()) < 4 * values.std() / np.sqrt(len(values))
    assert values.min() < 0 < values.max()


def test_grows_with_the_difference_and_says_how_sure_it_is():
    draw = np.random.default_rng(2)
    real = draw.normal(size=(400, 8))
    found = [kernel_distance(real, draw.normal(size=(400, 8)) + shift, KernelConfig(subsets=20, subset_size=150)) for shift in (0, 0.3, 1)]
    assert abs(found[0].value) < found[1].value < found[2].value
    assert all(0 < f.standard_error < 0.2 * max(f.value, 0.5) for f in found)
    assert kernel_distance(real, real[::-1]) == kernel_distance(real, real[::-1])


def test_too_few_images_are_refused():
    with pytest.raises(UsageError, match='at least 4'):
        kernel_distance(np.zeros((3, 2)), np.zeros((10, 2)))


def test_agrees_with_torch_fidelity():
    from torch_fidelity.metric_kid import kid_features_to_metric

    draw = np.random.default_rng(3)
    x, y = draw.normal(size=(30, 16)), draw.normal(size=(30, 16)) * 1.5
    theirs = kid_features_to_metric(torch.from_numpy(x), torch.from_numpy(y), kid_subsets=1, kid_subset_size=30, verbose=False)
    assert unbiased_mmd2(x, y) == pytest.approx(theirs['kernel_inception_distance_mean'], rel=1e-6)
