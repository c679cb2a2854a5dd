"""Procedural pictures with the statistics of clutter: many overlapping discs and boxes, few of them large.

The dead leaves model with sizes of density r^-3, whose pictures share the scale invariance of photographs (Lee, Mumford and Huang,
"Occlusion models for natural images: a statistical study of a scale-invariant dead leaves model", IJCV 41, 2001). A picture is a function
of the place (u, v) in [0, 1]^2, so its resolution changes nothing. Correctly rounded operations only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.data.toyworld.colour import hsv
from training.data.toyworld.numbers import Draws

PALETTE = 4
_PER_LEAF = 12
_EIGHTH = 0.41421356237309503  # tangent of an eighth of half a turn: turns up to 45 degrees either way
_STRIPED = 0.2  # share of the leaves


@dataclass(frozen=True, slots=True)
class Leaves:
    """One picture: K leaves, the farthest first, and leaf K, which lies behind everything and is a gradient.

    A leaf has axes a and b: a point's coordinates on them, in half widths, are `frames[k] @ (u, v, 1)`; it is in a disc if a^2 + b^2 < 1,
    in a box if a^2, b^2 < 1. Its colour is `colours * (1 + slopes * a)`, and a striped one is darker where the fraction of `stripes * a` is
    below a half.
    """

    frames: np.ndarray  # float64 [K + 1, 2, 3]
    reach: np.ndarray  # float64 [K, 4], least and greatest u, least and greatest v that a leaf may cover
    discs: np.ndarray  # bool [K]
    colours: np.ndarray  # float64 [K + 1, 3]
    slopes: np.ndarray  # float64 [K + 1]
    stripes: np.ndarray  # float64 [K + 1], 0 where there are none

    def painted(self, centres: np.ndarray) -> np.ndarray:
        """RGB in [0, 1] at the points (u, v) of a grid with these ascending coordinates [S] both ways: float64 [S, S, 3], row by row."""
        side, last = len(centres), len(self.discs)
        owner = np.full((side, side), last, dtype=np.int64)
        # The window only limits the work: a leaf decides point by point what it covers.
        windows = np.searchsorted(centres, self.reach)
        join = [np.add if disc else np.maximum for disc in self.discs.tolist()]
        across = self.frames[:, :, 0, None] * centres
        down = self.frames[:, :, 1, None] * centres + self.frames[:, :, 2, None]
        for k, (left, right, top, bottom) in enumerate(windows.tolist()):
            if left >= right or top >= bottom:
                continue
            axes = across[k, :, None, left:right] + down[k, :, top:bottom, None]
            axes *= axes
            inside = join[k](axes[0], axes[1]) < 1
            owner[top:bottom, left:right][inside] = k
        frames = self.frames[owner, 0]
        a = frames[..., 0] * centres + frames[..., 1] * centres[:, None] + frames[..., 2]
        phase = self.stripes[owner] * a
        darker = np.where((phase - np.floor(phase) < 0.5) & (phase != 0), 0.6, 1.0)
        return np.clip(self.colours[owner] * ((1 + self.slopes[owner] * a) * darker)[..., None], 0, 1)


def draw_leaves(draws: Draws, address: str, count: int, sizes: tuple[float, float]) -> Leaves:
    """The picture at an address: `count` leaves with half widths between the two `sizes`, in pictures."""
    general = draws.units(f'{address}/palette', 3 * PALETTE + 6)
    hues = np.array([hsv(general[3 * k], 0.35 + 0.6 * general[3 * k + 1], 0.45 + 0.55 * general[3 * k + 2]) for k in range(PALETTE)])
    u = draws.units(f'{address}/leaves', _PER_LEAF * count).reshape(count, _PER_LEAF).T
    small, large = sizes
    # Sizes by the inverse of their distribution, whose density is proportional to r^-3.
    size = 1 / np.sqrt(1 / (small * small) - u[0] * (1 / (small * small) - 1 / (large * large)))
    shape = 0.45 + 0.55 * u[1]
    half = np.stack([size, size * shape])
    t = _EIGHTH * (2 * u[2] - 1)
    cosine, sine = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
    upright = u[3] < 0.5  # which axis is the long one
    half = np.where(upright, half, half[::-1])
    # Leaves at the border of the picture lie partly outside it.
    at = -0.1 + 1.2 * u[4:6]
    rows = np.stack([np.stack([cosine, sine], 1), np.stack([-sine, cosine], 1)], 1) / half.T[:, :, None]
    shift = -(rows[:, :, 0] * at[0, :, None] + rows[:, :, 1] * at[1, :, None])
    extent = np.stack([np.abs(cosine) * half[0] + np.abs(sine) * half[1], np.abs(sine) * half[0] + np.abs(cosine) * half[1]]) * 1.001
    reach = np.stack([at[0] - extent[0], at[0] + extent[0], at[1] - extent[1], at[1] + extent[1]], 1)
    value = 0.12 + 0.85 * u[6]
    tint = u[7]
    colours = value[:, None] * ((1 - tint)[:, None] + tint[:, None] * hues[(u[8] * PALETTE).astype(np.int64)])
    stripes = np.where(u[9] < _STRIPED, 1.0 + 2 * u[10], 0.0)
    slopes = np.where(u[9] < _STRIPED, 0.0, 0.5 * (2 * u[10] - 1))
    behind = general[3 * PALETTE :]
    gradient = np.array([[[2 * behind[0] - 1, 2 * behind[1] - 1, 1 - behind[0] - behind[1]], [0.0, 0.0, 0.0]]])
    ground = (0.35 + 0.5 * behind[2]) * ((1 - behind[3]) + behind[3] * hues[0])
    return Leaves(
        np.concatenate([np.concatenate([rows, shift[:, :, None]], 2), gradient]), reach, u[11] < 0.5,
        np.concatenate([colours, ground[None]]), np.append(slopes, 0.5), np.append(stripes, 0.0),
    )
