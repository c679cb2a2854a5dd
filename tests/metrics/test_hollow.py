"""Hollow shapes: true, squashed, flat, inverted and noisy depth of true scenes."""

import numpy as np
import pytest
import torch

from metrics.hollow import hollow
from metrics.measurable import NotMeasurable
from metrics.thickness import object_pixels
from training.cameras.orbit import orbit
from training.cameras.rays import rays
from training.data.toyworld.world import Toyworld, ToyworldConfig

NUM_SCENES = 12


@pytest.fixture(scope='module')
def truth():
    """(distance, object pixels, camera, mean distance of each object)."""
    world = Toyworld(ToyworldConfig(seed=5))
    known = world.truth(range(NUM_SCENES), 32)
    camera = world.cameras(range(NUM_SCENES))
    depth = torch.from_numpy(known.distance)
    mask = object_pixels(depth, torch.from_numpy(known.alpha))
    middle = torch.stack([row[where].mean() for row, where in zip(depth, mask, strict=True)])[:, None, None, None]
    return depth, mask, camera, middle


def known(values):
    return values[values.isfinite()]


def test_truth_agrees_with_itself(truth):
    depth, mask, camera, _ = truth
    found = hollow(depth, depth, mask, camera)
    assert found.share == 0 and known(found.agreement).amin() > 1 - 1e-9 and found.correlation.amin() > 1 - 1e-9
    assert len(known(found.agreement)) >= NUM_SCENES - 2


def test_inverted_relief_is_hollow(truth):
    depth, mask, camera, middle = truth
    found = hollow(2 * middle - depth, depth, mask, camera)
    assert found.share == 1 and known(found.agreement).amax() < -0.8 and found.correlation.amax() < -0.8


def test_flatter_relief_agrees_less_and_none_at_all_gives_zero(truth):
    depth, mask, camera, middle = truth
    values = [known(hollow(middle + factor * (depth - middle), depth, mask, camera).agreement).mean() for factor in (1, 0.5, 0.25, 0.04, 0)]
    assert values == sorted(values, reverse=True) and 0.3 < values[2] < 0.6 and values[3] < 0.15 and abs(values[4]) < 1e-3


def test_a_frontal_card_is_not_hollow(truth):
    depth, mask, camera, _ = truth
    cosine = (rays(camera, 32).directions * camera.forwards[:, None]).sum(-1).view_as(depth)
    found = hollow(2.7 / cosine, depth, mask, camera)
    assert not found.correlation.any() and found.share == 0 and known(found.agreement).abs().amax() < 0.25


def test_noise_neither_agrees_nor_disagrees(truth):
    depth, mask, camera, middle = truth
    noise = torch.from_numpy(np.random.default_rng(0).normal(size=depth.shape)).float()
    found = hollow(middle + 0.2 * noise, depth, mask, camera)
    assert known(found.agreement).abs().mean() < 0.1 and 0 < found.share < 1


def test_share_counts_the_hollow_ones(truth):
    depth, mask, camera, middle = truth
    mixed = torch.cat([(2 * middle - depth)[:3], depth[3:]])
    assert hollow(mixed, depth, mask, camera).share == 3 / NUM_SCENES
    blank = mask.clone()
    blank[:2] = False
    assert hollow(mixed, depth, blank, camera).share == 1 / (NUM_SCENES - 2)


def test_a_dent_in_a_wall_against_a_bump_by_hand():
    camera = orbit(torch.zeros(1, dtype=torch.float64), 0.0, 2.7, focal=1.5)
    slope = 0.3 * torch.linspace(-1, 1, 15, dtype=torch.float64).abs().expand(1, 1, 15, 15)  # a roof
    mask = torch.ones(1, 1, 15, 15, dtype=torch.bool)
    bump, dent = 2.7 + slope, 2.7 - slope
    assert hollow(bump, bump, mask, camera).agreement.item() == pytest.approx(1)
    found = hollow(dent, bump, mask, camera)
    assert found.agreement.item() < -0.9 and hollow(bump, dent, mask, camera).agreement.item() == pytest.approx(found.agreement.item())


def test_what_cannot_be_measured_is_nan_or_said(truth):
    depth, mask, camera, _ = (part[:3] for part in truth)
    few = mask.clone()
    few[0].view(-1)[few[0].flatten().nonzero()[19:, 0]] = False
    found = hollow(torch.where(torch.arange(3)[:, None, None, None] == 1, torch.nan, depth), depth, few, camera)
    assert found.correlation.isnan().tolist() == found.agreement.isnan().tolist() == [True, True, False] and found.share == 0
    scattered = mask & (torch.arange(32) % 2 == 0)  # no pixel has its neighbours
    found = hollow(depth, depth, scattered, camera)
    assert found.correlation.isfinite().all() and found.agreement.isnan().all()
    with pytest.raises(NotMeasurable, match='20 object pixels'):
        hollow(depth, depth, torch.zeros_like(mask), camera)
