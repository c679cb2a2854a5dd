"""Pairs of views for the pose response: turn the camera by a known angle and ask how far the picture has turned."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from metrics.measurable import NotMeasurable
from metrics.subject import Subject, Views
from training.cameras.camera import Camera

DELTAS_DEG = (12.0, 25.0, 40.0)
BATCH = 48


@dataclass(frozen=True, slots=True)
class Pairs:
    """M scenes, each seen twice: as sampled, and from the turned camera. Both views have the cameras that were asked for."""

    commanded_deg: Tensor  # [M] float64
    first: Views
    second: Views

    def __len__(self) -> int:
        return len(self.commanded_deg)


def turned_pairs(
    subject: Subject, count: int, *, deltas_deg: Sequence[float] = DELTAS_DEG, start: int = 0, batch: int = BATCH
) -> Pairs:
    """Scenes start .. start + count - 1 from their own camera and from that camera turned by +-deltas_deg, in turn, about the world's vertical axis.

    Scene i gets the angle number i mod 2 len(deltas_deg) of d0, -d0, d1, -d1, ...: the same pair whatever start, count and batch.
    Raises NotMeasurable for a subject without `render`, without cameras, or for no pair. Cost: two pictures a scene.
    """
    assert batch > 0 and len(deltas_deg) > 0, (batch, deltas_deg)
    if subject.render is None:
        raise NotMeasurable('the pose response needs scenes that can be looked at from elsewhere; these are pictures only')
    if count < 1:
        raise NotMeasurable('the pose response needs one pair at least; none was asked for')
    angles = torch.tensor([sign * delta for delta in deltas_deg for sign in (1, -1)], dtype=torch.float64)
    commanded = angles[torch.arange(start, start + count) % len(angles)]
    firsts, seconds = [], []
    for turn, scene in zip(commanded.split(batch), range(start, start + count, batch), strict=True):
        first = subject.sample(scene, len(turn))
        if first.camera is None:
            raise NotMeasurable('the pose response needs the camera of each picture; these have none')
        camera = turned(first.camera, turn)
        firsts.append(first)
        seconds.append(replace(subject.render(scene, len(turn), camera), camera=camera))
    return Pairs(commanded, joined(firsts), joined(seconds))


def response_deg(first_azimuth_rad: Tensor, second_azimuth_rad: Tensor) -> Tensor:
    """How far pictures have turned [M], float64 in [-180, 180), by the azimuths that an oracle reads from the two views of each pair.

    Source: ours. The slope of this over the command (pose_response.py) is 1 for a solid scene, about .3 for a flat card, 0 for a camera that is
    ignored, below 0 for a hollow scene. It sees what the pictures do and not what the depth claims. It is as good as the
    oracle on these pictures: symmetric objects flip by 180 degrees and blurred ones are misread; trim large responses, say how many, and
    measure true pairs too.
    """
    return wrapped_deg(torch.rad2deg(second_azimuth_rad.double() - first_azimuth_rad.double()))


def turned(camera: Camera, yaw_deg: Tensor | float) -> Camera:
    """These N cameras after a turn by yaw_deg ([N] or one for all) about the world's y axis through the origin.

    world_from_camera' = R_y(yaw) world_from_camera. A positive yaw increases the yaw at which an orbiting camera stands. Exact for every
    camera, rolled or looking away; in float64 inside.
    """
    pose = camera.world_from_camera
    angle = torch.as_tensor(yaw_deg, dtype=torch.float64).to(pose.device).expand(len(camera)) * (math.pi / 180)
    cos, sin, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    rows = [cos, zero, sin, zero, zero, one, zero, zero, -sin, zero, cos, zero, zero, zero, zero, one]
    turn = torch.stack(rows, -1).unflatten(-1, (4, 4))
    return Camera((turn @ pose.double()).to(pose.dtype), camera.intrinsics)


def wrapped_deg(angle_deg: Tensor) -> Tensor:
    """The same directions in [-180, 180)."""
    return torch.remainder(angle_deg + 180, 360) - 180


def joined(parts: Sequence[Views]) -> Views:
    """One Views of all the parts, in order; a field that one part lacks is None in all of them."""

    def cat(tensors: list[Tensor | None]) -> Tensor | None:
        known = [tensor for tensor in tensors if tensor is not None]
        return torch.cat(known) if len(known) == len(tensors) else None

    cameras = [part.camera for part in parts if part.camera is not None]
    return Views(
        image=torch.cat([part.image for part in parts]),
        depth=cat([part.depth for part in parts]),
        opacity=cat([part.opacity for part in parts]),
        camera=Camera.cat(cameras) if len(cameras) == len(parts) else None,
        classes=cat([part.classes for part in parts]),
    )
