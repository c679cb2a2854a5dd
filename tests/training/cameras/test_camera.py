"""The camera type: group axioms of its matrices, rows, mirror, and the errors of `checked`."""

import math

import pytest
import torch

from dnnlib.errors import DataError
from training.cameras.camera import Camera
from training.cameras.orbit import angles_of, look_at, orbit
from training.cameras.rays import rays


def rolled(camera: Camera, roll_rad: float) -> Camera:
    c, s = math.cos(roll_rad), math.sin(roll_rad)
    roll = torch.tensor([[c, -s, 0.0, 0.0], [s, c, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    return Camera(camera.world_from_camera @ roll, camera.intrinsics)


def some_cameras() -> Camera:
    yaw, pitch = torch.tensor([0.0, 0.7, -2.5, 3.0]), torch.tensor([0.0, 0.4, -1.2, 1.5])
    camera = rolled(orbit(yaw, pitch, 2.7, (0.1, -0.2, 0.3), focal=torch.tensor([1.5, 1.0, 4.2, 2.0])), 0.6)
    k = camera.intrinsics.clone()
    k[:, 0, 1], k[:, 0, 2], k[:, 1, 2] = 0.07, 0.43, 0.56
    return Camera(camera.world_from_camera, k)


def test_poses_are_rigid_and_compose() -> None:
    pose = some_cameras().world_from_camera.double()
    rotation = pose[:, :3, :3]
    assert torch.allclose(rotation.mT @ rotation, torch.eye(3, dtype=torch.float64), atol=1e-6)
    assert torch.allclose(torch.linalg.det(rotation), torch.ones(4, dtype=torch.float64), atol=1e-6)
    a, b, c = pose[0], pose[1], pose[2]
    assert torch.allclose((a @ b) @ c, a @ (b @ c))
    assert torch.allclose(a @ torch.linalg.inv(a), torch.eye(4, dtype=torch.float64), atol=1e-6)


def test_orbit_stands_where_it_says_and_looks_at_the_target() -> None:
    front = orbit(0.0, 0.0, 2.0, focal=1.0)
    assert front.origins.tolist() == [[0.0, 0.0, 2.0]] and front.forwards.tolist() == [[0.0, 0.0, -1.0]]
    assert front.world_from_camera[0, :3, 0].tolist() == [1.0, 0.0, 0.0] and front.world_from_camera[0, :3, 1].tolist() == [0.0, -1.0, 0.0]
    right_side_and_above = orbit(math.pi / 2, 0.1, 2.0, focal=1.0).origins[0]
    assert right_side_and_above[0] > 1.9 and right_side_and_above[1] > 0.1
    yaw, pitch = torch.linspace(-3, 3, 7), torch.linspace(-1.4, 1.4, 7)
    camera = orbit(yaw, pitch, 1.7, (0.1, 0.2, -0.3), focal=1.2).checked()
    back = angles_of(camera, (0.1, 0.2, -0.3))
    for found, true in zip(back, (yaw, pitch, torch.full((7,), 1.7)), strict=True):
        assert torch.allclose(found, true, atol=1e-6)
    assert torch.allclose(camera.world_from_camera, torch.cat([orbit(float(y), float(p), 1.7, (0.1, 0.2, -0.3), focal=1.2).world_from_camera
                                                               for y, p in zip(yaw, pitch, strict=True)]), atol=1e-6)
    assert torch.allclose(look_at(camera.origins, torch.tensor([0.1, 0.2, -0.3])), camera.world_from_camera, atol=1e-6)


@pytest.mark.parametrize('pitch', [math.pi / 2, -math.pi / 2])
def test_the_poles_are_finite_with_finite_gradients(pitch: float) -> None:
    yaw, tilt = torch.tensor([0.3], requires_grad=True), torch.tensor([pitch], requires_grad=True)
    pole = orbit(yaw, tilt, 2.0, focal=1.0).checked()
    pole.world_from_camera.sum().backward()
    assert yaw.grad.isfinite().all() and tilt.grad.isfinite().all()
    origins = torch.tensor([[0.0, 2.0, 0.0], [0.0, -2.0, 0.0], [0.0, 0.0, 2.0]], requires_grad=True)
    pose = look_at(origins, torch.zeros(3))
    Camera(pose, pole.intrinsics.expand(3, 3, 3)).checked()
    pose.sum().backward()
    assert origins.grad.isfinite().all()


def test_gradients_reach_yaw_and_pitch() -> None:
    yaw, pitch = torch.tensor([0.3, -0.2], dtype=torch.float64, requires_grad=True), torch.tensor([0.1, 0.5], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda y, p: rays(orbit(y, p, 2.7, focal=1.5), 2).directions, (yaw, pitch))


def test_rows() -> None:
    camera = some_cameras()
    assert len(camera) == 4 and len(camera[1]) == 1 and len(camera[-1]) == 1 and len(camera[1:3]) == 2 and len(camera[[0, 3]]) == 2
    assert torch.equal(camera[-1].origins, camera.origins[3:])
    assert torch.equal(camera[torch.tensor([True, False, True, False])].origins, camera.origins[::2])
    assert torch.equal(camera.repeat_interleave(2).origins, camera.origins.repeat_interleave(2, 0))
    assert torch.equal(Camera.cat([camera[:1], camera[1:]]).intrinsics, camera.intrinsics)
    assert camera.to(torch.float64).intrinsics.dtype == torch.float64
    with pytest.raises(IndexError):
        camera[4]
    with pytest.raises(DataError, match=r'\[4, 4\]'):
        Camera(torch.eye(4), torch.eye(3))


def test_mirrored_twice_is_the_same_camera() -> None:
    camera = some_cameras()
    again = camera.mirrored().checked().mirrored()
    assert torch.equal(again.world_from_camera, camera.world_from_camera)
    assert torch.allclose(again.intrinsics, camera.intrinsics, atol=1e-7)


def test_mirrored_rays_are_the_mirrored_rays_in_the_mirrored_columns() -> None:
    """Roll, skew and an off-centre principal point included."""
    camera = some_cameras()
    flip = torch.tensor([-1.0, 1.0, 1.0])
    seen, mirrored = rays(camera, (3, 5)), rays(camera.mirrored(), (3, 5))
    columns_flipped = seen.directions.unflatten(1, (3, 5)).flip(2).flatten(1, 2)
    assert torch.allclose(mirrored.directions, columns_flipped * flip, atol=1e-6)
    assert torch.allclose(mirrored.origins, seen.origins * flip)


def test_mirroring_an_orbit_negates_the_yaw() -> None:
    yaw, pitch = torch.tensor([0.4, -2.0]), torch.tensor([0.3, -0.1])
    assert torch.allclose(orbit(yaw, pitch, 2.0, focal=1.0).mirrored().world_from_camera, orbit(-yaw, pitch, 2.0, focal=1.0).world_from_camera, atol=1e-6)


def test_where_takes_each_row_from_the_one_or_the_other() -> None:
    camera, other = some_cameras(), some_cameras().mirrored()
    mixed = Camera.where(torch.tensor([True, False, False, True]), other, camera)
    for row, source in enumerate((other, camera, camera, other)):
        assert torch.equal(mixed.world_from_camera[row], source.world_from_camera[row])
        assert torch.equal(mixed.intrinsics[row], source.intrinsics[row])


def damaged(what: str) -> Camera:
    camera = some_cameras()
    pose, k = camera.world_from_camera.clone(), camera.intrinsics.clone()
    if what == 'NaN':
        pose[2, 0, 3] = math.nan
    elif what == 'transposed':
        pose[2] = pose[2].T.clone()
    elif what == 'orthonormal':
        pose[2, :3, :3] *= 1.1
    elif what == 'determinant':
        pose[2, :3, 0] *= -1
    elif what == 'pixels':
        k[2, :2] *= 512
    elif what == 'focal length is below':
        k[2, 0, 0] = -1.0
    elif what == 'principal point':
        k[2, 0, 2] = 3.0
    else:
        k[2] = k[2].T.clone()
    return Camera(pose, k)


@pytest.mark.parametrize('what', ['NaN', 'transposed', 'orthonormal', 'determinant', 'pixels', 'focal length is below', 'principal point', 'intrinsics are'])
def test_checked_names_the_row_and_the_problem(what: str) -> None:
    with pytest.raises(DataError, match=what) as error:
        damaged(what).checked(['a.png', 'b.png', 'c.png', 'd.png'])
    assert 'c.png' in str(error.value) and 'a.png' not in str(error.value)
    with pytest.raises(DataError, match='row 2'):
        damaged(what).checked()
    assert len(some_cameras().checked()) == 4
