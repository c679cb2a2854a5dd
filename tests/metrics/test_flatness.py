"""Non-flatness score: cases counted by hand."""

import math

import pytest
import torch

from metrics.flatness import non_flatness

START, END = 2.0, 4.0
NEAR, FAR = torch.tensor([START]), torch.tensor([END])


def image(values):
    return torch.tensor(values, dtype=torch.float32).view(1, 1, 1, -1)


def test_one_depth_scores_one_and_an_even_spread_scores_64():
    even = START + (torch.arange(64) + 0.5) / 64 * (END - START)
    assert non_flatness(image([3.0] * 64), NEAR, FAR).item() == pytest.approx(1)
    assert non_flatness(image(even.tolist()), NEAR, FAR).item() == pytest.approx(64)


def test_a_quarter_and_three_quarters():
    entropy = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert non_flatness(image([2.1, 3.0, 3.0, 3.0]), NEAR, FAR).item() == pytest.approx(math.exp(entropy))


def test_only_object_pixels_count_when_opacity_is_given():
    depth, opacity = image([2.1, 2.5, 3.0, 4.0, 4.0, 4.0]), image([1.0, 0.9, 0.51, 0.5, 0.1, 0.0])
    assert non_flatness(depth, NEAR, FAR, opacity).item() == pytest.approx(3)
    assert non_flatness(depth, NEAR, FAR, torch.zeros_like(opacity)).item() == 1


def test_depths_outside_the_limits_count_into_the_outermost_bins():
    assert non_flatness(image([0.0, 2.01, 3.99, 4.0, 9.0, 1.0]), NEAR, FAR).item() == pytest.approx(2)


def test_squashing_a_shape_lowers_it_and_images_do_not_mix():
    ball = (1 - torch.linspace(-1, 1, 33).square()[:, None] - torch.linspace(-1, 1, 33).square()).clamp(min=0).sqrt()
    shapes = torch.stack([3 - scale * ball for scale in (1.0, 0.5, 0.25, 0.04)])[:, None]
    opacity = (ball > 0).float().expand_as(shapes)
    near, far = NEAR.expand(4), FAR.expand(4)
    scores = non_flatness(shapes, near, far, opacity)
    assert scores.tolist() == sorted(scores.tolist(), reverse=True) and scores[0] > 8 * scores[3]
    assert torch.equal(scores, torch.cat([non_flatness(shapes[i : i + 1], NEAR, FAR, opacity[i : i + 1]) for i in range(4)]))
