"""Controls whose pictures are right where the subject's own law looks, and whose geometry is wrong in one known way."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from metrics.audit.law_controls import OTHERS
from metrics.evidence import SCENE_RADIUS
from metrics.subject import Subject, Views
from metrics.toy_subject import RESOLUTION, classes_of, counted_from, toy_subject, toy_views
from training.cameras.camera import Camera
from training.cameras.orbit import angles_of, orbit
from training.cameras.rays import Rays, rays
from training.data.toyworld.affine import moved
from training.data.toyworld.world import Scene, Toyworld
from training.rendering.reproject import project, unproject

STICKER_RADIUS = 0.6  # of the ball that every object is painted on, world units
Surface = Callable[[Rays, Camera], Tensor]  # (rays [N, R], the camera of the own view) -> distance [N, R, 1] along them, inf where they miss


def shape_controls(world: Toyworld) -> list[Subject]:
    """The controls of section 4 of the evaluation, second table, with inside-out geometry, stickers and fog."""
    return [
        *(_squashed(f'depth times {share:g}', world, share) for share in (0.5, 0.25, 0.04)),
        _other_objects(world),
        _deaf(world),
        _inside_out(world),
        _painted('stickers on a ball', world, _ball),
        _painted('fog: all density at the far end', world, _wall),
    ]


def _real(name: str, world: Toyworld) -> Subject:
    return toy_subject(name, world, counted_from(OTHERS))


def _own_cameras(world: Toyworld, start: int, n: int) -> Camera:
    return world.cameras(counted_from(OTHERS)(start, n))


def _squashed(name: str, world: Toyworld, share: float) -> Subject:
    """Objects pressed together along the axis from which their own view sees them, to this share of their depth."""

    def render(start: int, n: int, camera: Camera) -> Views:
        numbers = counted_from(OTHERS)(start, n)
        axes = world.cameras(numbers).forwards.double().numpy()
        scenes = [_pressed(world.scene(i), axis, share) for i, axis in zip(numbers, axes, strict=True)]
        return toy_views(scenes, camera, RESOLUTION, classes_of(world, numbers))

    return Subject(name, lambda start, n: render(start, n, _own_cameras(world, start, n)), render)


def _pressed(scene: Scene, axis: np.ndarray, share: float) -> Scene:
    unit = axis / np.linalg.norm(axis)
    return moved(scene, np.column_stack([np.eye(3) - (1 - share) * np.outer(unit, unit), np.zeros(3)]))


def _other_objects(world: Toyworld) -> Subject:
    """From any other camera one sees another object of the same class."""
    real = _real('identity changes with the view', world)
    stand_in = _same_class_elsewhere(world)

    def render(start: int, n: int, camera: Camera) -> Views:
        numbers = [stand_in(i) for i in counted_from(OTHERS)(start, n)]
        return toy_views([world.scene(i) for i in numbers], camera, RESOLUTION, classes_of(world, numbers))

    return Subject(real.name, real.sample, render)


def _same_class_elsewhere(world: Toyworld) -> Callable[[int], int]:
    """The next scene of the class of scene i."""

    def following(i: int) -> int:
        wanted = world.class_id(i)
        i += 1
        while world.class_id(i) != wanted:
            i += 1
        return i

    return following


def _deaf(world: Toyworld) -> Subject:
    """Whatever camera is asked for, the own view is shown."""
    real = _real('camera ignored', world)
    return Subject(real.name, real.sample, lambda start, n, camera: replace(real.sample(start, n), camera=camera))


def _inside_out(world: Toyworld) -> Subject:
    """A hollow mould: what is near is said to be far, and when the camera goes to the right, one sees what was on the left.

    Seen from afar, a relief with inverted depth that is turned one way looks exactly like the upright one turned the other way
    (Belhumeur, Kriegman and Yuille 1999), so the picture is that of the true scene from the mirrored turn.
    """
    real = _real('inside out', world)

    def render(start: int, n: int, camera: Camera) -> Views:
        own_yaw, _, _ = angles_of(_own_cameras(world, start, n))
        yaw, pitch, radius = angles_of(camera)
        views = real.render(start, n, orbit(2 * own_yaw - yaw, pitch, radius, focal=camera.intrinsics[:, 0, 0]))
        inverted = 2 * radius[:, None, None, None] - views.depth
        return replace(views, depth=torch.where(views.opacity > 0, inverted, views.depth), camera=camera)

    return Subject(real.name, lambda start, n: render(start, n, _own_cameras(world, start, n)), render)


def _painted(name: str, world: Toyworld, surface: Surface) -> Subject:
    """The own view of every scene, painted on one surface that is the same for all."""
    real = _real(name, world)

    def render(start: int, n: int, camera: Camera) -> Views:
        own = real.sample(start, n)
        bundle = rays(camera, RESOLUTION)
        distance = surface(bundle, own.camera)
        hit = torch.isfinite(distance)
        radius = camera.origins.norm(dim=1)[:, None, None]
        points = unproject(bundle, torch.where(hit, distance, radius))
        uv, _ = project(own.camera, points)
        looked_up = F.grid_sample(own.image, 2 * uv[:, None] - 1, mode='bilinear', padding_mode='border', align_corners=False)[:, :, 0]
        image = torch.where(hit.mT, looked_up, 1.0).unflatten(2, (RESOLUTION, RESOLUTION))
        depth = torch.where(hit, distance, radius + SCENE_RADIUS).mT.unflatten(2, (RESOLUTION, RESOLUTION))
        opacity = hit.float().mT.unflatten(2, (RESOLUTION, RESOLUTION))
        return Views(image, depth, opacity, camera, own.classes)

    return Subject(name, lambda start, n: render(start, n, _own_cameras(world, start, n)), render)


def _ball(bundle: Rays, own: Camera) -> Tensor:
    """A ball around the origin, as every sticker album has."""
    towards = (bundle.origins * bundle.directions).sum(dim=-1, keepdim=True)
    root = towards.square() - bundle.origins.square().sum(dim=-1, keepdim=True) + STICKER_RADIUS**2
    return torch.where(root > 0, -towards - root.clamp(min=0).sqrt(), torch.inf)


def _wall(bundle: Rays, own: Camera) -> Tensor:
    """The plane at the far end of the scene that faces the own view."""
    forward = own.forwards[:, None]
    facing = (bundle.directions * forward).sum(dim=-1, keepdim=True)
    distance = (SCENE_RADIUS - (bundle.origins * forward).sum(dim=-1, keepdim=True)) / facing
    return torch.where((facing > 1e-6) & (distance > 0), distance, torch.inf)
