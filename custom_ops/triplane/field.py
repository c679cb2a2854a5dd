"""A radiance field that lives on planes: the one thing that the kernels can render."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from custom_ops.triplane.points import decode_planes


@dataclass(frozen=True, slots=True, eq=False)
class TriplaneField:
    """The mean of a few feature planes at a point, decoded by a small network into raw density and colours.

    planes [N, P, C, H, W]; axes [P, 2, 3] (see sample_planes); weights, biases and activation of decode_planes, output 0 being the density,
    the others sigmoid colours widened to [-0.001, 1.001]. The planes span the box of side `box_side` (world units) around the origin. Raw
    density loses `outside_strength * relu(|p| - outside_radius)` and wins `core_strength * relu(core_radius - |p|)`.
    """

    planes: Tensor
    axes: Tensor
    weights: Sequence[Tensor]
    biases: Sequence[Tensor]
    box_side: float
    activation: str = 'softplus'
    outside_strength: float = 0.0
    outside_radius: float = 0.0
    core_strength: float = 0.0
    core_radius: float = 0.0
    backend: str = 'auto'

    def __call__(self, points: Tensor, directions: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """points [N, M, 3] in world units -> raw density [N, M, 1], features [N, M, F]; directions make no difference."""
        raw = decode_planes(
            self.planes, points * (2 / self.box_side), self.axes, self.weights, self.biases, self.activation, backend=self.backend
        )
        return self.finish(raw, points)

    def without_priors(self) -> 'TriplaneField':
        """What the planes and the network say by themselves."""
        return replace(self, outside_strength=0.0, core_strength=0.0)

    def finish(self, raw: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """Raw outputs [N, M, 1 + F] of the decoder -> raw density and features."""
        density, features = raw.split([1, raw.shape[-1] - 1], dim=-1)
        if self.outside_strength or self.core_strength:
            distance = torch.linalg.vector_norm(points, dim=-1, keepdim=True)
            density = density - self.outside_strength * (distance - self.outside_radius).relu() + self.core_strength * (self.core_radius - distance).relu()
        return density, features.sigmoid() * 1.002 - 0.001
