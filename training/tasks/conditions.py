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
    """Where classes and cameras of generated images come from. One condition or camera for each row of a stream."""

    def sample(self, stream: Stream, device: torch.device) -> Conditions:
        """Classes as frequent as in the data, and a camera for each."""
        ...

    def cameras(self, classes: Tensor | None, stream: Stream, device: torch.device) -> Camera:
        """Cameras for scenes of these classes [N]: further views of one scene."""
        ...


class LabelledConditions:
    """Class and camera of a randomly drawn training image, so that fakes follow the joint law of the labels (EG3D's choice)."""

    def __init__(self, classes: Tensor | None, cameras: Tensor, mirror: bool) -> None:
        """classes [D] int64 and cameras [D, 25] of the whole data set; mirror: training images are shown mirrored half of the time, so their
        cameras are too."""
        self.classes, self.labels, self.mirror = classes, cameras, mirror
        if classes is not None:  # the images of each class, one class after the other
            counts = torch.bincount(classes)
            self._by_class = (torch.argsort(classes, stable=True), counts.cumsum(0) - counts, counts, cameras)

    def sample(self, stream: Stream, device: torch.device) -> Conditions:
        index = stream.integers('conditions/index', len(self.labels))
        return Conditions(None if self.classes is None else self.classes[index].to(device), self._camera(index, stream, device))

    def cameras(self, classes: Tensor | None, stream: Stream, device: torch.device) -> Camera:
        if self.classes is None:
            return self._camera(stream.integers('conditions/index', len(self.labels)), stream, device)
        if self._by_class[0].device != classes.device:  # once: asking a device which classes they are would wait for it
            self._by_class = tuple(table.to(classes.device) for table in self._by_class)
        order, starts, counts, labels = self._by_class
        within = (stream.uniform('conditions/index', device=classes.device) * counts[classes]).long()
        return self._seen_from(labels[order[starts[classes] + within]], stream, device)

    def _camera(self, index: Tensor, stream: Stream, device: torch.device) -> Camera:
        return self._seen_from(self.labels[index], stream, device)

    def _seen_from(self, labels: Tensor, stream: Stream, device: torch.device) -> Camera:
        camera = from_eg3d(labels)
        if self.mirror:
            camera = Camera.where(stream.bernoulli('conditions/mirror', 0.5, device=labels.device), camera.mirrored(), camera)
        return camera.to(device)


@dataclass(frozen=True, slots=True)
class DrawnConditions:
    """Cameras from a law that somebody believes in; classes as frequent as in the data."""

    classes: Tensor | None  # [D] int64
    law: LawConfig

    def sample(self, stream: Stream, device: torch.device) -> Conditions:
        classes = None if self.classes is None else self.classes[stream.integers('conditions/index', len(self.classes))].to(device)
        return Conditions(classes, self.law.sample(stream, device))

    def cameras(self, classes: Tensor | None, stream: Stream, device: torch.device) -> Camera:
        return self.law.sample(stream, device)
