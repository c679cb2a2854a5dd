"""The box, the plane axes, and the way from pixels to points and back."""

import pytest
import torch

from training.cameras.orbit import orbit
from training.cameras.rays import Rays, rays
from training.rendering.box import Box
from training.rendering.planes import PLANE_AXES
from training.rendering.reproject import project, unproject


def ray(origin: tuple, direction: tuple) -> Rays:
    d = torch.tensor(direction, dtype=torch.float32)
    return Rays(torch.tensor(origin, dtype=torch.float32).view(1, 1, 3), (d / d.norm()).view(1, 1, 3))


@pytest.mark.parametrize(('origin', 'direction', 'near', 'far', 'hit'), [
    ((0, 0, 3), (0, 0, -1), 2.0, 4.0, True),
    ((0, 0, 3), (0, 0, 1), 0.0, 0.0, False),  # the box lies behind
    ((0, 0, 0), (1, 0, 0), 0.0, 1.0, True),  # from inside
    ((2, 0, 3), (0, 0, -1), 3.0, 3.0, False),  # parallel and outside: empty at the closest approach
    ((0.99, 0, 3), (0, 0, -1), 2.0, 4.0, True),  # along a face, just inside
    ((2, 0, 2), (-1, 0, -1), 2**0.5, 3 * 2**0.5, True),
    ((0, 3, 0.5), (0.0, -1, 0.0), 2.0, 4.0, True),
])
def test_box_by_hand(origin: tuple, direction: tuple, near: float, far: float, hit: bool) -> None:
    found = Box(2.0).intersect(ray(origin, direction))
    assert found[2].item() == hit
    assert found[0].item() == pytest.approx(near, abs=1e-5) and found[1].item() == pytest.approx(far, abs=1e-5)


def test_box_against_small_steps() -> None:
    seen = rays(orbit(torch.tensor([0.3, 2.0, -1.1]), torch.tensor([0.2, -0.7, 1.2]), 2.5, (0.2, 0.0, 0.1), focal=0.8), 8)
    near, far, hit = Box(1.4).intersect(seen)
    steps = torch.linspace(0, 6, 6001)
    points = seen.origins[:, :, None] + steps[:, None] * seen.directions[:, :, None]
    inside = (points.abs() < 0.7).all(-1)
    assert torch.allclose((far - near).squeeze(-1), inside.sum(-1) * 0.001, atol=2.1e-3)
    first = inside.float().argmax(-1, keepdim=True) * 0.001
    assert ((first - near).abs() < 1.1e-3)[hit & inside.any(-1, keepdim=True)].all()


def test_every_axis_is_seen_by_two_planes() -> None:
    seen = PLANE_AXES['three_planes'].abs().sum((0, 1))
    assert seen.tolist() == [2.0, 2.0, 2.0]
    pairs = {frozenset(plane.abs().argmax(-1).tolist()) for plane in PLANE_AXES['three_planes']}
    assert pairs == {frozenset({0, 1}), frozenset({0, 2}), frozenset({1, 2})}
    released = {frozenset(plane.argmax(-1).tolist()) for plane in PLANE_AXES['EG3D_2022']}
    assert frozenset({1, 2}) not in released  # the known fault of the published weights
    point = torch.tensor([0.1, 0.2, 0.3])
    assert torch.allclose(PLANE_AXES['EG3D_2022'] @ point, torch.tensor([[0.1, 0.2], [0.1, 0.3], [0.3, 0.1]]))


def test_unproject_and_project_are_inverse() -> None:
    camera = orbit(torch.tensor([0.3, -2.0]), torch.tensor([0.2, -0.7]), 2.5, focal=1.3)
    seen = rays(camera, (4, 6))
    depth = 1 + torch.rand(2, 24, 1, generator=torch.Generator().manual_seed(0))
    uv, distance = project(camera, unproject(seen, depth))
    assert torch.allclose(distance, depth, atol=1e-5)
    assert torch.allclose(uv.unflatten(1, (4, 6))[..., 0], ((torch.arange(6) + 0.5) / 6).expand(2, 4, 6), atol=1e-5)
    assert torch.allclose(uv.unflatten(1, (4, 6))[..., 1], ((torch.arange(4) + 0.5) / 4)[:, None].expand(2, 4, 6), atol=1e-5)
    behind = project(camera, camera.origins[:, None] - camera.forwards[:, None])[1]
    assert torch.allclose(behind, torch.full((2, 1, 1), -1.0))
