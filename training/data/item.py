"""What a data set hands out: one item, and a batch of items as tensors; pixels as bytes and as numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from dnnlib.errors import NumericalError
from training.cameras.camera import Camera


@dataclass(frozen=True, slots=True)
class Item:
    """One image and what is known about it."""

    image: np.ndarray  # uint8 [3, H, W], RGB
    class_id: int | None
    camera25: np.ndarray | None  # float32 [25]: world_from_camera row-major, then normalised intrinsics row-major


@dataclass(frozen=True, slots=True)
class Batch:
    """N items as tensors. `indices` says which items of the set they are; a mirrored item keeps its index."""

    images: torch.Tensor  # float32 [N, 3, H, W] in [-1, 1]
    classes: torch.Tensor | None  # int64 [N]; None if the set has no classes
    camera: Camera | None  # N cameras; None if the set has none
    indices: np.ndarray  # int64 [N]

    def __len__(self) -> int:
        return len(self.indices)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        return Batch(
            images=self.images.to(device),
            classes=None if self.classes is None else self.classes.to(device),
            camera=None if self.camera is None else self.camera.to(device),
            indices=self.indices,
        )


def from_uint8(images: torch.Tensor) -> torch.Tensor:
    """uint8 -> float32 in [-1, 1]."""
    return images.to(torch.float32, copy=True).div_(127.5).sub_(1)


def to_uint8(images: torch.Tensor) -> torch.Tensor:
    """float images in [-1, 1] -> uint8, rounded and clamped: what a saved picture holds. Raises NumericalError when a value is not finite."""
    if not torch.isfinite(images).all():
        bad = int((~torch.isfinite(images)).flatten(1).any(dim=1).sum())
        raise NumericalError(f'{bad} of {len(images)} images hold values that are not finite; a metric of them would mean nothing')
    return ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
