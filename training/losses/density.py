"""Density regularisation (EG3D, arXiv 2112.07945, supplement): neighbouring points should have similar raw densities."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from torch_utils.rng import Stream

Region = Literal['box', 'EG3D_2022']


def neighbouring_points(stream: Stream, count: int, distance: float, box_side: float, region: Region, device: torch.device) -> Tensor:
    """Pairs of neighbours, [N, 2 * count, 3] in world units: the first half uniform, the second half displaced by N(0, distance^2).

    'box' draws inside the box that the planes cover. 'EG3D_2022' draws from [-1, 1]^3 whatever the box is, as the published code does:
    with a box of side 1 seven of eight points then lie where the planes say nothing.
    """
    half_side = box_side / 2 if region == 'box' else 1.0
    points = (stream.uniform('density/points', count, 3, device=device) * 2 - 1) * half_side
    return torch.cat([points, points + stream.normal('density/offsets', count, 3, device=device) * distance], dim=1)


def density_smoothness(density: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    """Mean |sigma(p) - sigma(p')| over the pairs of `neighbouring_points`; density: [N, M, 3] -> [N, M, 1] raw. Returns [N]."""
    first, second = density(points).chunk(2, dim=1)
    return (first - second).abs().mean(dim=(1, 2))
