"""Solid textures: stripes, checks or speckles, fixed to a part as the grain is to wood. Correctly rounded operations only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SMOOTH, STRIPES, CHECKS, SPECKLES = 0, 1, 2, 3
DARK = 0.62
_SPECKLED = 0.3  # of the cells
# Odd constants of the SplitMix64 finaliser (Steele, Lea and Flood 2014) and 2^64 over the golden ratio.
_STEPS = tuple(np.uint64(k) for k in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


@dataclass(frozen=True, slots=True)
class Grain:
    """The texture of each of P parts. Pattern coordinates are `cells * local`; stripes (along their sum) repeat after 1, checks after 2."""

    patterns: np.ndarray  # int64 [P]
    cells: np.ndarray  # float64 [P, 3]


def grained(colours: np.ndarray, grain: Grain, part: np.ndarray, local: list[np.ndarray]) -> np.ndarray:
    """Colours float64 [H, 3] of points of parts `part` [H] at local coordinates 3 x [H], darkened by DARK where the pattern says so."""
    pattern = grain.patterns[part]
    p = [grain.cells[part, k] * local[k] for k in range(3)]
    along = p[0] + p[1] + p[2]
    cell = [np.floor(q).astype(np.int64) for q in p]
    dark = ((pattern == STRIPES) & (along - np.floor(along) < 0.5)) | ((pattern == CHECKS) & ((cell[0] + cell[1] + cell[2]) % 2 == 0))
    dark |= (pattern == SPECKLES) & _speckled(cell)
    return colours * np.where(dark, DARK, 1.0)[:, None]


def _speckled(cell: list[np.ndarray]) -> np.ndarray:
    """Whether a cell of the grid is a speckle: a hash of its three numbers."""
    word = np.zeros(len(cell[0]), dtype=np.uint64)
    for k in range(3):
        word = (word ^ cell[k].astype(np.uint64)) * _STEPS[0]
        word = (word ^ (word >> np.uint64(30))) * _STEPS[1]
        word = (word ^ (word >> np.uint64(27))) * _STEPS[2]
        word ^= word >> np.uint64(31)
    return (word >> np.uint64(11)).astype(np.float64) * 2.0**-53 < _SPECKLED
