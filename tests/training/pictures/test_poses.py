"""The picture of a law of cameras: shares are where the cameras are, the legend says what is seen, and nothing falls off the edge."""

import numpy as np
import pytest
import torch

from training.cameras.orbit import orbit
from training.pictures.poses import COLOURS, HEIGHT, WIDTH, Poses, pose_picture


def poses(name: str, yaw_deg: list[float], pitch_deg: list[float]) -> Poses:
    return Poses(name, np.array(yaw_deg), np.array(pitch_deg))


def columns_of(picture: np.ndarray, colour: tuple[int, int, int], left: int, right: int) -> np.ndarray:
    """Where, between two columns and below the legend, the colour is seen: px."""
    there = (np.abs(picture[110:].astype(int) - colour).max(axis=2) < 12).any(axis=0)
    return np.flatnonzero(there[left:right]) + left


def test_directions_are_those_of_the_cameras() -> None:
    camera = orbit(torch.deg2rad(torch.tensor([30.0, -170.0])), torch.deg2rad(torch.tensor([10.0, -20.0])), 2.7, (0.1, 0.2, 0.3), focal=1.5)
    found = Poses.of('two', camera, (0.1, 0.2, 0.3))
    assert found.yaw_deg == pytest.approx([30, -170], abs=1e-3) and found.pitch_deg == pytest.approx([10, -20], abs=1e-3)
    assert str(poses('one side', [5.0] * 20, [12.0] * 20)) == 'one side: 20 cameras, spread of yaw 0°, pitch 12° to 12° (90 %)'


def test_bars_and_points_stand_where_the_cameras_do() -> None:
    """On the left yaw -180 .. 180 spans 72 .. 530 px, on the right 630 .. 1096."""
    picture = pose_picture('A law', [poses('right', [60.0] * 30, [20.0] * 30)])
    assert picture.shape == (HEIGHT, WIDTH, 3) and picture.dtype == np.uint8
    bar, points = columns_of(picture, COLOURS[0], 60, 560), columns_of(picture, COLOURS[0], 620, WIDTH)
    assert 72 + 458 * 240 / 360 <= bar.min() and bar.max() <= 72 + 458 * 250 / 360
    assert points.min() <= 630 + 466 * 240 / 360 <= points.max() and np.ptp(points) < 8


def test_the_second_law_is_seen_through_the_first() -> None:
    yaw, pitch = list(np.linspace(-170, 170, 200)), [10.0] * 200
    picture = pose_picture('Two', [poses('found', yaw, pitch), poses('true', yaw, pitch)])
    assert len(columns_of(picture, COLOURS[0], 72, 530)) > 300 and len(columns_of(picture, COLOURS[1], 72, 530)) > 300
    legend = np.abs(picture[44:84, 20:50].astype(int)[:, :, None] - np.array(COLOURS)).max(axis=3) < 12
    assert legend.any(axis=(0, 1)).all(), 'both colours are explained'


@pytest.mark.parametrize('pitch_deg', [-90.0, 0.0, 90.0])
@pytest.mark.parametrize('yaw_deg', [-180.0, 180.0])
def test_the_ends_of_the_world_are_drawn(yaw_deg: float, pitch_deg: float) -> None:
    picture = pose_picture('Edge', [poses('edge', [yaw_deg] * 20, [pitch_deg] * 20)])
    assert len(columns_of(picture, COLOURS[0], 60, 560)) > 5 and len(columns_of(picture, COLOURS[0], 620, WIDTH)) > 0
    assert (picture[:8] == 255).all() and (picture[-4:] == 255).all()


def test_an_empty_law_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(AssertionError):
        pose_picture('Nothing', [poses('none', [], [])])
