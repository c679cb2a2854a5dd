"""Cameras that a network chooses or reads, as a few bounded numbers: poses without a seam, and what a law of cameras leaves to be found.

A pose code is [N, 3]: sin yaw, cos yaw, and the pitch's place in its range, -1 the lowest and +1 the highest. Yaw as a point of the circle
makes 0 and 360 degrees one camera; distances between codes are distances between views. Two or three free numbers become a code by
`bounded`, which is smooth, so that every gradient can move a camera and none can push it out of its range.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from training.cameras.camera import Camera
from training.cameras.convention import fov_to_focal
from training.cameras.distributions import LawConfig
from training.cameras.orbit import angles_of, orbit

POSE_NUMBERS = 3
_MIN_PLANAR = 1e-6  # length under which two numbers have no direction that a gradient could turn


@dataclass(frozen=True, slots=True)
class Rig:
    """What all cameras of a model share, and the range of their pitch. Lengths are world units."""

    radius: float = 2.7
    fov_x_deg: float = 36.0
    target: tuple[float, float, float] = (0.0, 0.0, 0.0)
    pitch_min_deg: float = -90.0
    pitch_max_deg: float = 90.0

    @property
    def _middle_and_half_rad(self) -> tuple[float, float]:
        low, high = math.radians(self.pitch_min_deg), math.radians(self.pitch_max_deg)
        return (low + high) / 2, max((high - low) / 2, 1e-6)

    def angles(self, code: Tensor) -> tuple[Tensor, Tensor]:
        """(yaw_rad, pitch_rad), each [N], of codes [N, 3 or more]. The first two need not have length 1; the third is clipped to its range."""
        middle, half = self._middle_and_half_rad
        return torch.atan2(code[:, 0], code[:, 1]), middle + half * code[:, 2].clamp(-1, 1)

    def code(self, yaw_rad: Tensor, pitch_rad: Tensor) -> Tensor:
        """Codes [N, 3] of angles, each [N]."""
        middle, half = self._middle_and_half_rad
        return torch.stack([yaw_rad.sin(), yaw_rad.cos(), (pitch_rad - middle) / half], dim=1)

    def code_of(self, camera: Camera) -> Tensor:
        """Codes [N, 3] of where cameras stand as seen from the target."""
        yaw, pitch, _ = angles_of(camera, self.target)
        return self.code(yaw, pitch)

    def camera(self, code: Tensor, radius: Tensor | None = None, target: Tensor | None = None) -> Camera:
        """N cameras at these codes; radius [N] and target [N, 3] replace the rig's where a model has its own. Differentiable."""
        yaw, pitch = self.angles(code)
        return orbit(
            yaw, pitch, self.radius if radius is None else radius, self.target if target is None else target,
            focal=torch.full_like(yaw, fov_to_focal(self.fov_x_deg)),
        )


def rig_of(law: LawConfig) -> Rig:
    """The rig of a law's cameras: its radius, field of view and target, and the pitches that it can draw."""
    return Rig(law.radius, law.fov_x_deg, law.target, *law.pitch_range_deg)


def jittered(code: Tensor, jitter: Tensor) -> Tensor:
    """Codes [N, 3] whose yaw is turned by jitter[:, 0] radians and whose third number is shifted by jitter[:, 1]; it may leave -1 .. 1."""
    sine, cosine, height = code.unbind(dim=1)
    s, c = jitter[:, 0].sin(), jitter[:, 0].cos()
    return torch.stack([sine * c + cosine * s, cosine * c - sine * s, height + jitter[:, 1]], dim=1)


def as_read(numbers: Tensor) -> Tensor:
    """Pose numbers [N, 3] of a reader -> codes: the yaw's direction, and the pitch as it is, held in its range.

    A reader is taught codes (training.losses.pose) and answers with them; `bounded` would make another pitch of the right answer.
    """
    return torch.cat([bounded(numbers)[:, :2], numbers[:, 2:].clamp(-1, 1)], dim=1)


def bounded(numbers: Tensor) -> Tensor:
    """Free numbers [N, 3 or more] -> codes of that shape: the first two divided by their length, tanh of the others. Finite for finite numbers below 1e18."""
    planar = numbers[:, :2]
    length = planar.square().sum(dim=1, keepdim=True).add(_MIN_PLANAR**2).sqrt()
    return torch.cat([planar / length, torch.tanh(numbers[:, 2:])], dim=1)
