"""Camera paths for videos: each gives one camera per frame, and the last frame leads back to the first."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from dnnlib.errors import UsageError
from training.cameras.camera import Camera
from training.cameras.convention import fov_to_focal
from training.cameras.orbit import orbit


def orbit_path(
    frames: int,
    *,
    radius: float,
    fov_x_deg: float,
    pitch_deg: float = 0.0,
    start_yaw_deg: float = 0.0,
    turns: float = 1.0,
    target: Sequence[float] = (0.0, 0.0, 0.0),
) -> Camera:
    """`turns` full turns around the target at a constant pitch; Camera of N = frames. Frame 0 stands at start_yaw_deg."""
    phase = _phases(frames)
    yaw_deg = start_yaw_deg + 360.0 * turns * phase
    return orbit(torch.deg2rad(yaw_deg), math.radians(pitch_deg), radius, target, focal=fov_to_focal(fov_x_deg))


def wiggle_path(
    frames: int,
    yaw_deg: float = 20.0,
    pitch_deg: float = 8.0,
    *,
    radius: float,
    fov_x_deg: float,
    centre_yaw_deg: float = 0.0,
    centre_pitch_deg: float = 0.0,
    target: Sequence[float] = (0.0, 0.0, 0.0),
) -> Camera:
    """An ellipse of +-yaw_deg and +-pitch_deg around a centre view, for models that know only the front; Camera of N = frames."""
    angle = 2 * math.pi * _phases(frames)
    yaw = centre_yaw_deg + yaw_deg * angle.sin()
    pitch = centre_pitch_deg + pitch_deg * angle.cos()
    return orbit(torch.deg2rad(yaw), torch.deg2rad(pitch), radius, target, focal=fov_to_focal(fov_x_deg))


def _phases(frames: int) -> torch.Tensor:
    if frames < 1:
        raise UsageError(f'A camera path needs at least one frame; {frames} were asked for.')
    return torch.arange(frames) / frames
