"""A named, endless, addressable set of scenes with known truth, and pictures of them from any camera."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from dnnlib.errors import UsageError, did_you_mean
from training.cameras.camera import Camera
from training.cameras.convention import from_eg3d
from training.data.image_set import ImageSet
from training.data.toyworld.background import BACKGROUNDS, Background
from training.data.toyworld.catalogue import CATALOGUE
from training.data.toyworld.colour import MODE_WEIGHTS, paint
from training.data.toyworld.numbers import Draws
from training.data.toyworld.poses import POSE_LAWS, Pose, camera25, draw_pose
from training.data.toyworld.shapes import Parts
from training.data.toyworld.styles import STYLES
from training.data.toyworld.tracer import Hits, View, camera_rays, cast, surface

SUPERSAMPLES = 2  # per pixel and axis, box filter


@dataclass(frozen=True, slots=True)
class Scene:
    """One object under one light. `light`: unit direction towards the light, fixed to the world; `mode`: colour mode 0, 1 or 2;
    `style`: how it is shaded (its parts already have the shapes of the style)."""

    class_name: str
    mode: int
    parts: Parts
    light: tuple[float, float, float]
    background: Background
    style: str = 'plain'


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
    """Which scenes: names of classes, a law of poses, a background, a seed, a style of shapes, colours and light."""

    classes: tuple[str, ...] = tuple(CATALOGUE)
    poses: str = 'wide'
    background: str = 'white'
    seed: int = 0
    style: str = 'plain'

    def __post_init__(self) -> None:
        words = [('class', name, CATALOGUE) for name in self.classes]
        words += [('law of poses', self.poses, POSE_LAWS), ('background', self.background, BACKGROUNDS), ('style', self.style, STYLES)]
        for what, word, known in words:
            if word not in known:
                raise UsageError(f'Toyworld has no {what} {word!r}; it has {", ".join(known)}.{did_you_mean(word, known)}')
        if not self.classes or len(set(self.classes)) != len(self.classes):
            raise UsageError(f'Toyworld needs one or more classes, each named once; got {", ".join(self.classes) or "none"}.')


class Toyworld:
    """Scenes 0, 1, 2, ... Scene i does not depend on the poses, the resolution or the number of scenes of the set.

    `photos`: the photographs of background 'photo', which alone needs them. Raises UsageError if they are missing or of no use.
    """

    def __init__(self, config: ToyworldConfig = ToyworldConfig(), photos: ImageSet | None = None) -> None:
        if (config.background == 'photo') != (photos is not None):
            raise UsageError('Toyworld needs photographs for the background photo, and for no other.')
        self.config = config
        self._photos = photos

    def class_id(self, index: int) -> int:
        """Class number of scene `index`: its place in `config.classes`."""
        return Draws(self.config.seed, index).integer('class', len(self.config.classes))

    def mode_id(self, index: int) -> int:
        """Colour mode of scene `index`: 0, 1 or 2."""
        return Draws(self.config.seed, index).choice('mode', MODE_WEIGHTS)

    def scene(self, index: int) -> Scene:
        """Scene `index`. With background 'photo' the photographs are read when the scene is drawn."""
        draws = Draws(self.config.seed, index)
        name = self.config.classes[self.class_id(index)]
        mode = self.mode_id(index)
        builder = CATALOGUE[name].build(draws, paint(draws, CATALOGUE[name].hue, mode))
        style = STYLES[self.config.style]
        background = BACKGROUNDS[self.config.background](draws, self._photos)
        return Scene(name, mode, style.shape(builder.parts(), draws), style.light(draws), background, self.config.style)

    def pose(self, index: int) -> Pose:
        """Pose from which the set shows scene `index`."""
        return draw_pose(self.config.poses, Draws(self.config.seed, index))

    def camera25(self, index: int) -> np.ndarray:
        """Camera of that pose: float32 [25]."""
        return camera25(self.pose(index))

    def cameras(self, indices: Iterable[int]) -> Camera:
        """The true cameras [N] of these pictures, whatever the labels of a set say."""
        return from_eg3d(torch.from_numpy(np.stack([self.camera25(i) for i in indices])))

    def image(self, index: int, resolution: int) -> np.ndarray:
        """Picture of scene `index` from its pose: uint8 [3, resolution, resolution]."""
        return draw_image(self.scene(index), view_of(self.camera25(index)), resolution)[0]

    def truth(self, indices: Sequence[int], resolution: int) -> Truth:
        """Pictures of these scenes from their own poses, and what is known about them."""
        return _truth([(self.scene(i), view_of(self.camera25(i))) for i in indices], resolution)


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
    colours = scene.background.seen(view, side)
    seen = surface(scene.parts, view, hits)
    colours[seen.where] = STYLES[scene.style].shade(seen, scene.light, view, side)
    pixels = _box_average(colours.reshape(side, side, 3))
    alpha = _box_average((hits.part >= 0).astype(np.float64)[:, :, None])
    # Rounding, half up. The colours lie in [0, 1] by construction; the clip guards against the last bit.
    image = np.floor(np.clip(pixels, 0, 1) * 255 + 0.5).astype(np.uint8)
    return np.ascontiguousarray(image.transpose(2, 0, 1)), alpha.transpose(2, 0, 1).astype(np.float32)


def _box_average(samples: np.ndarray) -> np.ndarray:
    assert SUPERSAMPLES == 2
    return ((samples[0::2, 0::2] + samples[0::2, 1::2]) + (samples[1::2, 0::2] + samples[1::2, 1::2])) / 4


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
        distances.append((hits.z * camera_rays(view, resolution)[2])[None].astype(np.float32))
        normals.append(normal.reshape(resolution, resolution, 3).transpose(2, 0, 1))
    return Truth(np.stack(images), np.stack(alphas), np.stack(depths), np.stack(distances), np.stack(normals))
