"""Depth pictures: near bright, empty black, ranges that are told."""

import numpy as np
import pytest
import torch

from training.pictures.depth import depth_limits, depth_pictures

RAMP = torch.linspace(2.0, 3.0, 11).reshape(1, 1, 1, 11)


def test_near_is_bright_and_it_never_gets_brighter_further_away() -> None:
    row = depth_pictures(RAMP)[0, 0, :, 0].astype(int)
    assert row[0] == 255 and row[-1] == 0 and (np.diff(row) < 0).all()


def test_ranges_are_own_shared_or_given() -> None:
    depth = torch.cat([RAMP, RAMP + 1])
    own = depth_pictures(depth)
    assert np.array_equal(own[0], own[1])
    shared = depth_pictures(depth, shared_range=True)
    assert shared[0].max() == 255 and shared[1].min() == 0 and shared[0, 0, -1, 0] == shared[1, 0, 0, 0] == 128
    assert depth_pictures(RAMP, limits=(1.0, 3.0)).max() == 128, '2 is half way between 1 and 3'
    assert depth_pictures(RAMP, limits=(2.5, 2.6))[0, 0, 0, 0] == 255, 'nearer than the range is clipped'


def test_empty_rays_are_black_and_do_not_stretch_the_range() -> None:
    depth, opacity = RAMP.clone(), torch.ones_like(RAMP)
    depth[..., -1], opacity[..., -1] = 100.0, 0.0
    assert depth_limits(depth, opacity)[0].tolist() == pytest.approx([2.0, 2.9])
    row = depth_pictures(depth, opacity)[0, 0, :, 0]
    assert row[-1] == 0 and row[0] == 255 and row[-2] >= 50, 'the farthest surface still stands out from the background'
    assert torch.isfinite(depth_limits(depth, torch.zeros_like(opacity))).all()
    assert depth_pictures(depth, torch.zeros_like(opacity)).max() == 0


def test_a_flat_wall_is_a_picture_too() -> None:
    assert (depth_pictures(torch.full((1, 1, 2, 2), 2.5)) == 255).all()
