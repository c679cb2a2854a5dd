"""Rays: pixel centres, row-major order, non-square images, skew, independence of the resolution."""

import torch

from training.cameras.camera import Camera
from training.cameras.orbit import orbit
from training.cameras.rays import rays


def test_pixel_centres_by_hand() -> None:
    """fx = 0.5 (90 degrees): in a 4 x 2 image the centre of pixel (row 1, col 3) is u = 3.5/4, v = 1.5/2."""
    camera = orbit(0.0, 0.0, 3.0, focal=0.5)
    found = rays(camera, (2, 4)).directions[0, 1 * 4 + 3]
    expected = torch.tensor([(3.5 / 4 - 0.5) / 0.5, -(1.5 / 2 - 0.5) / 0.5, -1.0])
    assert torch.allclose(found, expected / expected.norm(), atol=1e-6)


def test_every_ray_projects_back_to_its_pixel() -> None:
    camera = orbit(torch.tensor([0.5, -1.0]), 0.3, 2.7, focal=1.5)
    k = camera.intrinsics.clone()
    k[:, 0, 1], k[:, 0, 2], k[:, 1, 1], k[:, 1, 2] = 0.1, 0.4, 1.1, 0.6
    found = rays(Camera(camera.world_from_camera, k), (6, 5))
    local = found.directions @ camera.world_from_camera[:, :3, :3]
    uvw = local @ k.mT
    uv = (uvw[..., :2] / uvw[..., 2:]).unflatten(1, (6, 5))
    assert torch.allclose(uv[..., 0], ((torch.arange(5) + 0.5) / 5).expand(2, 6, 5), atol=1e-6)
    assert torch.allclose(uv[..., 1], ((torch.arange(6) + 0.5) / 6)[:, None].expand(2, 6, 5), atol=1e-6)
    assert torch.allclose(found.directions.norm(dim=-1), torch.ones(2, 30), atol=1e-6)


def test_the_middle_of_three_times_the_resolution_is_the_same_ray() -> None:
    camera = orbit(0.3, 0.1, 2.7, focal=1.5)
    coarse = rays(camera, 4).directions.unflatten(1, (4, 4))
    fine = rays(camera, 12).directions.unflatten(1, (12, 12))
    assert torch.allclose(fine[:, 1::3, 1::3], coarse, atol=1e-6)


def test_slices() -> None:
    found = rays(orbit(0.3, 0.1, 2.7, focal=1.5), 4)
    assert torch.equal(found.slice(3, 7).directions, found.directions[:, 3:7])
