"""The axis-aligned cube that holds the scene, centred on the world's origin, and where rays cross it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from training.cameras.rays import Rays

NEARLY_PARALLEL = 1e-9  # a direction component below it is replaced, so that 0 / 0 never happens


@dataclass(frozen=True, slots=True)
class Box:
    """A cube of this side (world units); points inside have coordinates in [-side / 2, side / 2]."""

    side: float

    def intersect(self, rays: Rays) -> tuple[Tensor, Tensor, Tensor]:
        """(near, far, hit), each [N, R, 1]: the part of the ray inside the box as distances from the origin, by the slab test.

        An origin inside the box has near = 0. A ray that misses has the empty interval near = far at its closest approach to the centre.
        """
        direction = rays.directions
        tiny = torch.where(direction < 0, -NEARLY_PARALLEL, NEARLY_PARALLEL)
        inverse = 1.0 / torch.where(direction.abs() < NEARLY_PARALLEL, tiny, direction)
        middle, half = -rays.origins * inverse, (0.5 * self.side) * inverse.abs()
        near = (middle - half).amax(-1, keepdim=True).clamp(min=0.0)
        far = (middle + half).amin(-1, keepdim=True)
        hit = far > near
        approach = -(rays.origins * direction).sum(-1, keepdim=True).clamp(max=0.0)
        return torch.where(hit, near, approach), torch.where(hit, far, approach), hit
