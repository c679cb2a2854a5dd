"""Laws from which cameras are drawn when nobody knows the cameras of the photographs. Each law is a frozen record; `.sample(stream)` draws.

All cameras orbit `target` at `radius` and look at it (`orbit.py`): yaw from the front, pitch upwards, in degrees here because people set them.
Every draw is addressed by its name and by the global row of the stream: splitting a batch changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from dnnlib.errors import UsageError
from torch_utils.rng import Stream
from training.cameras.camera import Camera
from training.cameras.convention import fov_to_focal
from training.cameras.orbit import orbit


@dataclass(frozen=True, slots=True)
class _Law:
    """What all laws share: distance to the target (world units), horizontal field of view, the point that is looked at."""

    radius: float = 2.7
    fov_x_deg: float = 36.0
    target: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        if self.radius <= 0:
            raise UsageError(f'The radius of a camera law must be positive; found {self.radius}.')
        if not 0 < self.fov_x_deg < 180:
            raise UsageError(f'fov_x_deg must lie between 0 and 180 degrees; found {self.fov_x_deg}.')

    def angles_deg(self, stream: Stream, device: torch.device | str | None = None) -> tuple[Tensor, Tensor]:
        """(yaw, pitch) in degrees, each [rows of the stream]."""
        raise NotImplementedError

    @property
    def pitch_range_deg(self) -> tuple[float, float]:
        """The lowest and the highest pitch that it can draw."""
        raise NotImplementedError

    def sample(self, stream: Stream, device: torch.device | str | None = None) -> Camera:
        """One camera per row of the stream."""
        yaw_deg, pitch_deg = self.angles_deg(stream, device)
        return orbit(torch.deg2rad(yaw_deg), torch.deg2rad(pitch_deg), self.radius, self.target, focal=fov_to_focal(self.fov_x_deg))


@dataclass(frozen=True, slots=True)
class Gaussian(_Law):
    """Independent normal yaw and pitch, the pitch clipped to [pitch_min_deg, pitch_max_deg]. A standard deviation of 0 fixes the angle."""

    yaw_mean_deg: float = 0.0
    yaw_std_deg: float = 18.0
    pitch_mean_deg: float = 12.0
    pitch_std_deg: float = 6.0
    pitch_min_deg: float = -85.0
    pitch_max_deg: float = 85.0

    def angles_deg(self, stream: Stream, device: torch.device | str | None = None) -> tuple[Tensor, Tensor]:
        yaw = self.yaw_mean_deg + self.yaw_std_deg * stream.normal('camera/yaw', device=device)
        pitch = self.pitch_mean_deg + self.pitch_std_deg * stream.normal('camera/pitch', device=device)
        return yaw, pitch.clamp(self.pitch_min_deg, self.pitch_max_deg)

    @property
    def pitch_range_deg(self) -> tuple[float, float]:
        return self.pitch_min_deg, self.pitch_max_deg


@dataclass(frozen=True, slots=True)
class UniformBand(_Law):
    """Yaw and pitch uniform in a band of angles."""

    yaw_min_deg: float = -180.0
    yaw_max_deg: float = 180.0
    pitch_min_deg: float = -5.0
    pitch_max_deg: float = 45.0

    def angles_deg(self, stream: Stream, device: torch.device | str | None = None) -> tuple[Tensor, Tensor]:
        yaw = self.yaw_min_deg + (self.yaw_max_deg - self.yaw_min_deg) * stream.uniform('camera/yaw', device=device)
        pitch = self.pitch_min_deg + (self.pitch_max_deg - self.pitch_min_deg) * stream.uniform('camera/pitch', device=device)
        return yaw, pitch

    @property
    def pitch_range_deg(self) -> tuple[float, float]:
        return self.pitch_min_deg, self.pitch_max_deg


@dataclass(frozen=True, slots=True)
class Sphere(_Law):
    """Uniform on the whole sphere: uniform yaw, uniform sine of the pitch (Archimedes)."""

    pitch_range_deg: ClassVar[tuple[float, float]] = (-90.0, 90.0)

    def angles_deg(self, stream: Stream, device: torch.device | str | None = None) -> tuple[Tensor, Tensor]:
        yaw = 360.0 * stream.uniform('camera/yaw', device=device) - 180.0
        height = 2.0 * stream.uniform('camera/height', device=device) - 1.0
        return yaw, torch.rad2deg(torch.asin(height))


@dataclass(frozen=True, slots=True)
class Wide(_Law):
    """The pose law of the built-in synthetic data: three kinds of view, on purpose neither symmetric nor independent.

    55 %: yaw N(0, 20), pitch N(10, 6).  30 %: yaw N(75, 12), pitch N(24, 6).  15 %: yaw U(-180, 180), pitch N(15, 6). Pitch clipped to [-5, 45].
    The mode at +75 without one at -75 makes a mirrored solution visible, the uniform tail makes backs exist.
    """

    pitch_range_deg: ClassVar[tuple[float, float]] = (-5.0, 45.0)

    def angles_deg(self, stream: Stream, device: torch.device | str | None = None) -> tuple[Tensor, Tensor]:
        kind = stream.uniform('camera/kind', device=device)
        normal = stream.normal('camera/yaw', device=device)
        anywhere = 360.0 * stream.uniform('camera/yaw_anywhere', device=device) - 180.0
        yaw = torch.where(kind < 0.55, 20.0 * normal, torch.where(kind < 0.85, 75.0 + 12.0 * normal, anywhere))
        centre = 10.0 + 14.0 * ((kind >= 0.55) & (kind < 0.85)) + 5.0 * (kind >= 0.85)
        pitch = centre + 6.0 * stream.normal('camera/pitch', device=device)
        return yaw, pitch.clamp(*self.pitch_range_deg)


@dataclass(frozen=True, slots=True)
class Fixed(_Law):
    """Always the same camera."""

    yaw_deg: float = 0.0
    pitch_deg: float = 0.0

    def angles_deg(self, stream: Stream, device: torch.device | str | None = None) -> tuple[Tensor, Tensor]:
        rows = torch.zeros(len(stream), device=device)
        return rows + self.yaw_deg, rows + self.pitch_deg

    @property
    def pitch_range_deg(self) -> tuple[float, float]:
        return self.pitch_deg, self.pitch_deg


LawConfig = Gaussian | UniformBand | Sphere | Wide | Fixed
LAWS: dict[str, type[LawConfig]] = {'gaussian': Gaussian, 'uniform_band': UniformBand, 'sphere': Sphere, 'wide': Wide, 'fixed': Fixed}
