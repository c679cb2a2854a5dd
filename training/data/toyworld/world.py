"""A named, endless, addressable set of scenes with known truth, and pictures of them from any camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dnnlib.errors import UsageError, did_you_mean
from training.cameras.camera import Camera
from training.data.toyworld.background import BACKGROUNDS, Background
from training.data.toyworld.catalogue import CATALOGUE
from training.data.toyworld.colour import MODE_WEIGHTS, paint
from training.data.toyworld.numbers import Draws, cos_sin_turns
from training.data.toyworld.poses import POSE_LAWS, Pose, camera25, draw_pose
from training.data.toyworld.shapes import Parts
from training.data.toyworld.tracer import Hits, Surface, View, cast, surface

AMBIENT = 0.38
SUPERSAMPLES = 2  # per pixel and axis, box filter


@dataclass(frozen=True, slots=True)
class Scene:
    """One object under one light. `light`: unit direction towards the light, fixed to the world; `mode`: colour mode 0, 1 or 2."""

    class_name: str
    mode: int
    parts: Parts
    light: tuple[float, float, float]
    background: Background


@dataclass(frozen=True, slots=True)
class Truth:
    """N pictures and what is known about them. The image and alpha average 2x2 rays per pixel; the rest is exact at the pixel centre."""

    image: np.ndarray  # uint8 [N, 3, S, S]
    alpha: np.ndarray  # float32 [N, 1, S, S], share of the pixel that the object covers, in quarters
    depth: np.ndarray  # float32 [N, 1, S, S], z in camera axes, world units; inf where nothing is hit
    distance: np.ndarray  # float32 [N, 1, S, S], along the ray, world units; inf where nothing is hit
    normals: np.ndarray  # float32 [N, 3, S, S], world axes, unit; 0 where nothing is hit


@dataclass(frozen=True, slots=True)
class ToyworldConfig:
    """Which scenes: names of classes, a law of poses, a background, a seed."""

    classes: tuple[str, ...] = tuple(CATALOGUE)
    poses: str = 'wide'
    background: str = 'white'
    seed: int = 0

    def __post_init__(self) -> None:
        words = [('class', name, CATALOGUE) for name in self.classes]
        words += [('law of poses', self.poses, POSE_LAWS), ('background', self.background, BACKGROUNDS)]
        for what, word, known in words:
            if word not in known:
                raise UsageError(f'Toyworld has no {what} {word!r}; it has {", ".join(known)}.{did_you_mean(word, known)}')
        if not self.classes or len(set(self.classes)) != len(self.classes):
            raise UsageError(f'Toyworld needs one or more classes, each named once; got {", ".join(self.classes) or "none"}.')


class Toyworld:
    """Scenes 0, 1, 2, ... Scene i does not depend on the poses, the resolution or the number of scenes of the set."""

    def __init__(self, config: ToyworldConfig = ToyworldConfig()) -> None:
        self.config = config

    def class_id(self, index: int) -> int:
        """Class number of scene `index`: its place in `config.classes`."""
        return Draws(self.config.seed, index).integer('class', len(self.config.classes))

    def scene(self, index: int) -> Scene:
        """Scene `index`."""
        draws = Draws(self.config.seed, index)
        name = self.config.classes[self.class_id(index)]
        mode = draws.choice('mode', MODE_WEIGHTS)
        builder = CATALOGUE[name].build(draws, paint(draws, CATALOGUE[name].hue, mode))
        return Scene(name, mode, builder.parts(), _light(draws), BACKGROUNDS[self.config.background](draws))

    def pose(self, index: int) -> Pose:
        """Pose from which the set shows scene `index`."""
        return draw_pose(self.config.poses, Draws(self.config.seed, index))

    def camera25(self, index: int) -> np.ndarray:
        """Camera of that pose: float32 [25]."""
        return camera25(self.pose(index))

    def image(self, index: int, resolution: int) -> np.ndarray:
        """Picture of scene `index` from its pose: uint8 [3, resolution, resolution]."""
        return draw_image(self.scene(index), view_of(self.camera25(index)), resolution)[0]

    def truth(self, indices: Sequence[int], resolution: int) -> Truth:
        """Pictures of these scenes from their own poses, and what is known about them."""
        return _truth([(self.scene(i), view_of(self.camera25(i))) for i in indices], resolution)


def _light(draws: Draws) -> tuple[float, float, float]:
    c, s = cos_sin_turns(draws.between('light/azimuth', -0.19, 0.19))
    ce, se = cos_sin_turns(draws.between('light/elevation', 0.065, 0.175))
    return (s * ce, se, c * ce)


def view_of(camera: np.ndarray) -> View:
    """The view of a 25-number label."""
    numbers = np.asarray(camera, dtype=np.float64)
    return View(numbers[:16].reshape(4, 4), numbers[16:].reshape(3, 3))


def render_scenes(scenes: Sequence[Scene], camera: Camera, resolution: int) -> Truth:
    """Pictures and truth of N scenes from N cameras (or from one camera for all): true novel views."""
    if len(camera) not in (1, len(scenes)):
        raise UsageError(f'render_scenes got {len(scenes)} scenes and {len(camera)} cameras; it needs one camera, or one for each scene.')
    poses, lenses = (t.detach().cpu().double().numpy() for t in (camera.world_from_camera, camera.intrinsics))
    views = [View(p, k) for p, k in zip(poses, lenses, strict=True)]
    return _truth(list(zip(scenes, views * len(scenes) if len(views) == 1 else views, strict=True)), resolution)


def draw_image(scene: Scene, view: View, resolution: int) -> tuple[np.ndarray, np.ndarray]:
    """(image uint8 [3, S, S], alpha float32 [1, S, S]) of one scene."""
    side = resolution * SUPERSAMPLES
    hits = cast(scene.parts, view, side)
    if scene.background.kind == 'white':
        colours = np.ones((side * side, 3))
    else:
        colours = scene.background.colours(_directions(view, side))
    seen = surface(scene.parts, view, hits)
    colours[seen.where] = _lit(scene, seen)
    pixels = _box_average(colours.reshape(side, side, 3))
    alpha = _box_average((hits.part >= 0).astype(np.float64)[:, :, None])
    # Rounding, half up. The colours lie in [0, 1] by construction; the clip guards against the last bit.
    image = np.floor(np.clip(pixels, 0, 1) * 255 + 0.5).astype(np.uint8)
    return np.ascontiguousarray(image.transpose(2, 0, 1)), alpha.transpose(2, 0, 1).astype(np.float32)


def _lit(scene: Scene, seen: Surface) -> np.ndarray:
    n, light = seen.normals, scene.light
    lambert = np.maximum(n[:, 0] * light[0] + n[:, 1] * light[1] + n[:, 2] * light[2], 0)
    return seen.colours * (AMBIENT + (1 - AMBIENT) * lambert)[:, None]


def _box_average(samples: np.ndarray) -> np.ndarray:
    assert SUPERSAMPLES == 2
    return ((samples[0::2, 0::2] + samples[0::2, 1::2]) + (samples[1::2, 0::2] + samples[1::2, 1::2])) / 4


def _camera_rays(view: View, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x and y of the rays (x, y, 1) in camera axes, and their lengths: each float64 [side, side]."""
    across, skew, down = view.ray_slopes(side)
    x = across[None, :] + skew[:, None]
    y = np.broadcast_to(down[:, None], x.shape)
    return x, y, np.sqrt(x * x + y * y + 1)


def _directions(view: View, side: int) -> np.ndarray:
    """Unit world directions of the rays: float64 [side * side, 3]."""
    x, y, length = _camera_rays(view, side)
    r = view.world_from_camera
    return np.stack([((r[k, 0] * x + r[k, 1] * y + r[k, 2]) / length).ravel() for k in range(3)], axis=-1)


def _truth(pairs: list[tuple[Scene, View]], resolution: int) -> Truth:
    images, alphas, depths, distances, normals = [], [], [], [], []
    for scene, view in pairs:
        image, alpha = draw_image(scene, view, resolution)
        hits: Hits = cast(scene.parts, view, resolution)
        seen = surface(scene.parts, view, hits)
        normal = np.zeros((resolution * resolution, 3), dtype=np.float32)
        normal[seen.where] = seen.normals
        images.append(image)
        alphas.append(alpha)
        depths.append(hits.z[None].astype(np.float32))
        distances.append((hits.z * _camera_rays(view, resolution)[2])[None].astype(np.float32))
        normals.append(normal.reshape(resolution, resolution, 3).transpose(2, 0, 1))
    return Truth(np.stack(images), np.stack(alphas), np.stack(depths), np.stack(distances), np.stack(normals))
