"""Pairs of views: cameras that turn exactly, commands that do not depend on how they are asked for, known answers."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from metrics.measurable import NotMeasurable
from metrics.reprojection import reprojection
from metrics.response_pairs import joined, response_deg, turned, turned_pairs, wrapped_deg
from metrics.subject import Subject, Views
from training.cameras.camera import Camera
from training.cameras.orbit import angles_of, orbit
from training.data.toyworld.world import Toyworld, ToyworldConfig, render_scenes

SIDE = 24
WORLD = Toyworld(ToyworldConfig(classes=('car',), seed=9))


def render(start, count, camera):
    truth = render_scenes([WORLD.scene(i) for i in range(start, start + count)], camera, SIDE)
    image = torch.from_numpy(truth.image).float() / 127.5 - 1
    return Views(image, torch.from_numpy(truth.distance), torch.from_numpy(truth.alpha), camera, torch.arange(start, start + count))


def sample(start, count):
    return render(start, count, WORLD.cameras(range(start, start + count)))


def labelled(start, count, camera):
    """No picture, but one whose first value is the azimuth: what a perfect oracle would read."""
    return Views(angles_of(camera)[0][:, None, None, None].expand(-1, 3, 2, 2), camera=camera)


def read_response(pairs):
    return response_deg(pairs.first.image[:, 0, 0, 0], pairs.second.image[:, 0, 0, 0])


def labelled_sample(start, count):
    return labelled(start, count, WORLD.cameras(range(start, start + count)))


LABELLED = Subject('labelled', labelled_sample, labelled)
TRUE = Subject('true', sample, render)


def test_turning_increases_the_yaw_and_leaves_the_rest():
    yaw, pitch = torch.tensor([0.0, 1.0, -3.0, 2.9]).double(), torch.tensor([0.0, 0.5, -0.2, 1.5]).double()
    camera, angle = orbit(yaw, pitch, 2.7, focal=1.5), torch.tensor([12.0, -40.0, 25.0, 90.0])
    moved_yaw, moved_pitch, radius = angles_of(turned(camera, angle))
    assert wrapped_deg(torch.rad2deg(moved_yaw - yaw) - angle).abs().amax() < 1e-9
    assert torch.allclose(moved_pitch, pitch) and torch.allclose(radius, torch.full_like(radius, 2.7))
    expected = orbit(yaw + torch.deg2rad(angle), pitch, 2.7, focal=1.5)
    assert torch.allclose(turned(camera, angle).world_from_camera, expected.world_from_camera, atol=1e-7)


def test_turning_is_a_group_exact_for_any_camera():
    draw = np.random.default_rng(0)
    rotation = torch.linalg.qr(torch.from_numpy(draw.normal(size=(5, 3, 3)))).Q  # rolled, looking anywhere
    pose = torch.eye(4).double().repeat(5, 1, 1)
    pose[:, :3, :3], pose[:, :3, 3] = rotation * torch.linalg.det(rotation)[:, None, None], torch.from_numpy(draw.normal(size=(5, 3)))
    camera = Camera(pose, torch.eye(3).double().repeat(5, 1, 1))
    assert torch.equal(turned(camera, 0.0).world_from_camera, pose)
    assert torch.allclose(turned(turned(camera, 25.0), 15.0).world_from_camera, turned(camera, 40.0).world_from_camera, atol=1e-14)
    assert torch.allclose(turned(camera, 360.0).world_from_camera, pose, atol=1e-14)
    back = turned(camera, 33.0)
    relative = torch.linalg.inv(pose) @ torch.tensor([0.0, 0.3, 0.0, 1.0]).double()  # the axis itself is seen from everywhere alike
    assert torch.allclose(torch.linalg.inv(back.world_from_camera) @ torch.tensor([0.0, 0.3, 0.0, 1.0]).double(), relative)
    assert torch.equal(back.intrinsics, camera.intrinsics)
    assert turned(camera.to(torch.float32), 5.0).world_from_camera.dtype == torch.float32


def test_a_perfect_oracle_answers_with_the_command():
    pairs = turned_pairs(LABELLED, 13)
    assert pairs.commanded_deg.tolist() == [12, -12, 25, -25, 40, -40, 12, -12, 25, -25, 40, -40, 12] and len(pairs) == 13
    assert torch.allclose(read_response(pairs), pairs.commanded_deg, atol=1e-3)


def test_responses_wrap_at_the_back():
    def at_the_back(start, count):
        return labelled(start, count, orbit(torch.full((count,), math.radians(175)), 0.2, 2.7, focal=1.5))

    pairs = turned_pairs(Subject('back', at_the_back, labelled), 6)
    assert torch.allclose(read_response(pairs), pairs.commanded_deg, atol=1e-3)
    assert wrapped_deg(torch.tensor([180.0, -180.0, 190.0, -350.0])).tolist() == [-180, -180, -170, 10]


def test_an_ignored_camera_does_not_answer():
    pairs = turned_pairs(Subject('deaf', labelled_sample, lambda start, count, _: labelled_sample(start, count)), 6)
    assert not read_response(pairs).any()


def test_pairs_do_not_depend_on_batch_start_or_count():
    whole = turned_pairs(TRUE, 8, batch=8)
    pieces = turned_pairs(TRUE, 5, start=3, batch=2)
    assert torch.equal(whole.commanded_deg[3:], pieces.commanded_deg)
    for ours, theirs in ((whole.first, pieces.first), (whole.second, pieces.second)):
        assert torch.equal(ours.image[3:], theirs.image) and torch.equal(ours.depth[3:], theirs.depth)
        assert torch.equal(ours.opacity[3:], theirs.opacity) and torch.equal(ours.classes[3:], theirs.classes)
        assert torch.equal(ours.camera.world_from_camera[3:], theirs.camera.world_from_camera)


def test_both_views_of_true_scenes_are_kept_with_their_cameras():
    def silent(start, count, camera):
        return replace(render(start, count, camera), camera=None)

    pairs = turned_pairs(Subject('silent', sample, silent), 6, batch=4)
    yaw, turned_yaw = (torch.rad2deg(angles_of(views.camera)[0]) for views in (pairs.first, pairs.second))
    assert torch.allclose(wrapped_deg(turned_yaw - yaw).double(), pairs.commanded_deg, atol=1e-3)
    assert reprojection(pairs.first, pairs.second).coverage.mean() > 0.75


def test_a_field_that_a_part_lacks_is_missing_in_the_whole():
    part = sample(0, 2)
    whole = joined([part, replace(part, depth=None, camera=None)])
    assert whole.depth is None and whole.camera is None and len(whole.opacity) == len(whole) == 4


def test_what_cannot_be_measured_is_said():
    with pytest.raises(NotMeasurable, match='pictures only'):
        turned_pairs(Subject('pictures', sample), 3)
    with pytest.raises(NotMeasurable, match='have none'):
        turned_pairs(Subject('nowhere', lambda start, count: replace(labelled_sample(start, count), camera=None), labelled), 3)
    with pytest.raises(NotMeasurable, match='one pair'):
        turned_pairs(LABELLED, 0)
