"""What one looks at when training is checked, and with what it is compared: scenes from several sides, and what is known of real ones."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from metrics.oracle import OracleRecipe, find_oracle
from metrics.response_pairs import turned
from metrics.subject import Views
from torch_utils.rng import Stream
from training.build import Built
from training.cameras.rays import rays
from training.data.image_set import ImageSet
from training.data.synthetic import SyntheticImages
from training.data.toyworld.catalogue import CATALOGUE
from training.evaluation import BATCH, asked_scenes
from training.monitors.alarms import NOT_MEASURED, Reference
from training.monitors.shape import mean_bulge, mean_thickness, pose_spread_deg
from training.networks.generator3d import Generator3D, GeneratorConfig
from training.networks.outputs import Output
from training.rendering.renderer import ray_bounds
from training.sampling import batches, look_at_scene, make_scene
from training.snapshot import finds_cameras
from training.tasks.conditions import ConditionSource, DrawnConditions

CAMERAS_OF_LAW = 1000  # draws from which the spread of a law is known to a few per cent

TURN_DEG = 15.0  # to either side of a scene's own camera: far enough for relief to show, near enough to see the same surface
SCENES_TURNED = 48  # rendered twice more; in noise of 30 degrees the response of so many is known to 0.15


@dataclass(frozen=True, slots=True)
class Seen:
    """What somebody recognises in N pictures: classes int64 [N], in numbers of the data; azimuth_rad [N] from which the object is seen."""

    classes: np.ndarray
    azimuth_rad: Tensor


Read = Callable[[Tensor], Seen]
"""Of images [N, 3, S, S] in [-1, 1]."""


@dataclass(frozen=True, slots=True)
class Look:
    """N scenes under the training law of classes and cameras, all of them from one camera, and some from either side of their own.

    Seen from cameras of their own, copies of one scene are different pictures; from one camera they are the same. near, far [N]: between which
    distances, world units, the rays of a picture are sampled.
    """

    views: Views  # with depth, opacity and camera
    from_one_camera: Tensor  # [N, 3, S, S] in [-1, 1]
    near: Tensor
    far: Tensor
    left: Views  # the first M scenes, their cameras turned by -15 degrees about the vertical axis, with depth, opacity and camera
    right: Views  # and by +15
    tells_object: bool = True  # False: the field is its own background, and every pixel of a picture belongs to the object


def look_at_generator(generator: Generator3D, conditions: ConditionSource, count: int, device: torch.device) -> Look:
    """The scenes 0 .. count - 1 of `training.evaluation.law_outputs`, rendered with as many samples as in training (a third of the time)."""
    asked = asked_scenes(generator, conditions, device)(0, count)
    rendering = generator.config.rendering
    quick = generator.under(replace(generator.config, rendering=replace(rendering, evaluation_factor=1)))
    parts = []
    for rows in batches(count, BATCH):
        # The scenes stay those that were made for their own cameras, wherever they are looked at from.
        scene = make_scene(quick, asked.z[rows], None if asked.classes is None else asked.classes[rows], asked.drawn[rows])
        camera = asked.camera[rows]
        # The first camera is one of the law.
        cameras = [camera, asked.camera[0]] + [turned(camera, turn) for turn in (-TURN_DEG, TURN_DEG) if rows.start < SCENES_TURNED]
        parts.append([look_at_scene(quick, scene, camera) for camera in cameras])
    own, left, right = (_views([part[place] for part in parts if len(part) > place]) for place in (0, 2, 3))
    sides = asked.camera[: len(left)].to('cpu')
    near, far = ray_bounds(rays(asked.camera, own.depth.shape[-1]), rendering)
    if rendering.far_at_start is not None:
        far = torch.minimum(far, generator.far)  # training lets them reach further later
    return Look(
        replace(own, camera=asked.camera.to('cpu'), classes=None if asked.classes is None else asked.classes.cpu()),
        torch.cat([part[1].image for part in parts]).cpu(),
        near.amin(dim=(1, 2)).cpu(),
        far.amax(dim=(1, 2)).cpu(),
        replace(left, camera=turned(sides, -TURN_DEG)),
        replace(right, camera=turned(sides, TURN_DEG)),
        rendering.background != 'field',
    )


def meant_conditions(built: Built) -> ConditionSource:
    """The law of cameras that people had in mind: of a run that finds its cameras, where it looks while nothing is known."""
    config = built.config
    return DrawnConditions(None, config.cameras) if finds_cameras(config) else built.conditions


def reference_of(
    dataset: ImageSet, conditions: ConditionSource, generator: GeneratorConfig, count: int, finds_cameras: bool = False
) -> Reference:
    """What is known of real scenes and cameras; `conditions`: what is meant (`meant_conditions`).

    Only synthetic data know their depth, and it can be compared only where the generator tells object from background: a field that is its own
    background has no object pixels.
    """
    asked = conditions.sample(Stream(0, 0, 'monitors/law', tuple(range(CAMERAS_OF_LAW))), torch.device('cpu'))
    real = real_bulge = NOT_MEASURED
    if isinstance(dataset, SyntheticImages) and generator.rendering.background != 'field':
        numbers = range(min(count, len(dataset)))
        truth = dataset.world.truth(numbers, generator.render_resolution)
        camera = dataset.world.cameras(numbers)
        depth, opacity = torch.from_numpy(truth.distance), torch.from_numpy(truth.alpha)
        real, real_bulge = mean_thickness(depth, opacity, camera), mean_bulge(depth, opacity, camera)
    return Reference(real, real_bulge, pose_spread_deg(asked.camera), finds_cameras)


def reader_of(dataset: ImageSet) -> Read | None:
    """Reads the data's class numbers and azimuths off pictures of a synthetic set; None without an oracle that is trained already.

    A picture that shows a class that the data do not have gets the number after the last.
    """
    oracle = find_oracle(OracleRecipe(style=dataset.config.style)) if isinstance(dataset, SyntheticImages) else None
    if oracle is None:
        return None
    known = dataset.config.classes
    numbers = np.array([known.index(name) if name in known else len(known) for name in CATALOGUE])

    def read(images: Tensor) -> Seen:
        reading = oracle.read(images)
        return Seen(numbers[reading.classes.numpy()], reading.azimuth_rad)

    return read


def _views(outputs: Sequence[Output]) -> Views:
    """On the CPU."""
    return Views(*(torch.cat([getattr(output, name) for output in outputs]).cpu() for name in ('image', 'depth', 'opacity')))
