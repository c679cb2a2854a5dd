"""Reprojection: true views against wrong ones, brute force pixel by pixel, and the flat scenes that it prefers to solid ones."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from metrics.measurable import NotMeasurable
from metrics.reprojection import bilinear, nearest, pixel_centres, reprojection
from metrics.subject import Views
from training.cameras.orbit import angles_of, orbit
from training.data.toyworld.world import Toyworld, ToyworldConfig, render_scenes

SIDE = 32
NUM_SCENES = 12


def looked_at(scenes, camera, side=SIDE):
    truth = render_scenes(scenes, camera, side)
    image = torch.from_numpy(truth.image).float() / 127.5 - 1
    return Views(image, torch.from_numpy(truth.distance), torch.from_numpy(truth.alpha), camera)


@pytest.fixture(scope='module')
def world():
    """(scenes, their views, views from 25 degrees aside)."""
    toyworld = Toyworld(ToyworldConfig(classes=('car', 'head', 'house'), seed=6))
    scenes = [toyworld.scene(i) for i in range(NUM_SCENES)]
    camera = toyworld.cameras(range(NUM_SCENES))
    yaw, pitch, radius = angles_of(camera)
    aside = orbit(yaw + math.radians(25), pitch, radius, focal=camera.intrinsics[:, 0, 0])
    return scenes, looked_at(scenes, camera), looked_at(scenes, aside)


def test_true_views_agree_and_wrong_cameras_do_not(world):
    _, first, second = world
    right = reprojection(first, second)
    assert 3 < right.l1.mean() < 14 and right.coverage.mean() > 0.75
    ignored = reprojection(first, replace(first, camera=second.camera))
    assert ignored.l1.mean() > 1.4 * right.l1.mean() and ignored.coverage.mean() < right.coverage.mean() - 0.2
    strangers = replace(second, **{name: getattr(second, name).roll(3, 0) for name in ('image', 'depth', 'opacity')})
    assert reprojection(first, strangers).l1.nanmean() > 3 * right.l1.mean()


def test_finer_true_views_agree_better(world):
    scenes, first, second = world
    fine = reprojection(*(looked_at(scenes[:4], views.camera[[0, 1, 2, 3]], 96) for views in (first, second)))
    coarse = reprojection(first, second)
    assert (fine.l1 < coarse.l1[:4]).all() and fine.coverage.mean() > coarse.coverage[:4].mean()


def test_a_view_agrees_with_itself(world):
    _, first, _ = world
    found = reprojection(first, first)
    assert found.l1.amax() < 1e-2 and found.coverage.amin() == 1


def flattened(scene, forward, factor):
    """The scene after x -> x + (factor - 1) <forward, x> forward: squashed along the view axis, about the origin."""
    inverse = np.eye(3) + (1 / factor - 1) * np.outer(forward, forward)
    local = scene.parts.local_from_world
    return replace(scene, parts=replace(scene.parts, local_from_world=np.concatenate([local[:, :, :3] @ inverse, local[:, :, 3:]], 2)))


def test_it_rewards_flat_geometry(world):
    scenes, first, second = world
    scores = []
    for factor in (1.0, 0.25, 0.04):
        cards = [flattened(scene, axis, factor) for scene, axis in zip(scenes, first.camera.forwards.double().numpy(), strict=True)]
        scores.append(reprojection(looked_at(cards, first.camera), looked_at(cards, second.camera)))
    assert scores[2].l1.mean() < scores[0].l1.mean() - 0.3
    coverage = [score.coverage.mean() for score in scores]
    assert coverage == sorted(coverage)


@pytest.mark.parametrize('image_side', [SIDE, 20])
def test_equals_brute_force(world, image_side):
    scenes, first, second = world
    if image_side != SIDE:
        first, second = (replace(v, image=looked_at(scenes, v.camera, image_side).image) for v in (first, second))
    found = reprojection(first, second)
    for i in range(3):
        counts, errors = [0, 0], []
        for row in range(SIDE):
            for column in range(SIDE):
                if first.opacity[i, 0, row, column] <= 0.9 or first.depth[i, 0, row, column].isinf():
                    continue
                counts[0] += 1
                u, v, far = seen_from(first, second, i, row, column)
                if not (0 <= u < 1 and 0 <= v < 1):
                    continue
                at = (i, 0, int(v * SIDE), int(u * SIDE))
                if second.opacity[at] <= 0.9 or abs(far - second.depth[at].item()) >= 0.08:
                    continue
                counts[1] += 1
                own = mixed(first.image[i].double().numpy(), (column + 0.5) / SIDE, (row + 0.5) / SIDE)
                errors.append(np.abs(own - mixed(second.image[i].double().numpy(), u, v)).mean() * 127.5)
        assert found.coverage[i].item() == pytest.approx(counts[1] / counts[0], abs=1e-12)
        assert found.l1[i].item() == pytest.approx(np.mean(errors), rel=1e-6)


def seen_from(first, second, i, row, column):
    """(u, v, distance) in the second view of one pixel of the first."""
    k, pose = (m[i].double().numpy() for m in (first.camera.intrinsics, first.camera.world_from_camera))
    local = np.linalg.inv(k) @ [(column + 0.5) / SIDE, (row + 0.5) / SIDE, 1.0]
    point = pose @ [*(local / np.linalg.norm(local) * first.depth[i, 0, row, column].item()), 1.0]
    k, pose = (m[i].double().numpy() for m in (second.camera.intrinsics, second.camera.world_from_camera))
    local = pose[:3, :3].T @ (point[:3] - pose[:3, 3])
    u, v, _ = k @ (local / local[2])
    return u, v, np.linalg.norm(local)


def mixed(image, u, v):
    """Bilinear colour [3] of image [3, S, S]."""
    side = image.shape[-1]
    x, y = (min(max(w * side - 0.5, 0), side - 1) for w in (u, v))
    left, top = min(int(x), side - 2), min(int(y), side - 2)
    a, b = x - left, y - top
    upper = image[:, top, left] * (1 - a) + image[:, top, left + 1] * a
    return upper * (1 - b) + (image[:, top + 1, left] * (1 - a) + image[:, top + 1, left + 1] * a) * b


def test_the_tolerance_and_the_frame_bound_coverage():
    camera = orbit(torch.zeros(1, dtype=torch.float64), 0.0, 2.7, focal=1.5)
    wall = Views(torch.zeros(1, 3, 8, 8), torch.full((1, 1, 8, 8), 2.7), torch.ones(1, 1, 8, 8), camera)
    assert reprojection(wall, replace(wall, depth=wall.depth + 0.079)).coverage.item() == 1
    assert reprojection(wall, replace(wall, depth=wall.depth - 0.081)).coverage.item() == 0
    half = replace(wall, opacity=wall.opacity * (torch.arange(8) < 4), image=wall.image + 0.5)
    found = reprojection(wall, half)
    assert found.coverage.item() == 0.5 and found.l1.item() == pytest.approx(0.5 * 127.5)
    behind = orbit(torch.full((1,), math.pi, dtype=torch.float64), 0.0, 2.7, target=(0.0, 0.0, 10.0), focal=1.5)
    assert reprojection(wall, replace(wall, camera=behind)).coverage.item() == 0


def test_what_cannot_be_measured_is_nan_or_said(world):
    _, first, second = world
    empty = replace(first, opacity=torch.where(torch.arange(NUM_SCENES)[:, None, None, None] == 0, 0.0, first.opacity))
    found = reprojection(empty, second)
    assert found.l1.isnan().nonzero().flatten().tolist() == found.coverage.isnan().nonzero().flatten().tolist() == [0]
    gone = reprojection(first, replace(second, opacity=torch.zeros_like(second.opacity)))
    assert gone.l1.isnan().all() and not gone.coverage.any()
    assert not reprojection(replace(first, depth=torch.full_like(first.depth, torch.nan)), second).coverage.any()
    with pytest.raises(NotMeasurable, match='the second lacks'):
        reprojection(first, replace(second, depth=None))
    with pytest.raises(NotMeasurable, match='20 object pixels'):
        reprojection(replace(first, opacity=torch.zeros_like(first.opacity)), second)


def test_lookups_find_their_own_pixels():
    values = torch.arange(2 * 3 * 5 * 7, dtype=torch.float64).view(2, 3, 5, 7)
    uv = pixel_centres(values[:, :1])
    assert torch.equal(nearest(values, uv), values.flatten(2).mT) and torch.allclose(bilinear(values, uv), values.flatten(2).mT)
    corner = torch.tensor([[[math.nextafter(1.0, 0.0), math.nextafter(1.0, 0.0)], [torch.nan, 0.5]]], dtype=torch.float64)
    assert nearest(values[:1], corner)[0, 0].tolist() == values[0, :, -1, -1].tolist()
