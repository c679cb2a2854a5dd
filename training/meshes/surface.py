"""From densities to a coloured surface: which level, where, which way out, what colour."""

import math
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from custom_ops.volume.compositing import march
from dnnlib.errors import DataError, MissingInputError, UsageError
from training.meshes.grid import DensityGrid, density_grid, physical_density, raw_of_density
from training.rendering.renderer import Field, RenderingConfig


@dataclass(frozen=True, slots=True)
class Mesh:
    """Triangles in world units: x right, y up, z towards the viewer who stands in front (right-handed, the axes of glTF)."""

    vertices: np.ndarray                    # float32 [V, 3]
    faces: np.ndarray                       # int32 [F, 3], counter-clockwise seen from outside
    colours: np.ndarray | None = None       # uint8 [V, 3], sRGB

    @property
    def volume(self) -> float:
        """Enclosed volume, by the divergence theorem; positive when faces look outward."""
        return float(_volumes(self).sum())


def coloured_surface(field: Field, rendering: RenderingConfig, resolution: int = 128, level: float | None = None,
                     largest_only: bool = False, device: torch.device | str = 'cpu') -> Mesh:
    """The surface of one scene's field (N = 1) in the box of its renderer: grid, marching cubes, colours. Errors: see the three
    functions."""
    require_marching_cubes()
    grid = density_grid(field, rendering.box_side, resolution, device)
    return colour_vertices(extract_surface(grid, rendering, level, largest_only), field, rendering, grid.voxel_side, device)


def adaptive_level(grid: DensityGrid, rendering: RenderingConfig) -> float:
    """The physical density at which the visible surface lies, for an object of any scale and softness.

    Light is sent through the grid along each of its six axis directions, a ray per voxel of a face. The surface that such a ray shows is
    where it has lost half of its light, exp(-integral of density) = 1/2: the median of what a volume renderer composites. The level is the
    median, over the rays that lose half of their light, of the density at that point. A hard object gives its half-way density, a soft one
    the depth at which it looks solid; no sample distance, box size or guess enters.

    Where fewer than one ray in a thousand loses half of its light (fog, or a network that has hardly been trained), there is no visible
    surface, and the level is the mean of the smallest and the largest density: the surface of what is densest.
    """
    raw = torch.from_numpy(grid.raw)
    every = math.ceil(len(raw) / 128)                                     # 100,000 rays are enough for a median
    levels = []
    for axis in range(3):
        rays = raw.movedim(axis, 0)[:, ::every, ::every].flatten(1)       # [along the ray, rays]
        for direction in (rays, rays.flip(0)):
            levels.append(_density_at_half_light(direction, grid.voxel_side, rendering))
    found = torch.cat(levels)
    if len(found) < 1e-3 * 6 * rays.shape[1]:
        return float(physical_density(torch.stack([raw.min(), raw.max()]), rendering).mean())
    return float(found.median())


def _density_at_half_light(raw: Tensor, step: float, rendering: RenderingConfig) -> Tensor:
    """Physical density at the point where half of the light is lost, of the rays that get there: raw [samples, rays], from voxel to
    voxel."""
    thickness = physical_density((raw[1:] + raw[:-1]) / 2, rendering) * step        # of the segments, midpoint rule as in rendering
    depth = thickness.cumsum(0)
    reached = depth[-1] >= math.log(2)
    raw, thickness, depth = raw[:, reached], thickness[:, reached], depth[:, reached]
    segment = (depth < math.log(2)).sum(0, keepdim=True)                  # the one in which it happens
    share = 1 - (depth.gather(0, segment) - math.log(2)) / thickness.gather(0, segment)
    start, end = raw.gather(0, segment), raw.gather(0, segment + 1)
    return physical_density(start + share * (end - start), rendering)[0]


def extract_surface(grid: DensityGrid, rendering: RenderingConfig, level: float | None = None, largest_only: bool = False) -> Mesh:
    """Marching cubes (Lorensen and Cline 1987, the variant of Lewiner et al. 2003 in scikit-image) at a physical density.

    `level` in density per world unit; None: `adaptive_level`. The mesh is closed: outside the box is empty, and matter that reaches a face
    of the box is cut exactly there. `largest_only` keeps the piece that encloses the largest volume and drops floaters and inner cavities.

    Raises UsageError (level not positive), DataError (nothing at that level), MissingInputError (scikit-image is not installed).
    """
    measure = require_marching_cubes()
    if level is not None and not level > 0:
        raise UsageError(f'the level is a density per world unit and must be positive, got {level:g}.')
    chosen = adaptive_level(grid, rendering) if level is None else level
    raw_level = raw_of_density(chosen, rendering)
    if not (grid.raw > raw_level).any():
        highest = float(physical_density(torch.tensor(grid.raw.max()), rendering))
        raise DataError(f'no surface: the field reaches a density of {highest:.4g} and the level is {chosen:.4g}. Choose a lower --level.')
    border = np.pad(grid.raw, 1, mode='edge')
    # Reflecting border values about the level puts the zero crossing half a voxel from the last centre: on the face of the box.
    padded = np.minimum(border, 2 * np.float32(raw_level) - border)
    padded[1:-1, 1:-1, 1:-1] = grid.raw
    # scikit-image's 'descent' (the default) turns faces inward for arrays indexed x, y, z.
    vertices, faces, _, _ = measure.marching_cubes(padded, raw_level, gradient_direction='ascent', allow_degenerate=False)
    mesh = Mesh(grid.world(vertices.astype(np.float64) - 1).astype(np.float32), faces.astype(np.int32))
    return largest_piece(mesh) if largest_only else mesh


def require_marching_cubes() -> ModuleType:
    """scikit-image's measure module; MissingInputError with the remedy when it is not installed."""
    try:
        from skimage import measure
    except ImportError as error:
        raise MissingInputError(
            "shapes are cut out of the density by scikit-image (marching cubes), which is not installed here. Install it "
            "(pip install scikit-image, or this project's extra: pip install '.[mesh]'), or leave --shapes out.") from error
    return measure


def largest_piece(mesh: Mesh) -> Mesh:
    """The connected piece of a mesh that encloses the largest volume."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(mesh.vertices)
    edges = np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]]])
    graph = coo_array((np.ones(len(edges), bool), (edges[:, 0], edges[:, 1])), shape=(count, count))
    _, piece = connected_components(graph, directed=False)
    piece_of_face = piece[mesh.faces[:, 0]]
    best = np.bincount(piece_of_face, weights=_volumes(mesh)).argmax()
    new_index = np.cumsum(piece == best) - 1
    colours = None if mesh.colours is None else mesh.colours[piece == best]
    return Mesh(mesh.vertices[piece == best], new_index[mesh.faces[piece_of_face == best]].astype(np.int32), colours)


def outward_normals(mesh: Mesh) -> np.ndarray:
    """Unit normals float32 [V, 3], faces weighted by their area."""
    corners = mesh.vertices.astype(np.float64)[mesh.faces]
    of_faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    count = len(mesh.vertices)
    sums = [sum(np.bincount(mesh.faces[:, k], of_faces[:, axis], count) for k in range(3)) for axis in range(3)]
    normals = np.stack(sums, axis=1)
    return (normals / np.linalg.norm(normals, axis=1, keepdims=True).clip(1e-20)).astype(np.float32)


@torch.no_grad()
def colour_vertices(mesh: Mesh, field: Field, rendering: RenderingConfig, voxel_side: float, device: torch.device | str = 'cpu',
                    points_at_once: int = 2 ** 16, samples: int = 8) -> Mesh:
    """The mesh with the colour that a camera looking straight at each vertex would see.

    A short ray crosses the surface along the inward normal, from one voxel outside to three inside; its `samples` colours (the first three
    features of the field, in [0, 1]) are composited by the renderer's midpoint rule and divided by the opacity. That is the look of the raw
    rendering, without the super-resolution network, which lives in images and not on surfaces. Colours are sRGB, 8 bits.
    """
    outward = outward_normals(mesh)
    inward = torch.linspace(-1, 3, samples, device=device) * voxel_side
    colours = np.empty((len(mesh.vertices), 3), np.uint8)
    vertices_at_once = max(1, points_at_once // samples)
    for start in range(0, len(colours), vertices_at_once):
        rows = slice(start, start + vertices_at_once)
        directions = -torch.from_numpy(outward[rows]).to(device)[:, None, :].expand(-1, samples, 3)
        points = torch.from_numpy(mesh.vertices[rows]).to(device)[:, None, :] + inward[:, None] * directions        # [V, samples, 3]
        raw, features = field(points.reshape(1, -1, 3), directions.reshape(1, -1, 3))
        raw, colour = raw.float().reshape(1, -1, samples), features[..., :3].float().reshape(-1, samples, 3)
        light = march(raw, inward.expand_as(raw), shift=rendering.density_shift, scale=rendering.density_scale)
        shares = light.shares[0] + 1e-6                 # in clear air every sample counts the same, and the division keeps its meaning
        seen = (shares[..., None] * colour).sum(1) / shares.sum(1, keepdim=True)
        colours[rows] = (seen.clamp(0, 1) * 255 + 0.5).to(torch.uint8).cpu().numpy()
    return Mesh(mesh.vertices, mesh.faces, colours)


def _volumes(mesh: Mesh) -> np.ndarray:
    """Signed volume [F] of the tetrahedron from the origin to each face."""
    a, b, c = mesh.vertices.astype(np.float64)[mesh.faces].swapaxes(0, 1)
    return np.einsum('fi,fi->f', a, np.cross(b, c)) / 6
