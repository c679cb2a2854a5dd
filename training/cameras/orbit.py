"""Cameras on a sphere around a target: where they stand, how they look, and back to angles.

yaw 0 stands on +z (in front of the object) and grows towards +x; pitch 0 is level and grows upwards. Both in radians.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from training.cameras.camera import Camera


def look_at(origins: Tensor, targets: Tensor, up: Sequence[float] = (0.0, 1.0, 0.0)) -> Tensor:
    """Poses [N, 4, 4] of level cameras at `origins` [N, 3] that look at `targets` [N, 3] or [3], world units.

    A camera that looks exactly along `up` has no level; it gets the world's z (or x) axis as its up, so that nothing is ever NaN.
    """
    forward = torch.nn.functional.normalize(targets - origins, dim=-1, eps=1e-12)
    upward = origins.new_tensor(up).expand_as(forward)
    parallel = torch.linalg.cross(forward, upward).square().sum(-1, keepdim=True) < 1e-12
    z, x = origins.new_tensor([0.0, 0.0, 1.0]), origins.new_tensor([1.0, 0.0, 0.0])
    upward = torch.where(parallel, torch.where(forward[..., 2:].abs() < 0.5, z, x), upward)
    right = torch.nn.functional.normalize(torch.linalg.cross(forward, upward), dim=-1, eps=1e-12)
    return _pose(right, forward, origins)


def orbit(
    yaw_rad: Tensor | float,
    pitch_rad: Tensor | float,
    radius: Tensor | float,
    target: Sequence[float] | Tensor = (0.0, 0.0, 0.0),
    *,
    focal: Tensor | float,
) -> Camera:
    """Level cameras at `target + radius * (sin yaw cos pitch, sin pitch, cos yaw cos pitch)` that look at `target`.

    Everything broadcasts to [N] (target: [3] or [N, 3]); `focal` is in image sizes (`fov_to_focal`). Differentiable in every argument,
    also at the poles, because right is (cos yaw, 0, -sin yaw) and needs no cross product with up.
    """
    like = next((x for x in (yaw_rad, pitch_rad, radius, focal, target) if isinstance(x, Tensor)), torch.zeros(()))

    def as_tensor(x: Tensor | float | Sequence[float]) -> Tensor:
        return x if isinstance(x, Tensor) else torch.as_tensor(x, dtype=like.dtype, device=like.device)

    yaw, pitch, radius, focal = torch.broadcast_tensors(*(torch.atleast_1d(as_tensor(x)) for x in (yaw_rad, pitch_rad, radius, focal)))
    backward = torch.stack([yaw.sin() * pitch.cos(), pitch.sin(), yaw.cos() * pitch.cos()], -1)
    right = torch.stack([yaw.cos(), torch.zeros_like(yaw), -yaw.sin()], -1)
    return Camera(_pose(right, -backward, as_tensor(target) + radius[:, None] * backward), centred_intrinsics(focal))


def centred_intrinsics(focal: Tensor) -> Tensor:
    """Intrinsics [N, 3, 3] with the principal point in the middle of the image; focal [N] or [N, 2] (x, y) in image sizes."""
    fx, fy = (focal[:, 0], focal[:, 1]) if focal.ndim == 2 else (focal, focal)
    zero, half, one = torch.zeros_like(fx), torch.full_like(fx, 0.5), torch.ones_like(fx)
    return torch.stack([fx, zero, half, zero, fy, half, zero, zero, one], -1).unflatten(-1, (3, 3))


def angles_of(camera: Camera, target: Sequence[float] | Tensor = (0.0, 0.0, 0.0)) -> tuple[Tensor, Tensor, Tensor]:
    """(yaw_rad in (-pi, pi], pitch_rad in [-pi/2, pi/2], radius), each [N]: where the cameras stand as seen from `target`."""
    offset = camera.origins - torch.as_tensor(target, dtype=camera.origins.dtype, device=camera.device)
    yaw = torch.atan2(offset[:, 0], offset[:, 2])
    return yaw, torch.atan2(offset[:, 1], torch.hypot(offset[:, 0], offset[:, 2])), offset.norm(dim=-1)


def _pose(right: Tensor, forward: Tensor, origins: Tensor) -> Tensor:
    columns = torch.stack([right, torch.linalg.cross(forward, right), forward, origins.expand_as(forward)], -1)
    last_row = columns.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(*columns.shape[:-2], 1, 4)
    return torch.cat([columns, last_row], -2)
