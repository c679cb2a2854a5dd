"""The gates of E0: where each statistic lies for a sound generator, and which one must see which control."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

FARTHEST_SPREADS = 3.0  # a control must be this many real standard deviations from the real mean, whatever the gate says


@dataclass(frozen=True, slots=True)
class Gate:
    """A sound subject's statistic lies in [low, high] (None: open). times_real: the bounds are multiples of the mean over real splits."""

    low: float | None = None
    high: float | None = None
    times_real: bool = False


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and standard deviation of a statistic over real splits."""

    mean: float
    std: float

    @classmethod
    def of(cls, values: list[float]) -> 'Spread':
        """Over the splits; one split has no spread."""
        return cls(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0)


def outside(gate: Gate, value: float, real: Spread) -> bool:
    """Whether the value lies outside the gate; NaN always does."""
    unit = real.mean if gate.times_real else 1.0
    above_low = gate.low is None or value >= gate.low * unit
    below_high = gate.high is None or value <= gate.high * unit
    return not (above_low and below_high)


def flagged(gate: Gate, value: float, real: Spread) -> bool:
    """Outside the gate, and farther from the real mean than real splits are from one another."""
    return outside(gate, value, real) and not abs(value - real.mean) <= FARTHEST_SPREADS * real.std


GATES: Mapping[str, Gate] = {
    'finite': Gate(low=1.0),
    'fd_photo': Gate(high=1.35, times_real=True),
    'precision': Gate(low=0.9),
    'coverage': Gate(low=0.85),
    'class_kl': Gate(high=0.05),
    'mode_kl': Gate(high=0.1),
    'duplicates': Gate(high=0.1),
    'memorising': Gate(high=0.6),
    'sw_raw': Gate(high=0.12),
    'sw_aligned': Gate(high=0.08),
    'alignment': Gate(low=0.8),
    'slope': Gate(0.8, 1.2),
    'thickness_relative': Gate(0.75, 1.35),
    'depth_r': Gate(low=0.7),
    'depth_scale': Gate(0.6, 1.6),
    'hollow': Gate(high=0.25),
    'nfs_object': Gate(0.7, 1.5, times_real=True),
    'view_mode': Gate(low=0.9),
    'reprojection_coverage': Gate(low=0.8, times_real=True),
}
"""The band of a sound generator, statistic by statistic."""

SEEN_BY: Mapping[str, tuple[str, ...]] = {
    'noise, sigma 8 of 255': ('fd_photo',),
    'blur, sigma 0.7 px': ('fd_photo',),
    'blur, sigma 1.2 px': ('fd_photo',),
    '2x2 patches shuffled': ('fd_photo', 'precision', 'coverage'),
    '5 % of images NaN': ('finite',),
    '7 of 8 classes': ('class_kl',),
    '4 of 8 classes': ('class_kl', 'coverage'),
    'top colour mode only': ('mode_kl', 'coverage'),
    '100 images repeated': ('duplicates', 'coverage'),
    '400 images repeated': ('duplicates',),
    'copies of training images': ('memorising',),
    'pose collapse': ('sw_raw', 'sw_aligned'),
    'poses uniform': ('sw_raw', 'sw_aligned'),
    'poses narrow': ('sw_raw', 'sw_aligned'),
    'poses mirrored': ('sw_raw', 'sw_aligned'),
    'labels shuffled': ('alignment',),
    'depth times 0.5': ('slope', 'thickness_relative', 'depth_scale'),
    'depth times 0.25': ('slope', 'thickness_relative', 'depth_scale', 'nfs_object'),
    'depth times 0.04': ('slope', 'thickness_relative', 'depth_scale', 'nfs_object'),
    'identity changes with the view': ('view_mode',),
    'camera ignored': ('slope', 'reprojection_coverage'),
    'inside out': ('slope', 'hollow'),
    'stickers on a ball': ('depth_r',),
    'fog: all density at the far end': ('thickness_relative', 'depth_scale', 'nfs_object'),
}
"""Control: the statistics each of which must flag it."""
