"""From cameras to rays through the pixel centres."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from training.cameras.camera import Camera


@dataclass(frozen=True, slots=True, eq=False)
class Rays:
    """Half lines in the world: origins [N, R, 3], directions [N, R, 3] of unit length, so that a depth along a ray is a distance."""

    origins: Tensor
    directions: Tensor

    def slice(self, start: int, stop: int) -> Rays:
        """Rays start..stop of every image."""
        return Rays(self.origins[:, start:stop], self.directions[:, start:stop])


def rays(camera: Camera, resolution: int | tuple[int, int]) -> Rays:
    """Rays through the centres of the pixels, row by row from the top left: R = height * width.

    `resolution` is the side of a square image or (height, width). Pixel (row, col) has its centre at u = (col + 0.5) / width,
    v = (row + 0.5) / height. The inverse of the intrinsics is written out, skew included.
    """
    height, width = (resolution, resolution) if isinstance(resolution, int) else resolution
    k = camera.intrinsics
    u = ((torch.arange(width, device=k.device, dtype=k.dtype) + 0.5) / width).repeat(height)
    v = ((torch.arange(height, device=k.device, dtype=k.dtype) + 0.5) / height).repeat_interleave(width)
    fx, skew, cx, fy, cy = (k[:, i, j, None] for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2)))
    y = (v - cy) / fy
    x = (u - cx - skew * y) / fx
    local = torch.stack([x, y, torch.ones_like(x)], -1)
    with torch.autocast(k.device.type, enabled=False):  # bfloat16 would move rays by several pixels
        directions = torch.nn.functional.normalize(local @ camera.world_from_camera[:, :3, :3].mT, dim=-1)
    return Rays(camera.origins[:, None].expand_as(directions), directions)
