"""What stands behind a scene in photographs: a soft picture of its own, the same from wherever the scene is seen.

A field that must hold its background as well cannot be walked around: what is a wall behind the thing from one side stands in front of it from
the other. A backdrop has no place in the world, as a photograph's background has none that other photographs of the thing would show. It is
coarse, so that things are not painted on it; and a picture that must show from where it is seen (gan.pose_told_weight) cannot be one.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from dnnlib.errors import UsageError
from training.networks.synthesis import Synthesis, SynthesisConfig


@dataclass(frozen=True, slots=True)
class BackdropConfig:
    """A small skip generator of its own."""

    resolution: int = 16  # pixels per side; enlarged to the picture's
    channels: int = 32  # of every layer

    def __post_init__(self) -> None:
        if self.resolution < 4 or self.resolution & (self.resolution - 1) or self.channels < 1:
            raise UsageError(
                f'resolution must be a power of two and at least 4, and channels at least 1; found {self.resolution} and {self.channels}.'
            )

    @property
    def synthesis(self) -> SynthesisConfig:
        """Its layers; a feature of the backdrop is a plane of one channel."""
        return SynthesisConfig(self.resolution, 1, channel_base=self.channels * self.resolution, channel_max=self.channels, noise=False)


class Backdrop(nn.Module):
    """(ws [N, at least num_ws, w_dim], side) -> features [N, F, side, side] in [0, 1]."""

    def __init__(self, w_dim: int, features: int, config: BackdropConfig):
        super().__init__()
        self.synthesis = Synthesis(w_dim, features, config.synthesis)
        self.num_ws = self.synthesis.num_ws

    def forward(self, ws: Tensor, side: int) -> Tensor:
        small = self.synthesis(ws[:, : self.num_ws])[:, :, 0].sigmoid()
        return F.interpolate(small, (side, side), mode='bilinear', align_corners=False)
