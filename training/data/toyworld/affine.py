"""Scenes whose geometry an affine map of the world has changed: squashed, sheared, scaled, turned or moved; the truth stays exact."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dnnlib.errors import UsageError
from training.data.toyworld.world import Scene

_SINGULAR = 1e-9  # determinant over the product of the lengths of the columns


def moved(scene: Scene, world_from_world: np.ndarray) -> Scene:
    """The scene after x -> A x + b, with `world_from_world` = [A b] float64 [3, 4], or [4, 4] with the last row 0 0 0 1.

    Every part and its texture is mapped; a part's normals are those of the mapped part (they go with the inverse transpose). The light, the
    background and the colours stay. Mirrors are allowed. Raises UsageError if A cannot be inverted or the array is no such map.
    """
    m = np.asarray(world_from_world, dtype=np.float64)
    if m.shape not in ((3, 4), (4, 4)) or not np.isfinite(m).all() or (len(m) == 4 and m[3].tolist() != [0, 0, 0, 1]):
        raise UsageError(
            f'moved needs a finite affine map of shape 3x4, or 4x4 with the last row 0 0 0 1; got {np.array2string(m, threshold=16)}.'
        )
    inverse = _inverse(m)
    before = scene.parts.local_from_world
    after = before[:, :, 0, None] * inverse[0] + before[:, :, 1, None] * inverse[1] + before[:, :, 2, None] * inverse[2]
    after[:, :, 3] += before[:, :, 3]
    return replace(scene, parts=replace(scene.parts, local_from_world=after))


def _inverse(m: np.ndarray) -> np.ndarray:
    """Inverse map [3, 4] by cofactors: correctly rounded operations only."""
    (a, b, c), (d, e, f), (g, h, i) = m[:3, :3].tolist()
    rows = np.array([
        [e * i - f * h, c * h - b * i, b * f - c * e],
        [f * g - d * i, a * i - c * g, c * d - a * f],
        [d * h - e * g, b * g - a * h, a * e - b * d],
    ])
    determinant = a * rows[0, 0] + b * rows[1, 0] + c * rows[2, 0]
    scale = np.sqrt((m[:3, :3] * m[:3, :3]).sum(0)).prod()
    if abs(determinant) <= _SINGULAR * scale:
        raise UsageError(f'moved cannot invert a map whose determinant is {determinant:g}.')
    rows = rows / determinant
    shift = -(rows[:, 0] * m[0, 3] + rows[:, 1] * m[1, 3] + rows[:, 2] * m[2, 3])
    return np.concatenate([rows, shift[:, None]], axis=1)
