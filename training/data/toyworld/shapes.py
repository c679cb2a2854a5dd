"""Parts of a scene: ellipsoid, box and capped cylinder, each the image of a unit shape under an affine map.

Local frames: the unit sphere; the cube [-1, 1]^3; the cylinder x^2 + z^2 <= 1, |y| <= 1. A ray keeps its parameter under an affine
map, so depth is exact. Vectors are tuples of floats, sizes are half extents in world units, colours are RGB in [0, 1].
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from training.data.toyworld.grain import Grain
from training.data.toyworld.numbers import cos_sin_turns

ELLIPSOID, BOX, CYLINDER = 0, 1, 2
Vector = tuple[float, float, float]
Frame = tuple[Vector, Vector, Vector]  # the three local axes, in world coordinates
UPRIGHT: Frame = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of one scene as arrays; P parts. `kinds`: the three above, or a key of polyhedra.POLYHEDRA."""

    kinds: np.ndarray  # int64 [P]
    local_from_world: np.ndarray  # float64 [P, 3, 4]
    colours: np.ndarray  # float64 [P, 3]
    grain: Grain | None = None  # what varies the colours; None: nothing

    def __len__(self) -> int:
        return len(self.kinds)


def about_x(turns: float) -> Frame:
    """Axes turned about x: positive turns tip the top (+y) towards the front (+z)."""
    c, s = cos_sin_turns(turns)
    return ((1.0, 0.0, 0.0), (0.0, c, s), (0.0, -s, c))


def about_z(turns: float) -> Frame:
    """Axes turned about z: positive turns move +x towards the top (+y)."""
    c, s = cos_sin_turns(turns)
    return ((c, s, 0.0), (-s, c, 0.0), (0.0, 0.0, 1.0))


def _inverse(columns: Frame, centre: Vector) -> list[list[float]]:
    """3x4 map local_from_world for world = centre + columns * local, by cofactors."""
    (a, d, g), (b, e, h), (c, f, i) = columns
    cofactors = (
        (e * i - f * h, c * h - b * i, b * f - c * e),
        (f * g - d * i, a * i - c * g, c * d - a * f),
        (d * h - e * g, b * g - a * h, a * e - b * d),
    )
    determinant = a * cofactors[0][0] + b * cofactors[1][0] + c * cofactors[2][0]
    rows = []
    for row in cofactors:
        x, y, z = row[0] / determinant, row[1] / determinant, row[2] / determinant
        rows.append([x, y, z, -(x * centre[0] + y * centre[1] + z * centre[2])])
    return rows


@dataclass(slots=True)
class Builder:
    """Collects the parts of a scene."""

    kinds: list[int] = field(default_factory=list)
    maps: list[list[list[float]]] = field(default_factory=list)
    colours: list[Vector] = field(default_factory=list)

    def _add(self, kind: int, centre: Vector, columns: Frame, colour: Vector) -> None:
        self.kinds.append(kind)
        self.maps.append(_inverse(columns, centre))
        self.colours.append(colour)

    def ellipsoid(self, centre: Vector, half: Vector, colour: Vector, frame: Frame = UPRIGHT) -> None:
        """Ellipsoid with semi-axes `half` along the axes of `frame`."""
        self._add(ELLIPSOID, centre, _scaled(frame, half), colour)

    def box(self, centre: Vector, half: Vector, colour: Vector, frame: Frame = UPRIGHT) -> None:
        """Parallelepiped with half extents `half` along the axes of `frame`; the axes may be sheared."""
        self._add(BOX, centre, _scaled(frame, half), colour)

    def diamond(self, centre: Vector, half: Vector, colour: Vector, along: str) -> None:
        """Box of rhombic section standing on an edge (a gable roof, a bow). `along` names the axis of the prism, 'x', 'y' or 'z'; its
        half length and the half diagonals of the rhombus are in `half` (x, y, z)."""
        x, y, z = half
        columns = {
            'x': ((x, 0.0, 0.0), (0.0, y / 2, z / 2), (0.0, -y / 2, z / 2)),
            'y': ((x / 2, 0.0, z / 2), (0.0, y, 0.0), (-x / 2, 0.0, z / 2)),
            'z': ((x / 2, y / 2, 0.0), (-x / 2, y / 2, 0.0), (0.0, 0.0, z)),
        }[along]
        self._add(BOX, centre, columns, colour)

    def cylinder(self, centre: Vector, half: Vector, colour: Vector, along: str) -> None:
        """Capped cylinder, its axis along 'x', 'y' or 'z'; `half` (x, y, z) holds the half length and the two radii."""
        x, y, z = half
        columns = {
            'x': ((0.0, y, 0.0), (x, 0.0, 0.0), (0.0, 0.0, z)),
            'y': ((x, 0.0, 0.0), (0.0, y, 0.0), (0.0, 0.0, z)),
            'z': ((x, 0.0, 0.0), (0.0, 0.0, z), (0.0, y, 0.0)),
        }[along]
        self._add(CYLINDER, centre, columns, colour)

    def rod(self, start: Vector, end: Vector, radius: float, colour: Vector) -> None:
        """Round capped rod between two points."""
        axis = tuple((b - a) / 2 for a, b in zip(start, end, strict=True))
        centre = tuple((b + a) / 2 for a, b in zip(start, end, strict=True))
        # Any vector that is not parallel to the rod spans a plane with it.
        helper = (1.0, 0.0, 0.0) if axis[0] * axis[0] < 0.5 * _dot(axis, axis) else (0.0, 1.0, 0.0)
        across = _unit(_cross(axis, helper))
        second = _unit(_cross(across, axis))
        self._add(CYLINDER, centre, (_times(across, radius), axis, _times(second, radius)), colour)

    def parts(self) -> Parts:
        """What was collected, as arrays."""
        return Parts(np.array(self.kinds, dtype=np.int64), np.array(self.maps, dtype=np.float64), np.array(self.colours, dtype=np.float64))


def _scaled(frame: Frame, half: Vector) -> Frame:
    return tuple(_times(axis, size) for axis, size in zip(frame, half, strict=True))


def _times(v: Vector, factor: float) -> Vector:
    return (v[0] * factor, v[1] * factor, v[2] * factor)


def _dot(a: Vector, b: Vector) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _cross(a: Vector, b: Vector) -> Vector:
    return (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])


def _unit(v: Vector) -> Vector:
    return _times(v, 1 / math.sqrt(_dot(v, v)))
