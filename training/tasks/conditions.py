"""What generated images are asked to be: a class, and a camera that comes from the data's labels or from a law."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from torch_utils.rng import Stream
from training.cameras.camera import Camera
from training.cameras.convention import from_eg3d
from training.cameras.distributions import LawConfig


@dataclass(frozen=True, slots=True)
class Conditions:
    """One class and one camera per generated image."""

    classes: Tensor | None  # [N] int64
    camera: Camera  # N cameras


class ConditionSource(Protocol):
    """Where classes and cameras of generated images come from."""

    def sample(self, stream: Stream, device: torch.device) -> Conditions:
        """One condition for each row of the stream."""
        ...


@dataclass(frozen=True, slots=True)
class LabelledConditions:
    """Class and camera of a randomly drawn training image, so that fakes follow the joint law of the labels (EG3D's choice)."""

    classes: Tensor | None  # [D] int64, of the whole data set
    cameras: Tensor  # [D, 25]
    mirror: bool  # the training images are shown mirrored half of the time, so their cameras are too

    def sample(self, stream: Stream, device: torch.device) -> Conditions:
        index = stream.integers('conditions/index', len(self.cameras))
        camera = from_eg3d(self.cameras[index])
        if self.mirror:
            flips = stream.bernoulli('conditions/mirror', 0.5)[:, None, None]
            other = camera.mirrored()
            camera = Camera(
                torch.where(flips, other.world_from_camera, camera.world_from_camera), torch.where(flips, other.intrinsics, camera.intrinsics)
            )
        return Conditions(None if self.classes is None else self.classes[index].to(device), camera.to(device))


@dataclass(frozen=True, slots=True)
class DrawnConditions:
    """Cameras from a law that somebody believes in; classes as frequent as in the data."""

    classes: Tensor | None  # [D] int64
    law: LawConfig

    def sample(self, stream: Stream, device: torch.device) -> Conditions:
        classes = None if self.classes is None else self.classes[stream.integers('conditions/index', len(self.classes))].to(device)
        return Conditions(classes, self.law.sample(stream, device))
