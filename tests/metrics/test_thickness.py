"""Thickness: planes and boxes computed by hand, brute force, and true scenes that are squashed."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from metrics.measurable import NotMeasurable
from metrics.thickness import object_pixels, thickness, world_points
from training.cameras.camera import Camera
from training.cameras.orbit import orbit
from training.cameras.rays import rays
from training.data.toyworld.world import Toyworld, ToyworldConfig, render_scenes

SIDE = 32
NUM_SCENES = 24


@pytest.fixture(scope='module')
def truth():
    """(distance, opacity, camera) of scenes of all classes from their own poses."""
    world = Toyworld(ToyworldConfig(seed=3))
    known = world.truth(range(NUM_SCENES), SIDE)
    camera = world.cameras(range(NUM_SCENES))
    return torch.from_numpy(known.distance), torch.from_numpy(known.alpha), camera


def cosines(camera: Camera, side: int) -> torch.Tensor:
    return (rays(camera, side).directions * camera.forwards[:, None]).sum(-1).view(len(camera), 1, side, side)


def flattened(scene, forward, factor):
    """The scene after x -> x + (factor - 1) <forward, x> forward: squashed along the view axis, about the origin."""
    inverse = np.eye(3) + (1 / factor - 1) * np.outer(forward, forward)
    local = scene.parts.local_from_world
    return replace(scene, parts=replace(scene.parts, local_from_world=np.concatenate([local[:, :, :3] @ inverse, local[:, :, 3:]], 2)))


@pytest.mark.parametrize('moved', ['scenes', 'pixels'])
def test_squashing_gives_the_known_ratios(truth, moved):
    """The scenes themselves, and the visible pixels alone, each on its ray."""
    depth, opacity, camera = truth
    world, cosine, seen = Toyworld(ToyworldConfig(seed=3)), cosines(camera, SIDE), object_pixels(depth, opacity)
    axes = camera.forwards.double().numpy()
    ratios = []
    for factor in (1.0, 0.5, 0.25, 0.04):
        if moved == 'scenes':
            known = render_scenes([flattened(world.scene(i), axes[i], factor) for i in range(NUM_SCENES)], camera, SIDE)
            ratios.append(thickness(torch.from_numpy(known.distance), torch.from_numpy(known.alpha), camera))
        else:
            ratios.append(thickness(torch.where(seen, (2.7 + factor * (depth * cosine - 2.7)) / cosine, depth), opacity, camera))
    assert [ratio.mean().item() for ratio in ratios] == pytest.approx([0.34, 0.22, 0.12, 0.02], rel=0.2)
    assert (ratios[3] < ratios[0] / 3).all()


def test_equals_the_principal_axes_of_points_projected_one_by_one(truth):
    depth, opacity, camera = truth
    found = thickness(depth, opacity, camera)
    for i in (0, 5):
        points = []
        for row in range(SIDE):
            for column in range(SIDE):
                distance = depth[i, 0, row, column].item()
                if opacity[i, 0, row, column] <= 0.9 or math.isinf(distance):
                    continue
                focal = camera.intrinsics[i, 0, 0].item()
                local = np.array([((column + 0.5) / SIDE - 0.5) / focal, ((row + 0.5) / SIDE - 0.5) / focal, 1.0])
                pose = camera.world_from_camera[i].double().numpy()
                points.append(pose[:3, :3] @ (local / np.linalg.norm(local) * distance) + pose[:3, 3])
        spread = np.linalg.svd(np.array(points) - np.mean(points, axis=0), compute_uv=False)
        assert found[i].item() == pytest.approx(spread[2] / spread[0], rel=1e-5)


def test_a_plane_is_thin_from_everywhere_and_a_known_step_is_not():
    camera = orbit(torch.tensor([0.0, 0.7], dtype=torch.float64), 0.3, 2.7, focal=1.5)
    plane = (1.0 / cosines(camera, 8)) * 2.7
    assert thickness(plane, torch.ones_like(plane), camera).amax().item() < 1e-6
    # Points of a camera so narrow that its rays are parallel: a square grid, every other column nearer by 2 h.
    focal, side, step = 1000.0, 16, 1e-4
    narrow = orbit(torch.zeros(1, dtype=torch.float64), 0.0, 2.7, focal=focal)
    columns = (2.7 + step * torch.tensor([-1.0, 1.0], dtype=torch.float64).repeat(side // 2)).expand(1, 1, side, side)
    pitch = 2.7 / focal / side
    width = pitch * math.sqrt((side**2 - 1) / 12)
    # depth and column correlate a little: the covariance is [[width^2, c], [c, step^2]]
    c = step * pitch / 2
    small, large = np.linalg.eigvalsh([[width**2, c], [c, step**2]])
    assert thickness(columns, torch.ones_like(columns), narrow).item() == pytest.approx(math.sqrt(small / large), rel=1e-3)


def test_moving_the_whole_world_changes_nothing(truth):
    depth, opacity, camera = truth
    rotation = torch.linalg.qr(torch.from_numpy(np.random.default_rng(0).normal(size=(3, 3)))).Q
    motion = torch.eye(4, dtype=torch.float64)
    motion[:3, :3], motion[:3, 3] = rotation * torch.linalg.det(rotation), torch.tensor([3.0, -1.0, 2.0])
    moved = Camera(motion @ camera.world_from_camera.double(), camera.intrinsics)
    assert torch.allclose(thickness(depth, opacity, moved), thickness(depth, opacity, camera), rtol=1e-6)


def test_only_object_pixels_with_a_depth_count(truth):
    depth, opacity, camera = truth
    expected = thickness(depth, opacity, camera)
    edges = torch.where(opacity > 0.9, depth, 40.0)
    assert torch.equal(thickness(torch.where(depth.isinf(), depth, edges), opacity, camera), expected)
    assert torch.equal(thickness(depth, torch.where(depth.isinf(), 1.0, opacity), camera), expected)


def test_what_cannot_be_measured_is_nan_or_said(truth):
    depth, opacity, camera = (part[:4] for part in truth)
    expected = thickness(depth, opacity, camera)
    few, enough = torch.zeros_like(opacity), torch.zeros_like(opacity)
    pixels = object_pixels(depth, opacity).flatten(1)
    first, fourth = pixels[0].nonzero()[:19, 0], pixels[3].nonzero()[:20, 0]
    few[0].view(-1)[first], enough[3].view(-1)[fourth] = 1, 1
    holed = depth.clone()
    holed[1, 0][object_pixels(depth, opacity)[1, 0]] = torch.nan
    found = thickness(holed, torch.cat([few[:1], opacity[1:3], enough[3:]]), camera)
    assert found.isnan().tolist() == [True, True, False, False] and found[2] == expected[2]
    with pytest.raises(NotMeasurable, match='20 object pixels'):
        thickness(depth, torch.zeros_like(opacity), camera)


def test_points_lie_at_their_distance_and_project_back(truth):
    depth, _, camera = truth
    points = world_points(torch.where(depth.isinf(), 2.0, depth), camera)
    distances = (points - camera.origins.double()[:, :, None, None]).norm(dim=1, keepdim=True)
    assert torch.allclose(distances, torch.where(depth.isinf(), 2.0, depth).double(), rtol=1e-6)
