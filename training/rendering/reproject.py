"""From pixels with depth to points, and from points to the pixels of another camera."""

import torch
from torch import Tensor

from training.cameras.camera import Camera
from training.cameras.rays import Rays


def unproject(rays: Rays, depth: Tensor) -> Tensor:
    """World points [N, R, 3] at these distances [N, R, 1] along the rays: what a Rendered's depth means."""
    return torch.addcmul(rays.origins, rays.directions, depth)


def project(camera: Camera, points: Tensor) -> tuple[Tensor, Tensor]:
    """(uv [N, M, 2] in units of the image, distance [N, M, 1] from the camera) of world points [N, M, 3].

    The distance is along the ray, to be compared with a rendered depth; it is negative for points behind the camera, whose uv means nothing.
    """
    offset = points - camera.origins[:, None]
    with torch.autocast(offset.device.type, enabled=False):
        local = offset @ camera.world_from_camera[:, :3, :3]
        z = local[..., 2:]
        safe = torch.where(z.abs() < 1e-9, torch.full_like(z, 1e-9), z)
        uv = ((local / safe) @ camera.intrinsics.mT)[..., :2]
    return uv, offset.norm(dim=-1, keepdim=True) * torch.where(z < 0, -1.0, 1.0)
