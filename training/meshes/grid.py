"""The density of a field on a grid of voxels, in world units."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from custom_ops.volume.compositing import density_of
from dnnlib.errors import NumericalError, UsageError
from training.rendering.renderer import Field, RenderingConfig


@dataclass(frozen=True, slots=True)
class DensityGrid:
    """Raw densities at voxel centres. Raw is what the network says, before the renderer's activation: between two samples the renderer
    averages raw values too, so a surface interpolated in them is the surface that is rendered."""

    raw: np.ndarray                 # float32 [X, Y, Z], indexed in the order of the world's axes
    box_side: float                 # world units; the box is centred on the origin

    @property
    def voxel_side(self) -> float:
        """World units."""
        return self.box_side / self.raw.shape[0]

    def world(self, index: np.ndarray) -> np.ndarray:
        """Positions [..., 3] in voxels (integers are centres of voxels) as world positions."""
        return (index + 0.5) * self.voxel_side - self.box_side / 2


def voxel_centres(box_side: float, resolution: int) -> Tensor:
    """Coordinates [resolution] float32 of the centres along one axis: the box is cut into `resolution` cells, (i + 1/2) / resolution - 1/2
    of its side, symmetric about 0. (Not linspace(-1/2, 1/2): that puts centres on faces and stretches the object by a voxel.)"""
    steps = torch.arange(resolution, dtype=torch.float64)
    return ((steps + 0.5) / resolution - 0.5).mul(box_side).float()


@torch.no_grad()
def density_grid(field: Field, box_side: float, resolution: int = 128, device: torch.device | str = 'cpu', points_at_once: int = 2 ** 16,
                 progress: Callable[[float], None] | None = None) -> DensityGrid:
    """Asks a field of one scene (N = 1) for its raw density at the centres of resolution^3 voxels.

    Memory: 4 resolution^3 bytes for the result (64 MiB at 256), plus what the field needs for `points_at_once` points. `progress` is told
    the share that is done, in (0, 1]. Raises UsageError for a resolution below 2, NumericalError when the field answers with NaN.
    """
    if resolution < 2:
        raise UsageError(f'a mesh needs a grid of at least 2 voxels along each side, got {resolution}.')
    centres = voxel_centres(box_side, resolution).to(device)
    raw = np.empty((resolution, resolution, resolution), np.float32)
    slabs = max(1, min(resolution, points_at_once // resolution ** 2))
    for start in range(0, resolution, slabs):
        stop = min(start + slabs, resolution)
        points = torch.stack(torch.meshgrid(centres[start:stop], centres, centres, indexing='ij'), dim=-1).reshape(1, -1, 3)
        # Along a slab of a fine grid there can still be more points than fit.
        pieces = [raw_density(field, piece) for piece in points.split(points_at_once, dim=1)]
        raw[start:stop] = torch.cat(pieces, dim=1).reshape(stop - start, resolution, resolution).float().cpu().numpy()
        if progress is not None:
            progress(stop / resolution)
    if not np.isfinite(raw).all():
        raise NumericalError('the density is NaN or infinite at some points of the box: the network has diverged.')
    return DensityGrid(raw, box_side)


def raw_density(field: Field, points: Tensor) -> Tensor:
    """Raw density [1, M] at points [1, M, 3]. Density must not depend on the direction of the view; a field that asks for one anyway is
    told the one from the front."""
    return field(points, points.new_tensor([0.0, 0.0, -1.0]).expand_as(points))[0][..., 0]


def physical_density(raw: Tensor, rendering: RenderingConfig) -> Tensor:
    """Density per world unit of raw values, as the renderer has it: scale softplus(raw - shift)."""
    return density_of(raw, rendering.density_shift, rendering.density_scale)


def raw_of_density(density: float, rendering: RenderingConfig) -> float:
    """The raw value whose physical density this is (positive)."""
    value = density / rendering.density_scale
    return rendering.density_shift + value + math.log(-math.expm1(-value))      # log(exp(value) - 1), without the overflow
