"""Means over pictures of what they tell of shape, NaN where nothing could be measured, and the spread of cameras."""

import torch
from torch import Tensor

from metrics.bulge import bulge
from metrics.measurable import NotMeasurable
from metrics.pose_distribution import circular_std_deg
from metrics.thickness import thickness
from training.cameras.camera import Camera
from training.monitors.alarms import NOT_MEASURED


def mean_thickness(depth: Tensor, opacity: Tensor, camera: Camera) -> float:
    """Of the pictures in which enough of an object is seen; NaN if there are none. Depth and opacity [N, 1, R, R], as metrics/thickness.py."""
    try:
        return mean_of_measured(thickness(depth, opacity, camera))
    except NotMeasurable:
        return NOT_MEASURED


def mean_bulge(depth: Tensor, opacity: Tensor, camera: Camera) -> float:
    """Of the pictures in which enough of an object is seen; NaN if there are none. Depth and opacity [N, 1, R, R], as metrics/bulge.py."""
    try:
        return mean_of_measured(bulge(depth, opacity, camera))
    except NotMeasurable:
        return NOT_MEASURED


def pose_spread_deg(camera: Camera) -> float:
    """Circular standard deviation of the yaw from which N cameras look at whatever target; 0: all from one side, large: from all around."""
    forward = camera.forwards.double()
    return circular_std_deg(torch.atan2(-forward[:, 0], -forward[:, 2]).numpy())


def mean_of_measured(values: Tensor) -> float:
    """The mean of those that could be measured; NaN if none could."""
    known = values[~torch.isnan(values)].double()
    return float(known.mean()) if len(known) else NOT_MEASURED
