"""Depth accuracy: laws of least squares, numpy's own fits, normals of analytic surfaces, true scenes squashed, inverted and tilted."""

import math

import numpy as np
import pytest
import torch

from metrics.depth_accuracy import depth_accuracy, normals
from metrics.measurable import NotMeasurable
from metrics.thickness import object_pixels
from training.cameras.orbit import orbit
from training.cameras.rays import rays
from training.data.toyworld.world import Toyworld, ToyworldConfig

SIDE = 32
NUM_SCENES = 12


@pytest.fixture(scope='module')
def truth():
    """(distance, object pixels, camera) of scenes of all classes from their own poses."""
    world = Toyworld(ToyworldConfig(seed=4))
    known = world.truth(range(NUM_SCENES), SIDE)
    camera = world.cameras(range(NUM_SCENES))
    depth = torch.from_numpy(known.distance)
    return depth, object_pixels(depth, torch.from_numpy(known.alpha)), camera


def cosines(camera, side):
    camera = camera.to(torch.float64)
    return (rays(camera, side).directions * camera.forwards[:, None]).sum(-1).view(len(camera), 1, side, side)


def along_axis(depth, camera, change):
    """Distances after `change` of the depth along the view axis."""
    cosine = cosines(camera, depth.shape[-1])
    return change(depth * cosine) / cosine


def test_truth_is_right(truth):
    depth, mask, camera = truth
    found = depth_accuracy(depth, depth, mask, camera)
    for value, expected in ((found.correlation, 1), (found.scale, 1), (found.std_ratio, 1), (found.residual, 0)):
        assert torch.allclose(value, torch.full_like(value, expected), atol=1e-9)
    assert found.normals_deg.isfinite().sum() >= NUM_SCENES - 2 and found.normals_deg[found.normals_deg.isfinite()].amax() < 1e-3


@pytest.mark.parametrize('factor', [0.5, 0.25, 0.04, -1.0])
def test_the_fitted_scale_is_the_relief_and_the_alignment_does_not_see_it(truth, factor):
    depth, mask, camera = truth
    found = depth_accuracy(along_axis(depth, camera, lambda z: 2.7 + factor * (z - 2.7) + 0.3), depth, mask, camera)
    assert torch.allclose(found.scale, torch.full_like(found.scale, factor), rtol=1e-6)
    assert torch.allclose(found.std_ratio, torch.full_like(found.scale, abs(factor)), rtol=1e-6)
    assert torch.allclose(found.correlation, torch.full_like(found.scale, math.copysign(1, factor)), rtol=1e-9)
    assert found.residual.amax() < 1e-6
    known = found.normals_deg.isfinite()
    assert (found.normals_deg[known] > 4).all()


def test_equals_numpy_image_by_image(truth):
    true, mask, camera = truth
    draw = np.random.default_rng(0)
    depth = true + torch.from_numpy(draw.normal(size=true.shape)).float() * 0.1
    found = depth_accuracy(depth, true, mask, camera)
    for i in range(NUM_SCENES):
        cosine = cosines(camera[i], SIDE)[0][mask[i]].numpy()
        d, t = depth[i][mask[i]].numpy() * cosine, true[i][mask[i]].numpy() * cosine
        scale, _ = np.polyfit(t, d, 1)
        aligned = np.polyval(np.polyfit(d, t, 1), d)
        assert found.correlation[i].item() == pytest.approx(np.corrcoef(d, t)[0, 1], rel=1e-6)
        assert found.scale[i].item() == pytest.approx(scale, rel=1e-6)
        assert found.std_ratio[i].item() == pytest.approx(d.std() / t.std(), rel=1e-6)
        assert found.residual[i].item() == pytest.approx(np.mean(np.abs(aligned - t) / t), rel=1e-6)
    assert torch.allclose(found.scale, found.correlation * found.std_ratio)


def test_a_constant_depth_explains_nothing(truth):
    depth, mask, camera = truth
    found = depth_accuracy(along_axis(depth, camera, lambda z: torch.full_like(z, 2.6)).float(), depth, mask, camera)
    assert not found.correlation.any() and found.scale.abs().amax() < 1e-5 and found.std_ratio.amax() < 1e-5
    z = depth * cosines(camera, SIDE)
    expected = [((row - row.mean()).abs() / row).mean().item() for row in (z[i][mask[i]] for i in range(NUM_SCENES))]
    assert found.residual.tolist() == pytest.approx(expected, rel=1e-5)


def test_normals_of_a_plane_and_of_a_ball():
    camera = orbit(torch.tensor([0.4, -1.0], dtype=torch.float64), 0.2, 2.7, focal=1.5)
    lines, side = rays(camera, 24), 24
    facing = torch.nn.functional.normalize(torch.tensor([0.1, 0.3, 1.0], dtype=torch.float64), dim=0)
    camera, lines_plane = camera[:1], rays(camera[:1], side)
    plane = (0.2 - lines_plane.origins @ facing) / (lines_plane.directions @ facing)
    found, inner = normals(plane.view(1, 1, side, side), torch.ones(1, 1, side, side, dtype=torch.bool), camera)
    assert inner.sum() == (side - 2) ** 2 and (found[0][:, inner[0, 0]] - facing[:, None]).abs().amax() < 1e-9
    middle = (lines.origins * lines.directions).sum(-1)
    under = middle.square() - lines.origins.square().sum(-1) + 0.25
    ball = (-middle[:1] - under[:1].clamp(min=0).sqrt()).view(1, 1, side, side)
    found, inner = normals(ball, (under[:1] > 0.05).view(1, 1, side, side), camera)
    points = (lines.origins + lines.directions * ball.view(1, -1, 1))[0].T.view(3, side, side) / 0.5
    angles = torch.rad2deg((found[0] * points).sum(0)[inner[0, 0]].clamp(-1, 1).acos())
    assert inner.sum() > 40 and angles.amax() < 6 and angles.median() < 1.5


def test_normals_agree_with_the_exact_ones_of_true_scenes():
    world = Toyworld(ToyworldConfig(seed=4))
    known = world.truth(range(6), 64)
    camera = world.cameras(range(6))
    depth = torch.from_numpy(known.distance)
    found, inner = normals(depth, object_pixels(depth, torch.from_numpy(known.alpha)), camera)
    angles = torch.rad2deg((found * torch.from_numpy(known.normals)).sum(1, keepdim=True)[inner].clamp(-1, 1).acos())
    assert angles.median() < 2


def test_a_turned_plane_has_the_angle_of_its_turn():
    camera = orbit(torch.zeros(1, dtype=torch.float64), 0.0, 2.7, focal=1.5)
    lines = rays(camera, 16)
    depths = []
    for degrees in (10.0, 35.0):
        facing = torch.tensor([math.sin(math.radians(degrees)), 0.0, math.cos(math.radians(degrees))], dtype=torch.float64)
        depths.append((-(lines.origins @ facing) / (lines.directions @ facing)).view(1, 1, 16, 16))
    found = depth_accuracy(depths[1], depths[0], torch.ones(1, 1, 16, 16, dtype=torch.bool), camera)
    assert found.normals_deg.item() == pytest.approx(25, abs=1e-6)


def test_a_normal_needs_four_neighbours_on_the_object():
    mask = torch.ones(1, 1, 7, 7, dtype=torch.bool)
    mask[0, 0, 3, 3] = False
    _, inner = normals(torch.full((1, 1, 7, 7), 2.0), mask, orbit(0.0, 0.0, 2.7, focal=1.5))
    expected = torch.zeros(7, 7, dtype=torch.bool)
    expected[1:6, 1:6] = True
    for row, column in ((3, 3), (2, 3), (4, 3), (3, 2), (3, 4)):
        expected[row, column] = False
    assert torch.equal(inner[0, 0], expected)


def test_pixels_outside_the_mask_or_without_a_hit_do_not_count(truth):
    depth, mask, camera = truth
    generated = along_axis(depth, camera, lambda z: 2.7 + 0.5 * (z - 2.7))
    expected = depth_accuracy(generated, depth, mask, camera)
    spoilt = depth_accuracy(torch.where(mask, generated, 77.0), depth, mask | depth.isinf(), camera)
    assert torch.equal(spoilt.scale, expected.scale)
    assert torch.equal(spoilt.normals_deg.isnan(), expected.normals_deg.isnan())


def test_what_cannot_be_measured_is_nan_or_said(truth):
    depth, mask, camera = (part[:3] for part in truth)
    few = mask.clone()
    few[0].view(-1)[few[0].flatten().nonzero()[19:, 0]] = False
    holed = depth.clone()
    holed[1][mask[1]] = torch.where(torch.arange(int(mask[1].sum())) == 0, torch.nan, holed[1][mask[1]])
    found = depth_accuracy(holed, depth, few, camera)
    for value in (found.correlation, found.residual, found.scale, found.std_ratio, found.normals_deg):
        assert value.isnan().tolist() == [True, True, False]
    with pytest.raises(NotMeasurable, match='20 object pixels'):
        depth_accuracy(depth, depth, torch.zeros_like(mask), camera)
    flat = along_axis(depth, camera, lambda z: torch.full_like(z, 2.6)).float()
    with pytest.raises(NotMeasurable, match='varies'):
        depth_accuracy(depth, flat, mask, camera)
