"""Surfaces of fields that are known in closed form."""

import builtins
import math

import numpy as np
import pytest
import torch
import trimesh

from dnnlib.errors import DataError, MissingInputError, UsageError
from training.meshes.grid import density_grid, raw_of_density
from training.meshes.surface import adaptive_level, coloured_surface, extract_surface, largest_piece, outward_normals
from training.rendering.renderer import RenderingConfig

RENDERING = RenderingConfig(box_side=1.4, density_scale=10.0)


def ball(radius: float, centre=(0.0, 0.0, 0.0), sharpness: float = 60.0):
    """Raw density falls linearly with the distance and is RENDERING's shift at the surface; red is x, green y, blue z."""
    def field(points, directions):
        distance = (points - points.new_tensor(centre)).norm(dim=-1, keepdim=True)
        return 1 + sharpness * (radius - distance), (points / 1.4 + 0.5).clamp(0, 1)
    return field


def two_balls(points, directions):
    small, colours = ball(0.1, (-0.45, 0.4, 0.0))(points, directions)
    return torch.maximum(small, ball(0.3, (0.2, -0.1, 0.0))(points, directions)[0]), colours


AT_SURFACE = 10.0 * math.log(2)     # scale softplus(0)


def test_a_sphere_is_where_it_is_and_as_large_as_it_is() -> None:
    grid = density_grid(ball(0.5), 1.4, 64)
    mesh = extract_surface(grid, RENDERING, AT_SURFACE)
    radii = np.linalg.norm(mesh.vertices, axis=1)
    assert np.abs(radii - 0.5).max() < grid.voxel_side / 20, 'half a voxel would show a skewed grid'
    assert np.abs(mesh.vertices.min(0) + mesh.vertices.max(0)).max() < 1e-3 and np.abs(mesh.vertices.mean(0)).max() < 1e-3
    assert mesh.volume == pytest.approx(4 / 3 * math.pi * 0.5 ** 3, rel=0.01)


def test_the_adaptive_level_finds_the_sphere_at_any_scale_of_density() -> None:
    for scale in (3.0, 30.0, 300.0):
        rendering = RenderingConfig(box_side=1.4, density_scale=scale)
        mesh = extract_surface(density_grid(ball(0.5, sharpness=200), 1.4, 64), rendering)
        assert np.linalg.norm(mesh.vertices, axis=1).mean() == pytest.approx(0.5, abs=0.06), scale
        assert mesh.volume > 0


def test_the_adaptive_level_is_the_density_where_half_of_the_light_is_gone() -> None:
    """A slab of linearly growing raw density far above the shift: density = k (z + h), so tau(d) = k d^2 / 2 from the face at z = -h."""
    k, side = 200.0, 2.0
    rendering = RenderingConfig(box_side=side, density_shift=0.0, density_scale=1.0)
    grid = density_grid(lambda points, directions: (k * (1 + points[..., 2:]) + 20, points), side, 128)
    # Rays along +z: 20 d + k d^2 / 2 = ln 2. The other five directions start in matter and lose half at once: their median decides.
    sigma = k * (1 + grid.world(np.arange(128))) + 20
    expected = np.median(np.concatenate([np.repeat(sigma, 128), np.repeat(sigma, 128), np.repeat(sigma, 128), np.repeat(sigma, 128)]))
    assert adaptive_level(grid, rendering) == pytest.approx(expected, rel=0.02)


def test_fog_has_the_surface_of_its_densest_part() -> None:
    rendering = RenderingConfig(box_side=1.4, density_scale=0.01)
    mesh = extract_surface(density_grid(ball(0.5, sharpness=5), 1.4, 24), rendering)
    assert 0 < mesh.volume < 4 / 3 * math.pi * 0.5 ** 3


def test_meshes_are_closed_and_look_outward() -> None:
    mesh = extract_surface(density_grid(two_balls, 1.4, 40), RENDERING, AT_SURFACE)
    seen = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    assert seen.is_watertight and seen.is_winding_consistent
    assert seen.volume == pytest.approx(mesh.volume, rel=1e-4) and mesh.volume > 0
    assert (np.einsum('vi,vi->v', outward_normals(mesh), seen.vertex_normals) > 0.9).all()


def test_matter_that_reaches_the_box_is_cut_at_its_faces() -> None:
    solid = density_grid(lambda points, directions: (torch.full_like(points[..., :1], 50.0), points), 1.4, 16)
    mesh = extract_surface(solid, RENDERING, 1.0)
    assert np.allclose(mesh.vertices.min(0), -0.7, atol=1e-5) and np.allclose(mesh.vertices.max(0), 0.7, atol=1e-5)
    assert trimesh.Trimesh(mesh.vertices, mesh.faces, process=False).is_watertight
    assert mesh.volume == pytest.approx(1.4 ** 3, rel=0.02), 'only the edges are bevelled, by half a voxel'


def test_the_largest_piece_is_kept_whole() -> None:
    both = coloured_surface(two_balls, RENDERING, 40, AT_SURFACE)
    large = largest_piece(both)
    assert large.volume == pytest.approx(4 / 3 * math.pi * 0.3 ** 3, rel=0.02)
    assert large.vertices[:, 0].min() > -0.15 and len(large.colours) == len(large.vertices) < len(both.vertices)
    assert trimesh.Trimesh(large.vertices, large.faces, process=False).is_watertight


def test_colours_are_those_of_the_field_at_the_surface() -> None:
    mesh = coloured_surface(ball(0.5, sharpness=2000), RENDERING, 48, AT_SURFACE)
    expected = (mesh.vertices / 1.4 + 0.5) * 255
    assert mesh.colours.dtype == np.uint8 and np.abs(mesh.colours - expected).max() < 255 * 1.5 / 48, 'within a voxel and a half'
    front = mesh.colours[mesh.vertices[:, 2].argmax()]
    assert front[2] > 200 and front[0] == pytest.approx(128, abs=8)


def test_colours_are_composited_not_picked() -> None:
    """A red skin of 0.2 voxels' opacity over blue: the camera sees the skin only as far as light stops in it."""
    def field(points, directions):
        raw, _ = ball(0.5, sharpness=2000)(points, directions)
        outside = (points.norm(dim=-1, keepdim=True) > 0.5).float()
        return raw, torch.cat([outside, torch.zeros_like(outside), 1 - outside], -1)
    mesh = coloured_surface(field, RENDERING, 48, AT_SURFACE)
    assert mesh.colours[:, 2].mean() > 200 and mesh.colours[:, 0].mean() < 60


def test_errors_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = density_grid(ball(0.5), 1.4, 12)
    with pytest.raises(DataError, match='Choose a lower --level'):
        extract_surface(grid, RENDERING, 1e6)
    with pytest.raises(UsageError, match='positive'):
        extract_surface(grid, RENDERING, 0.0)
    original = builtins.__import__

    def without_skimage(name, *args, **kwargs):
        if name.split('.')[0] == 'skimage':
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, '__import__', without_skimage)
    with pytest.raises(MissingInputError, match='pip install scikit-image'):
        extract_surface(grid, RENDERING)


def test_raw_level_is_found_in_the_renderers_units() -> None:
    assert raw_of_density(AT_SURFACE, RENDERING) == pytest.approx(1.0)
