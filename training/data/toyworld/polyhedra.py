"""Convex unit shapes with flat faces: intersections of slabs |n . p| <= 1 in local coordinates, all within the cube [-1, 1]^3."""

from __future__ import annotations

import math

import numpy as np

from training.data.toyworld.shapes import BOX, CYLINDER, ELLIPSOID

GEM, CHAMFERED, HEXAGONAL = 3, 4, 5
CARVED = {ELLIPSOID: GEM, BOX: CHAMFERED, CYLINDER: HEXAGONAL}  # what stands for what

_CUBE = [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)]
_GEM = 1.2  # |x| + |y| + |z|: 1 is an octahedron, 1.5 a truncated octahedron whose edges are equal
_CHAMFER = 1.6  # |x| + |y|: 2 leaves the edges of the cube alone
_HEXAGON = math.sqrt(0.75)  # from the axis to a side; the corners touch the unit circle

POLYHEDRA: dict[int, np.ndarray] = {  # normals over half widths, float64 [slabs, 3]
    GEM: np.array([*_CUBE, *((1 / _GEM, y / _GEM, z / _GEM) for y in (-1.0, 1.0) for z in (-1.0, 1.0))]),
    CHAMFERED: np.array([
        *_CUBE,
        *((1 / _CHAMFER, s / _CHAMFER, 0.0) for s in (-1.0, 1.0)),
        *((0.0, 1 / _CHAMFER, s / _CHAMFER) for s in (-1.0, 1.0)),
        *((s / _CHAMFER, 0.0, 1 / _CHAMFER) for s in (-1.0, 1.0)),
    ]),
    HEXAGONAL: np.array([(0.0, 1.0, 0.0), (0.0, 0.0, 1 / _HEXAGON), (1.0, 0.0, 0.5 / _HEXAGON), (1.0, 0.0, -0.5 / _HEXAGON)]),
}
