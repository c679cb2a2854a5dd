"""Real toyworld scenes as a subject: what a perfect generator of them would be, and what controls of known defect are made from."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from metrics.evidence import SCENE_RADIUS
from metrics.subject import Subject, Views
from training.cameras.camera import Camera
from training.data.item import from_uint8
from training.data.toyworld.world import Scene, Toyworld, render_scenes

RESOLUTION = 32
Numbers = Callable[[int, int], Sequence[int]]  # (start, n) -> the scenes of the world that the subject shows as its own start .. start + n - 1


def toy_subject(name: str, world: Toyworld, numbers: Numbers, resolution: int = RESOLUTION) -> Subject:
    """Scenes of a world from the poses of its law, with exact depth; they may be looked at from anywhere."""

    def render(start: int, n: int, camera: Camera) -> Views:
        chosen = numbers(start, n)
        return toy_views([world.scene(i) for i in chosen], camera, resolution, classes_of(world, chosen))

    def sample(start: int, n: int) -> Views:
        return render(start, n, world.cameras(numbers(start, n)))

    return Subject(name, sample, render)


def counted_from(first: int) -> Numbers:
    """Scenes first, first + 1, ..."""
    return lambda start, n: range(first + start, first + start + n)


def classes_of(world: Toyworld, numbers: Sequence[int]) -> Tensor:
    """Class numbers int64 [n] of these scenes, in the order of the world's classes."""
    return torch.tensor([world.class_id(i) for i in numbers])


def toy_views(scenes: Sequence[Scene], camera: Camera, resolution: int, classes: Tensor | None = None) -> Views:
    """Exact pictures of scenes, one from each camera; where nothing is hit, the depth is that of the far side of the scene."""
    truth = render_scenes(scenes, camera, resolution)
    distance = torch.from_numpy(truth.distance)
    far = (camera.origins.norm(dim=1) + SCENE_RADIUS)[:, None, None, None].to(distance.dtype)
    depth = torch.where(torch.isfinite(distance), distance, far)
    return Views(from_uint8(torch.from_numpy(truth.image)), depth, torch.from_numpy(truth.alpha), camera, classes)
