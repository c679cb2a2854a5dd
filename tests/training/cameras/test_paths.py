"""Camera paths: closed, centred, at constant distance."""

import math

import pytest
import torch

from dnnlib.errors import UsageError
from training.cameras.orbit import angles_of
from training.cameras.paths import orbit_path, wiggle_path


def test_orbit_goes_round_evenly() -> None:
    path = orbit_path(8, radius=2.0, fov_x_deg=40.0, pitch_deg=10.0, start_yaw_deg=15.0)
    yaw, pitch, radius = angles_of(path.checked())
    steps = torch.remainder(torch.diff(yaw, append=yaw[:1]), 2 * math.pi)
    assert torch.allclose(steps, torch.full((8,), math.pi / 4), atol=1e-5)
    assert torch.allclose(pitch, torch.tensor(math.radians(10.0))) and torch.allclose(radius, torch.tensor(2.0))
    assert torch.rad2deg(yaw[0]).item() == pytest.approx(15.0, abs=1e-4)


def test_wiggle_stays_around_its_centre() -> None:
    yaw, pitch, _ = angles_of(wiggle_path(40, 20.0, 8.0, radius=2.0, fov_x_deg=40.0, centre_pitch_deg=5.0))
    assert torch.rad2deg(yaw).abs().max().item() == pytest.approx(20.0, abs=1e-3)
    assert torch.rad2deg(pitch).mean().item() == pytest.approx(5.0, abs=1e-3)
    assert (torch.rad2deg(pitch) - 5.0).abs().max().item() == pytest.approx(8.0, abs=1e-3)


def test_no_frames() -> None:
    with pytest.raises(UsageError):
        orbit_path(0, radius=1.0, fov_x_deg=40.0)
