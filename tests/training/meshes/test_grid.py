"""The density grid: exact voxel centres, chunks that change nothing, and the renderer's own activation."""

import numpy as np
import pytest
import torch

from custom_ops.volume.compositing import march
from dnnlib.errors import NumericalError, UsageError
from training.meshes.grid import density_grid, physical_density, raw_of_density, voxel_centres
from training.rendering.renderer import RenderingConfig


def position_field(points, directions):
    """Raw density tells where it was asked: x + 10 y + 100 z."""
    return (points * points.new_tensor([1.0, 10.0, 100.0])).sum(-1, keepdim=True), points


def test_centres_are_those_of_cells() -> None:
    assert voxel_centres(1.0, 2).tolist() == [-0.25, 0.25]
    assert voxel_centres(3.0, 3).tolist() == [-1.0, 0.0, 1.0]
    centres = voxel_centres(1.6, 37)
    assert torch.equal(centres, -centres.flip(0)), 'symmetric about the origin, to the last bit'


def test_axes_are_in_order_and_positions_are_world_positions() -> None:
    grid = density_grid(position_field, box_side=2.0, resolution=8)
    i, j, k = 1, 6, 3
    x, y, z = grid.world(np.array([i, j, k]))
    assert grid.raw[i, j, k] == pytest.approx(x + 10 * y + 100 * z, abs=1e-4)
    assert grid.world(np.array([-0.5] * 3)).tolist() == [-1.0] * 3 and grid.world(np.array([7.5] * 3)).tolist() == [1.0] * 3


@pytest.mark.parametrize('points_at_once', [7, 64, 100, 1000])
def test_chunks_change_nothing_and_are_bounded(points_at_once: int) -> None:
    asked, shares = [], []

    def field(points, directions):
        asked.append(points.shape[1])
        return position_field(points, directions)

    grid = density_grid(field, 1.0, 9, points_at_once=points_at_once, progress=shares.append)
    assert np.array_equal(grid.raw, density_grid(position_field, 1.0, 9).raw)
    assert max(asked) <= points_at_once and sum(asked) == 9 ** 3
    assert shares[-1] == 1.0 and shares == sorted(shares)


def test_density_is_what_the_renderer_follows_light_through() -> None:
    rendering = RenderingConfig(density_shift=1.5, density_scale=7.0)
    raw = torch.linspace(-30, 60, 101)
    near, middle, far = (torch.full((1, 101, 1), depth) for depth in (0.0, 0.5, 1.0))
    light = march(raw.reshape(1, -1, 1), middle, near, far, shift=1.5, scale=7.0)
    assert torch.allclose(physical_density(raw, rendering), light.optical_depth[0, :, -1], rtol=1e-5), 'over a unit of length'


@pytest.mark.parametrize('density', [1e-6, 0.3, 10.0, 5000.0])
def test_raw_of_density_undoes_the_activation(density: float) -> None:
    rendering = RenderingConfig(density_shift=1.0, density_scale=2.5)
    raw = torch.tensor(raw_of_density(density, rendering), dtype=torch.float64)
    assert float(physical_density(raw, rendering)) == pytest.approx(density, rel=1e-9)


def test_errors_are_said() -> None:
    with pytest.raises(UsageError, match='at least 2 voxels'):
        density_grid(position_field, 1.0, 1)
    with pytest.raises(NumericalError, match='NaN'):
        density_grid(lambda points, directions: (points[..., :1] * torch.nan, points), 1.0, 4)
