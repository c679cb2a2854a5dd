"""How cost grows: times at several sizes, a straight line through them, and how far they are from it."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.cases.rendering import RendererCase

TOLERANCE = 0.2  # largest relative distance from the line that still counts as linear, on machines that others use, too


@dataclass(frozen=True, slots=True)
class Curve:
    """Cases by their size in one direction, named by `axis`, the smallest first."""

    axis: str
    points: tuple[tuple[int, RendererCase], ...]


@dataclass(frozen=True, slots=True)
class Fit:
    """seconds = start + slope * size. `deviation` is the largest |fit / measured - 1|."""

    start: float
    slope: float
    deviation: float

    @property
    def is_linear(self) -> bool:
        return self.deviation <= TOLERANCE


def fit(sizes: Sequence[float], seconds: Sequence[float]) -> Fit:
    """The line with the least sum of squared relative errors, of at least three points."""
    assert len(sizes) == len(seconds) >= 3, 'a line fits any two points'
    # (start + slope size) / seconds = 1 is a linear least-squares problem in start and slope, with the columns 1 / seconds, size / seconds.
    ones, scaled = [1 / t for t in seconds], [n / t for n, t in zip(sizes, seconds, strict=True)]
    aa, ab, bb = _dot(ones, ones), _dot(ones, scaled), _dot(scaled, scaled)
    determinant = aa * bb - ab * ab
    start = (bb * sum(ones) - ab * sum(scaled)) / determinant
    slope = (aa * sum(scaled) - ab * sum(ones)) / determinant
    deviation = max(abs((start + slope * n) / t - 1) for n, t in zip(sizes, seconds, strict=True))
    return Fit(start, slope, deviation)


def _dot(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(p * q for p, q in zip(a, b, strict=True))
