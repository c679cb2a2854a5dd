"""Strangers' cameras: every converter round-trips, and where published numbers exist they are reproduced."""

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from dnnlib.errors import DataError, MissingInputError
from training.cameras import convention
from training.cameras.camera import Camera
from training.cameras.condition import camera_condition
from training.cameras.orbit import orbit
from training.cameras.rays import rays

GOLDEN = Path(__file__).resolve().parents[3].parent / 'shared' / 'golden'


def some_cameras() -> Camera:
    generator = torch.Generator().manual_seed(0)
    rotation = torch.linalg.qr(torch.randn(40, 3, 3, generator=generator)).Q
    rotation = rotation * torch.linalg.det(rotation)[:, None, None]
    pose = torch.eye(4).repeat(40, 1, 1)
    pose[:, :3, :3], pose[:, :3, 3] = rotation, torch.randn(40, 3, generator=generator)
    k = torch.eye(3).repeat(40, 1, 1)
    k[:, 0, 0], k[:, 1, 1] = 1.0 + torch.rand(40, generator=generator), 1.5
    k[:, :2, 2] = 0.5 + 0.1 * torch.randn(40, 2, generator=generator)
    return Camera(pose, k).checked()


def assert_same(a: Camera, b: Camera, tolerance: float = 1e-5) -> None:
    assert torch.allclose(a.world_from_camera, b.world_from_camera, atol=tolerance)
    assert torch.allclose(a.intrinsics, b.intrinsics, atol=tolerance)


def test_eg3d_numbers() -> None:
    camera = some_cameras()
    numbers = convention.to_eg3d(camera)
    assert numbers.shape == (40, 25) and torch.equal(numbers, camera_condition(camera))
    assert torch.equal(numbers[3, :16], camera.world_from_camera[3].flatten())
    assert_same(convention.from_eg3d(numbers), camera, 0)
    with pytest.raises(DataError, match='25 numbers'):
        convention.from_eg3d(torch.zeros(2, 24))


def test_opengl() -> None:
    camera = some_cameras()
    assert_same(convention.from_opengl(convention.to_opengl(camera), camera.intrinsics), camera, 0)
    front = convention.to_opengl(orbit(0.0, 0.0, 2.0, focal=1.0))[0]
    assert torch.equal(front, torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 2], [0, 0, 0, 1]]))


def test_colmap() -> None:
    camera = some_cameras()
    qvec, tvec, k = convention.to_colmap(camera, 640, 480)
    assert (qvec[:, 0] >= 0).all() and torch.allclose(qvec.norm(dim=-1), torch.ones(40), atol=1e-6)
    assert_same(convention.from_colmap(qvec, tvec, k, 640, 480), camera)
    assert_same(convention.from_colmap(-qvec, tvec, k, 640, 480), camera)
    assert k[0, 0, 0].item() == pytest.approx(640 * camera.intrinsics[0, 0, 0].item())


def test_colmap_by_hand() -> None:
    """A quarter turn about z (w = z = sqrt(1/2)) and a step of 3 along the camera's x."""
    half = math.sqrt(0.5)
    camera = convention.from_colmap(torch.tensor([[half, 0, 0, half]]), torch.tensor([[3.0, 0, 0]]), torch.eye(3)[None], 1, 1)
    expected = torch.tensor([[0.0, 1, 0, 0], [-1, 0, 0, 3], [0, 0, 1, 0], [0, 0, 0, 1]])
    assert torch.allclose(camera.world_from_camera[0], expected, atol=1e-6)


@pytest.mark.parametrize('degrees', [180.0, 179.99])
def test_quaternions_of_half_turns(degrees: float) -> None:
    for axis in ((1.0, 0, 0), (0, 1.0, 0), (0, 0, 1.0), (0.6, 0.0, 0.8)):
        half = math.radians(degrees) / 2
        q = torch.tensor([[math.cos(half), *(math.sin(half) * a for a in axis)]])
        camera = convention.from_colmap(q, torch.zeros(1, 3), torch.eye(3)[None], 1, 1)
        back = convention.to_colmap(camera, 1, 1)[0]
        assert min((back - q).abs().max(), (back + q).abs().max()) < 1e-5


@pytest.mark.parametrize('world_up', ['y', 'z'])
def test_nerf_json(tmp_path: Path, world_up: str) -> None:
    camera = some_cameras()
    names = [f'./images/{i:03d}.png' for i in range(40)]
    path = tmp_path / 'transforms.json'
    document = convention.to_nerf_json(camera, names, 800, 600, world_up=world_up)
    path.write_text(json.dumps(document))
    assert_same(convention.from_nerf_json(path, world_up=world_up), camera)
    assert [frame['file_path'] for frame in document['frames']] == names


def test_nerf_json_of_blender() -> None:
    """Blender's front view: the camera stands at -y, z is up. Intrinsics from the angle alone, or from pixels."""
    matrix = [[1, 0, 0, 0], [0, 0, -1, -4], [0, 1, 0, 0], [0, 0, 0, 1]]
    document = {'camera_angle_x': math.radians(40), 'frames': [{'file_path': 'a', 'transform_matrix': matrix}]}
    camera = convention.from_nerf_json(document).checked()
    assert_same(camera, orbit(0.0, 0.0, 4.0, focal=convention.fov_to_focal(40.0)))
    wide = convention.from_nerf_json({**document, 'w': 800, 'h': 400}).intrinsics[0]
    assert wide[1, 1] == pytest.approx(2 * wide[0, 0].item())
    pixels = convention.from_nerf_json({**document, 'w': 800, 'h': 400, 'fl_x': 1600, 'cx': 380, 'cy': 210}).intrinsics[0]
    assert torch.allclose(pixels, torch.tensor([[2.0, 0, 0.475], [0, 4.0, 0.525], [0, 0, 1]]))


@pytest.mark.parametrize(('change', 'message'), [
    ({'frames': []}, 'non-empty'), ({'camera_angle_x': None}, 'camera_angle_x'), ({'fl_x': 800}, "'w'"), ({'k1': 0.1, 'p2': 0.01}, 'distortion .k1, p2.'),
    ({'frames': [{'file_path': 'a'}]}, 'transform_matrix'), ({'frames': [{'file_path': 'a', 'transform_matrix': [[1, 0], [0, 1]]}]}, 'expected 4x4'),
])
def test_nerf_json_errors(change: dict, message: str) -> None:
    document = {'camera_angle_x': 0.7, 'frames': [{'file_path': 'a', 'transform_matrix': torch.eye(4).tolist()}]} | change
    with pytest.raises(DataError, match=message):
        convention.from_nerf_json({k: v for k, v in document.items() if v is not None})


def test_nerf_json_files(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError):
        convention.from_nerf_json(tmp_path / 'none.json')
    (tmp_path / 'bad.json').write_text('{')
    with pytest.raises(DataError, match='not JSON'):
        convention.from_nerf_json(tmp_path / 'bad.json')


def test_fields_of_view() -> None:
    assert convention.fov_to_focal(90.0) == pytest.approx(0.5)
    assert torch.allclose(convention.fov_to_focal(torch.tensor([90.0, 60.0])), torch.tensor([0.5, 0.8660254]))
    assert convention.focal_to_fov(convention.fov_to_focal(36.0)) == pytest.approx(36.0)
    assert convention.eg3d_diagonal_fov_to_focal(18.837) == pytest.approx(4.2634, abs=2e-4)
    assert convention.focal_to_fov(convention.eg3d_diagonal_fov_to_focal(18.837)) == pytest.approx(13.38, abs=0.01)


def test_eg3d_angles_are_yaw_and_area() -> None:
    h, v = torch.tensor([math.pi / 2, 1.9, 0.4]), torch.tensor([math.pi / 2, 1.0, 0.5])
    pitch = math.pi / 2 - torch.arccos(1 - 2 * v / math.pi)
    assert torch.rad2deg(math.pi / 2 - pitch)[1:].tolist() == pytest.approx([68.7, 47.0], abs=0.05)
    assert_same(convention.from_eg3d_angles(h, v, 2.7, focal=4.26), orbit(h - math.pi / 2, pitch, 2.7, focal=4.26))
    with_pivot = convention.from_eg3d_angles(h, v, 2.7, (0.0, 0.0, 0.2), focal=4.26).checked()
    assert torch.allclose(with_pivot.origins.norm(dim=-1), torch.full((3,), 2.7))  # around the origin, whatever the pivot
    assert convention.from_eg3d_angles(h, torch.tensor([-1.0, 0.0, 4.0]), 2.7, focal=4.26).world_from_camera.isfinite().all()
    assert convention.from_eg3d_angles(h, torch.tensor([-1.0, 1.0, 4.0]), 2.7, focal=4.26, clamp_v=False).world_from_camera.isnan().any()


def test_published_cameras_and_rays() -> None:
    """Against the values of the published implementations; where those are not at hand, against ones computed by hand."""
    if not (GOLDEN / 'eg3d-tiny.safetensors').is_file():
        found = rays(orbit(0.0, 0.0, 2.0, focal=0.5), 2).directions[0]
        expected = torch.tensor([[-0.5, 0.5, -1], [0.5, 0.5, -1], [-0.5, -0.5, -1], [0.5, -0.5, -1]]) / math.sqrt(1.5)
        assert torch.allclose(found, expected, atol=1e-6)
        return
    with safe_open(GOLDEN / 'eg3d-tiny.safetensors', 'pt') as file:
        found = rays(convention.from_eg3d(file.get_tensor('in.c_camera')), 32)
        assert (found.directions - file.get_tensor('out.ray_directions')).abs().max() < 3e-7
        assert torch.equal(found.origins, file.get_tensor('out.ray_origins'))
    with safe_open(GOLDEN / 'pof3d-small.safetensors', 'pt') as file:
        h, v = file.get_tensor('out.mapping.cam_pose').unbind(1)
        camera = convention.from_eg3d_angles(h, v, 2.7, (0.0, 0.0, 0.2), focal=4.26)
        assert (camera.world_from_camera - file.get_tensor('out.mapping.c2w')).abs().max() < 1e-6
