"""Real toyworld scenes as a subject: what a perfect generator of them would be, and the stuff that controls are made from."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from metrics.evidence import SCENE_RADIUS
from metrics.features import from_uint8
from metrics.subject import Render, Sample, Subject, Views
from training.cameras.camera import Camera
from training.cameras.convention import from_eg3d
from training.data.toyworld.world import Scene, Toyworld, Truth, render_scenes

SceneOf = Callable[[int], Scene]


def toy_subject(name: str, world: Toyworld, resolution: int = 32, first: int = 0) -> Subject:
    """The scenes first, first + 1, ... of a world, seen from the poses of its law, with exact depth; they may be looked at from anywhere."""

    def render(start: int, n: int, camera: Camera) -> Views:
        numbers = range(first + start, first + start + n)
        return views_of_truth(render_scenes([world.scene(i) for i in numbers], camera, resolution), camera, classes_of(world, numbers))

    return Subject(name, own_law(world, render, first), render)


def own_law(world: Toyworld, render: Render, first: int = 0) -> Sample:
    """The sampler that looks at each scene from the pose of the world's law."""
    return lambda start, n: render(start, n, cameras_of(world, range(first + start, first + start + n)))


def cameras_of(world: Toyworld, numbers: range) -> Camera:
    """The cameras of these scenes under the world's law."""
    return from_eg3d(torch.from_numpy(np.stack([world.camera25(i) for i in numbers])))


def classes_of(world: Toyworld, numbers: range) -> Tensor:
    """Class numbers int64 [n] of these scenes, in the order of the world's classes."""
    return torch.tensor([world.class_id(i) for i in numbers])


def views_of_truth(truth: Truth, camera: Camera, classes: Tensor | None) -> Views:
    """Exact pictures as views; where nothing was hit, the depth is that of the far side of the scene."""
    distance = torch.from_numpy(truth.distance)
    far = (camera.origins.norm(dim=1) + SCENE_RADIUS)[:, None, None, None].expand_as(distance).to(distance.dtype)
    depth = torch.where(torch.isfinite(distance), distance, far)
    return Views(from_uint8(torch.from_numpy(truth.image)), depth, torch.from_numpy(truth.alpha), camera, classes)
