"""Where the cameras of a toyworld set stand: four named laws, and the camera of a pose.

Azimuth 0 is the front (seen from +z), positive azimuth moves towards +x, positive elevation is above. All cameras look at the origin.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from training.data.toyworld.numbers import Draws, cos_sin_turns

RADIUS = 2.7
FOV_X_DEG = 36.0
# 1 / (2 tan 18 degrees), since tan^2 18 degrees = 1 - 2/sqrt(5).
FOCAL = 0.5 / math.sqrt(1 - 2 / math.sqrt(5))
ELEVATION_RANGE_DEG = (-5.0, 45.0)


@dataclass(frozen=True, slots=True)
class Pose:
    """Direction from the object to the camera: azimuth in [-180, 180), elevation in [-90, 90]."""

    azimuth_deg: float
    elevation_deg: float


def _wide(draws: Draws) -> Pose:
    """A law that a lazy solution cannot match: not uniform, not symmetric, azimuth and elevation depend on each other (EVALUATION of the
    toyworld set: .55 N(0,20) + .30 N(+75,12) + .15 U(-180,180), elevation N(10 | 24 | 15, 6))."""
    component = draws.choice('pose/component', (0.55, 0.30, 0.15))
    normal = draws.normal('pose/azimuth')
    azimuth = (20 * normal, 75 + 12 * normal, draws.between('pose/azimuth/uniform', -180, 180))[component]
    return Pose(azimuth, (10.0, 24.0, 15.0)[component] + 6 * draws.normal('pose/elevation'))


def _narrow(draws: Draws) -> Pose:
    return Pose(18 * draws.normal('pose/azimuth'), 12 + 6 * draws.normal('pose/elevation'))


def _uniform(draws: Draws) -> Pose:
    return Pose(draws.between('pose/azimuth/uniform', -180, 180), draws.between('pose/elevation/uniform', *ELEVATION_RANGE_DEG))


def _sphere(draws: Draws) -> Pose:
    height = draws.between('pose/height', -1, 1)
    # The arc sine of the C library may differ in its last bit between machines: rounding hides that.
    return Pose(draws.between('pose/azimuth/uniform', -180, 180), round(math.degrees(math.asin(height)), 6))


POSE_LAWS = {'wide': _wide, 'narrow': _narrow, 'uniform': _uniform, 'sphere': _sphere}


def draw_pose(law: str, draws: Draws) -> Pose:
    """One pose of the law called `law`; elevation is clipped to ELEVATION_RANGE_DEG except for 'sphere'."""
    pose = POSE_LAWS[law](draws)
    azimuth = pose.azimuth_deg - 360 * math.floor((pose.azimuth_deg + 180) / 360)
    if law == 'sphere':
        return Pose(azimuth, pose.elevation_deg)
    low, high = ELEVATION_RANGE_DEG
    return Pose(azimuth, min(max(pose.elevation_deg, low), high))


def world_from_camera(pose: Pose) -> np.ndarray:
    """OpenCV camera at RADIUS looking at the origin, world up +y: float64 [4, 4]."""
    ca, sa = cos_sin_turns(pose.azimuth_deg / 360)
    ce, se = cos_sin_turns(pose.elevation_deg / 360)
    return np.array([
        [ca, se * sa, -sa * ce, RADIUS * (sa * ce)],
        [0.0, -ce, -se, RADIUS * se],
        [-sa, se * ca, -ca * ce, RADIUS * (ca * ce)],
        [0.0, 0.0, 0.0, 1.0],
    ])


def intrinsics() -> np.ndarray:
    """Intrinsics in units of the image for FOV_X_DEG: float64 [3, 3]."""
    return np.array([[FOCAL, 0.0, 0.5], [0.0, FOCAL, 0.5], [0.0, 0.0, 1.0]])


def camera25(pose: Pose) -> np.ndarray:
    """The label of a pose: float32 [25]. Images are rendered from these rounded numbers, so a label reproduces its image bit for bit."""
    return np.concatenate([world_from_camera(pose).ravel(), intrinsics().ravel()]).astype(np.float32)
