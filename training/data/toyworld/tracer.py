"""Ray casting of analytic parts: exact depth, normals and colours, with the same bits on every machine.

Float64 with correctly rounded operations only; no matrix products, whose order of summation is up to the BLAS library.
A camera ray is p(z) = origin + z (x, y, 1) in camera axes, so the ray parameter is the z-depth; affine maps keep it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.data.toyworld.grain import grained
from training.data.toyworld.polyhedra import POLYHEDRA
from training.data.toyworld.shapes import BOX, CYLINDER, ELLIPSOID, Parts

_TINY = 1e-12
_CORNERS = np.array([[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])


@dataclass(frozen=True, slots=True)
class View:
    """One camera: OpenCV world_from_camera float64 [4, 4], intrinsics in units of the image float64 [3, 3]."""

    world_from_camera: np.ndarray
    intrinsics: np.ndarray

    def ray_slopes(self, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rays through the centres of a side x side grid: x = across[col] + skew[row], y = down[row], z = 1."""
        k = self.intrinsics
        centres = (np.arange(side) + 0.5) / side
        down = (centres - k[1, 2]) / k[1, 1]
        return (centres - k[0, 2]) / k[0, 0], -(k[0, 1] * down) / k[0, 0], down


def camera_rays(view: View, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x and y of the rays (x, y, 1) in camera axes, and their lengths: each float64 [side, side]."""
    across, skew, down = view.ray_slopes(side)
    x = across[None, :] + skew[:, None]
    y = np.broadcast_to(down[:, None], x.shape)
    return x, y, np.sqrt(x * x + y * y + 1)


def ray_directions(view: View, side: int) -> np.ndarray:
    """Unit world directions of the rays: float64 [side * side, 3]."""
    x, y, length = camera_rays(view, side)
    r = view.world_from_camera
    return np.stack([((r[k, 0] * x + r[k, 1] * y + r[k, 2]) / length).ravel() for k in range(3)], axis=-1)


@dataclass(frozen=True, slots=True)
class Hits:
    """The nearest part along each ray of a side x side grid."""

    z: np.ndarray  # float64 [side, side]; inf where nothing is hit
    part: np.ndarray  # int64 [side, side]; -1 where nothing is hit


@dataclass(frozen=True, slots=True)
class Surface:
    """What is seen at H hits (row-major order of the grid)."""

    where: np.ndarray  # int64 [H], flat ray numbers
    normals: np.ndarray  # float64 [H, 3], unit, world coordinates, pointing out of the part
    colours: np.ndarray  # float64 [H, 3], without light


def _sum3(a: Sequence, b: Sequence) -> np.ndarray | float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _local_camera(parts: Parts, view: View) -> tuple[np.ndarray, np.ndarray]:
    """Per part, in local coordinates: camera axes float64 [P, 3, 3] (columns x, y, z) and camera position float64 [P, 3]."""
    maps, pose = parts.local_from_world, view.world_from_camera
    axes = maps[:, :, 0, None] * pose[0, :3] + maps[:, :, 1, None] * pose[1, :3] + maps[:, :, 2, None] * pose[2, :3]
    origin = maps[:, :, 0] * pose[0, 3] + maps[:, :, 1] * pose[1, 3] + maps[:, :, 2] * pose[2, 3] + maps[:, :, 3]
    return axes, origin


def world_from_local(parts: Parts) -> tuple[np.ndarray, np.ndarray]:
    """Inverse maps: float64 [P, 3, 3] and centres float64 [P, 3]; by cofactors."""
    m = parts.local_from_world
    r0, r1, r2 = m[:, 0, :3], m[:, 1, :3], m[:, 2, :3]
    columns = np.stack([_cross(r1, r2), _cross(r2, r0), _cross(r0, r1)], axis=-1)
    inverse = columns / _sum3(r0.T, columns[:, :, 0].T)[:, None, None]
    shift = m[:, :, 3]
    return inverse, -(inverse[:, :, 0] * shift[:, 0, None] + inverse[:, :, 1] * shift[:, 1, None] + inverse[:, :, 2] * shift[:, 2, None])


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    (a0, a1, a2), (b0, b1, b2) = a.T, b.T
    return np.stack([a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0], axis=-1)


def _windows(parts: Parts, view: View, side: int) -> np.ndarray:
    """Rows and columns that a part can cover: int64 [P, 4] = row from, row to, column from, column to."""
    matrix, centre = world_from_local(parts)
    corners = centre[:, None] + sum(matrix[:, None, :, k] * _CORNERS[None, :, k, None] for k in range(3)) - view.world_from_camera[:3, 3]
    x, y, z = (sum(corners[..., j] * view.world_from_camera[j, k] for j in range(3)) for k in range(3))
    k = view.intrinsics
    safe = np.maximum(z, _TINY)
    u = (k[0, 0] * x + k[0, 1] * y) / safe + k[0, 2]
    v = k[1, 1] * y / safe + k[1, 2]
    # One ray of margin: this only limits the work, so its rounding must never cut a part.
    low = np.stack([v.min(1), u.min(1)], 1) * side - 1.5
    high = np.stack([v.max(1), u.max(1)], 1) * side + 1.5
    low, high = np.floor(np.clip(low, 0, side)).astype(np.int64), np.ceil(np.clip(high, 0, side)).astype(np.int64)
    behind = (z.min(1) <= 1e-3)[:, None]
    low, high = np.where(behind, 0, low), np.where(behind, side, high)
    return np.stack([low[:, 0], high[:, 0], low[:, 1], high[:, 1]], 1)


def _quadratic(a: np.ndarray, b: np.ndarray, c: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Roots of a t^2 + 2 b t + c: (near, far, real)."""
    discriminant = b * b - a * c
    root = np.sqrt(np.maximum(discriminant, 0))
    a = np.maximum(a, _TINY * _TINY)
    return (-b - root) / a, (root - b) / a, discriminant > 0


def _slab(origin: float, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where |origin + t direction| <= 1: (near, far)."""
    inverse = 1 / np.where(np.abs(direction) < _TINY, _TINY, direction)
    middle, half = -origin * inverse, np.abs(inverse)
    return middle - half, middle + half


def _first_hit(kind: int, o: np.ndarray, d: list[np.ndarray]) -> np.ndarray:
    """Ray parameter where a ray from outside enters the unit shape; inf where it does not."""
    if kind == ELLIPSOID:
        near, _, real = _quadratic(_sum3(d, d), _sum3(o, d), _sum3(o, o) - 1)
        return np.where(real & (near > 0), near, np.inf)
    if kind == BOX:
        slabs = [_slab(o[k], d[k]) for k in range(3)]
        near = np.maximum(np.maximum(slabs[0][0], slabs[1][0]), slabs[2][0])
        far = np.minimum(np.minimum(slabs[0][1], slabs[1][1]), slabs[2][1])
        return np.where((near < far) & (near > 0), near, np.inf)
    if kind in POLYHEDRA:
        return _enter_polyhedron(POLYHEDRA[kind], o, d)
    assert kind == CYLINDER, kind
    round_near, round_far, real = _quadratic(d[0] * d[0] + d[2] * d[2], o[0] * d[0] + o[2] * d[2], o[0] * o[0] + o[2] * o[2] - 1)
    flat_near, flat_far = _slab(o[1], d[1])
    near = np.maximum(round_near, flat_near)
    return np.where(real & (near < np.minimum(round_far, flat_far)) & (near > 0), near, np.inf)


def _enter_polyhedron(slabs: np.ndarray, o: np.ndarray, d: list[np.ndarray]) -> np.ndarray:
    near, far = np.float64(-np.inf), np.float64(np.inf)
    for normal in slabs:
        # Terms whose factor is 0 are left out for speed; adding a zero would not change a bit.
        terms = [k for k in range(3) if normal[k] != 0]
        enters, leaves = _slab(sum(normal[k] * o[k] for k in terms), sum(normal[k] * d[k] for k in terms))
        near, far = np.maximum(near, enters), np.minimum(far, leaves)
    return np.where((near < far) & (near > 0), near, np.inf)


def cast(parts: Parts, view: View, side: int) -> Hits:
    """Nearest part along the rays through the centres of a side x side grid. Ties go to the part that was added first."""
    axes, origins = _local_camera(parts, view)
    across, skew, down = view.ray_slopes(side)
    best = np.full((side, side), np.inf)
    winner = np.full((side, side), -1, dtype=np.int64)
    for p, (top, bottom, left, right) in enumerate(_windows(parts, view, side)):
        if top >= bottom or left >= right:
            continue
        x, s, y = across[left:right], skew[top:bottom], down[top:bottom]
        # Local directions are affine in (column, row): a column term plus a row term.
        direction = [(axes[p, k, 0] * x)[None, :] + (axes[p, k, 0] * s + axes[p, k, 1] * y + axes[p, k, 2])[:, None] for k in range(3)]
        z = _first_hit(int(parts.kinds[p]), origins[p], direction)
        window = best[top:bottom, left:right]
        nearer = z < window
        window[nearer] = z[nearer]
        winner[top:bottom, left:right][nearer] = p
    return Hits(best, winner)


def surface(parts: Parts, view: View, hits: Hits) -> Surface:
    """Normals and colours at the hits."""
    side = len(hits.z)
    where = np.flatnonzero(hits.part >= 0)
    part, z = hits.part.ravel()[where], hits.z.ravel()[where]
    across, skew, down = view.ray_slopes(side)
    row, column = where // side, where % side
    x, y = across[column] + skew[row], down[row]
    axes, origins = _local_camera(parts, view)
    local = [origins[part, k] + z * (axes[part, k, 0] * x + axes[part, k, 1] * y + axes[part, k, 2]) for k in range(3)]
    normal = _local_normals(parts.kinds[part], local)
    colours = parts.colours[part] if parts.grain is None else grained(parts.colours[part], parts.grain, part, local)
    maps = parts.local_from_world[part]
    world = [normal[0] * maps[:, 0, k] + normal[1] * maps[:, 1, k] + normal[2] * maps[:, 2, k] for k in range(3)]
    length = np.sqrt(_sum3(world, world))
    return Surface(where, np.stack([w / length for w in world], axis=-1), colours)


def _local_normals(kinds: np.ndarray, local: list[np.ndarray]) -> list[np.ndarray]:
    """Outward normals (not unit) of the unit shapes at points on them."""
    x, y, z = local
    size = [np.abs(x), np.abs(y), np.abs(z)]
    # The face of a box is the axis on which the point is farthest out.
    on_x = (size[0] >= size[1]) & (size[0] >= size[2])
    on_y = ~on_x & (size[1] >= size[2])
    faces = [np.where(on_x, x, 0), np.where(on_y, y, 0), np.where(on_x | on_y, 0, z)]
    cap = y * y > x * x + z * z
    tube = [np.where(cap, 0, x), np.where(cap, y, 0), np.where(cap, 0, z)]
    normals = [np.where(kinds == BOX, faces[k], np.where(kinds == CYLINDER, tube[k], local[k])) for k in range(3)]
    for kind, slabs in POLYHEDRA.items():
        here = np.flatnonzero(kinds == kind)
        if len(here):
            out = sum(slabs[:, k, None] * local[k][here] for k in range(3))
            # The face is the one whose plane the point is nearest to, from inside.
            face = np.abs(out).argmax(0)
            sign = np.where(out[face, np.arange(len(here))] > 0, 1.0, -1.0)
            for k in range(3):
                normals[k][here] = sign * slabs[face, k]
    return normals
