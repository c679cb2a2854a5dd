"""Pose accuracy: do images show the pose that was asked for, up to one azimuth for all of them?"""

import math
from dataclasses import dataclass

import numpy as np

from metrics.measurable import LEAST_POSES, measurable

FLIP_DEG = 90.0


@dataclass(frozen=True, slots=True)
class PoseAccuracy:
    """errors_deg [N] in [0, 180] of the azimuth after the offset; their median; flips: share in [0, 1] above 90 degrees; offset_deg in
    [-180, 180): what the images show minus what was asked for; alignment in [0, 1]: |mean exp i (read - commanded)|. elevation_median_deg:
    median of |read - commanded| without any offset, None where no elevations were given."""

    errors_deg: np.ndarray
    median_deg: float
    flips: float
    offset_deg: float
    alignment: float
    elevation_median_deg: float | None


def pose_accuracy(
    read_azimuth: np.ndarray,
    commanded_azimuth: np.ndarray,
    read_elevation: np.ndarray | None = None,
    commanded_elevation: np.ndarray | None = None,
) -> PoseAccuracy:
    """Of angles [N] in radians that an oracle read from images, and those of the cameras that the images were asked for.

    The offset is the middle of the shortest arc that holds more than half of the differences (on the circle what Rousseeuw 1984 calls least
    median of squares): no other single offset has a smaller median error (the upper median for even N), and flips do not move it. It is
    fitted to the same rows, so the median is a little low: for normal errors by 6 % at N = 100, 3 % at 500, 1 % at 2000 (and the offset
    scatters by .2 of their standard deviation at 100 and 500, .1 at 2000).

    A generator that ignores the camera has the error of the law, which is small for a narrow law, and an alignment of |mean exp i
    commanded|: read both beside those of shuffled cameras, and beside the response (metrics/pose_response.py). A mirrored solution is wrong
    here. Cost for N = 2000: 0.2 ms.

    Raises NotMeasurable below 20 poses or for angles that are not finite.
    """
    read, commanded = measurable('pose accuracy', read_azimuth, commanded_azimuth, least=LEAST_POSES)
    difference = read - commanded
    offset = _middle_of_shortest_half(difference)
    errors = np.degrees(np.abs(_wrapped(difference - offset)))
    elevation = None
    assert (read_elevation is None) == (commanded_elevation is None), 'elevations come in pairs'
    if read_elevation is not None and commanded_elevation is not None:
        up, wanted_up = measurable('pose accuracy', read_elevation, commanded_elevation, least=LEAST_POSES)
        elevation = float(np.degrees(np.median(np.abs(up - wanted_up))))
    return PoseAccuracy(
        errors_deg=errors,
        median_deg=float(np.median(errors)),
        flips=float((errors > FLIP_DEG).mean()),
        offset_deg=math.degrees(offset),
        alignment=min(float(abs(np.exp(1j * difference).mean())), 1.0),
        elevation_median_deg=elevation,
    )


def _middle_of_shortest_half(angles_rad: np.ndarray) -> float:
    """In [-pi, pi)."""
    ordered = np.sort(_wrapped(angles_rad))
    count = len(ordered)
    half = count // 2 + 1
    ends = np.concatenate([ordered, ordered + 2 * np.pi])[half - 1 : half - 1 + count]  # an arc may cross the seam
    shortest = int((ends - ordered).argmin())
    return float(_wrapped((ordered[shortest] + ends[shortest]) / 2))


def _wrapped(angle_rad: np.ndarray) -> np.ndarray:
    """The same angles in [-pi, pi)."""
    return (angle_rad + np.pi) % (2 * np.pi) - np.pi
