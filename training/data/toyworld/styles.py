"""Two renderers of the same scenes: `plain`, smooth shapes of one colour under Lambert's law, and `carved`, which looks unlike it.

A style changes shapes, textures, light and shading, never the class, the pose, the colour mode or the place of a part, so that what was
learned of one can be tried on the other. `carved`: gems, chamfered boxes and hexagonal prisms stand for ellipsoids, boxes and cylinders,
with stripes, checks and speckles, under a low light from one side, shaded in bands with a highlight and a rim.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from training.data.toyworld.grain import CHECKS, SMOOTH, SPECKLES, STRIPES, Grain
from training.data.toyworld.numbers import Draws, cos_sin_turns
from training.data.toyworld.polyhedra import CARVED
from training.data.toyworld.shapes import Parts, Vector
from training.data.toyworld.tracer import Surface, View, ray_directions, world_from_local

AMBIENT = 0.38
BANDS = 4
SHADOW = (0.4, 0.42, 0.5)  # what the darkest band leaves of a colour: bluish
LIT = (1.0, 0.98, 0.92)  # and the brightest: yellowish
RIM = 0.28
HIGHLIGHT = 0.35
TOO_SMALL = 0.09  # world units, the second largest half extent of a part below which a pattern would be noise


@dataclass(frozen=True, slots=True)
class Style:
    """`shape`: parts of the plain style to parts of this one. `light`: unit direction towards the light. `shade`: RGB in [0, 1] of what is
    seen under a light by the rays of a view with so many rays per side, float64 [H, 3]."""

    shape: Callable[[Parts, Draws], Parts]
    light: Callable[[Draws], Vector]
    shade: Callable[[Surface, Vector, View, int], np.ndarray]


def _as_built(parts: Parts, draws: Draws) -> Parts:
    return parts


def _from_the_front(draws: Draws) -> Vector:
    return _direction(draws.between('light/azimuth', -0.19, 0.19), draws.between('light/elevation', 0.065, 0.175))


def _lambert(seen: Surface, light: Vector, view: View, side: int) -> np.ndarray:
    return seen.colours * (AMBIENT + (1 - AMBIENT) * np.maximum(_dot(seen.normals, light), 0))[:, None]


def _carve(parts: Parts, draws: Draws) -> Parts:
    """Other unit shapes under the same maps; parts of one colour are of one material."""
    u = draws.units('carved/grain', 3 * len(parts)).reshape(-1, 3)
    colours = [tuple(colour) for colour in parts.colours.tolist()]
    material = np.array([colours.index(colour) for colour in colours])
    # Lengths of the local axes in the world: cells have one size on all parts.
    axes, _ = world_from_local(parts)
    lengths = np.sqrt(axes[:, 0] * axes[:, 0] + axes[:, 1] * axes[:, 1] + axes[:, 2] * axes[:, 2])
    pattern = np.array((STRIPES, CHECKS, SPECKLES))[(u[material, 0] * 3).astype(np.int64)]
    size = np.where(pattern == STRIPES, 0.16 + 0.08 * u[material, 1], np.where(pattern == CHECKS, 0.12 + 0.06 * u[material, 1], 0.07))
    # Stripes run across one axis; checks and speckles are cut from a grid of all three.
    axis = (u[material, 2] * 3).astype(np.int64)
    kept = (pattern != STRIPES)[:, None] | (np.arange(3) == axis[:, None])
    pattern = np.where(np.sort(lengths, axis=1)[:, 1] < TOO_SMALL, SMOOTH, pattern)
    kinds = np.array([CARVED[kind] for kind in parts.kinds.tolist()], dtype=np.int64)
    return Parts(kinds, parts.local_from_world, parts.colours, Grain(pattern, np.where(kept, lengths / size[:, None], 0.0)))


def _from_one_side(draws: Draws) -> Vector:
    turns = draws.between('carved/light/azimuth', 0.09, 0.27)
    side = (-1.0, 1.0)[draws.integer('carved/light/side', 2)]
    return _direction(side * turns, draws.between('carved/light/elevation', 0.06, 0.12))


def _banded(seen: Surface, light: Vector, view: View, side: int) -> np.ndarray:
    """Half-Lambert (Mitchell, McTaggart and Green, "Shading in Valve's Source engine", 2006) in bands; Blinn's highlight (1977); a rim."""
    n = seen.normals
    half = 0.5 + 0.5 * _dot(n, light)
    band = np.minimum(np.floor(half * half * BANDS), BANDS - 1)[:, None] / (BANDS - 1)
    colours = seen.colours * (np.array(SHADOW) * (1 - band) + np.array(LIT) * band)
    back = -ray_directions(view, side)[seen.where]
    between = back + np.array(light)
    shine = np.maximum(_dot3(n, between) / np.sqrt(np.maximum(_dot3(between, between), 1e-12)), 0)
    for _ in range(4):  # to the power of 16
        shine = shine * shine
    grazing = 1 - np.clip(_dot3(n, back), 0, 1)
    extra = (HIGHLIGHT * shine + RIM * grazing * grazing * grazing)[:, None]
    return colours + (1 - colours) * np.minimum(extra, 1)


def _direction(azimuth_turns: float, elevation_turns: float) -> Vector:
    c, s = cos_sin_turns(azimuth_turns)
    ce, se = cos_sin_turns(elevation_turns)
    return (s * ce, se, c * ce)


def _dot(rows: np.ndarray, v: Vector) -> np.ndarray:
    return rows[:, 0] * v[0] + rows[:, 1] * v[1] + rows[:, 2] * v[2]


def _dot3(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[:, 0] * b[:, 0] + a[:, 1] * b[:, 1] + a[:, 2] * b[:, 2]


STYLES: dict[str, Style] = {
    'plain': Style(_as_built, _from_the_front, _lambert),
    'carved': Style(_carve, _from_one_side, _banded),
}
