"""Scenes for metrics: endlessly many, numbered, each a function of its number, under the training law of classes and cameras."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from metrics.subject import Subject, Views
from torch_utils.rng import Stream
from training.cameras.camera import Camera
from training.networks.generator3d import Generator3D
from training.networks.outputs import Output
from training.sampling import Truncation, own_cameras, sample
from training.tasks.conditions import ConditionSource

BATCH = 16  # scenes at a time, always: the last digits of a convolution depend on how many are computed together


@dataclass(frozen=True, slots=True)
class Asked:
    """N scenes of the law. A generator that is conditioned on cameras is told `drawn`; from `camera` the scenes are seen, which is the same
    unless the generator invents it."""

    z: Tensor  # [N, z_dim]
    classes: Tensor | None  # [N] int64
    drawn: Camera
    camera: Camera


def asked_scenes(generator: Generator3D, conditions: ConditionSource, device: torch.device, seed: int = 0) -> Callable[[int, int], Asked]:
    """`asked(start, count)`: what the scenes start .. start + count - 1 are made of, under the training law of classes and cameras."""

    def asked(start: int, count: int) -> Asked:
        stream = Stream(seed, 0, 'evaluation', tuple(range(start, start + count)))
        wanted = conditions.sample(stream, device)
        z = stream.normal('z', generator.config.z_dim, device=device)
        return Asked(z, wanted.classes, wanted.camera, own_cameras(generator, z, wanted.classes, wanted.camera, BATCH))

    return asked


def law_outputs(
    generator: Generator3D, conditions: ConditionSource, device: torch.device | str, truncation: Truncation, seed: int = 0
) -> Callable[[int, int], tuple[Output, Camera]]:
    """`outputs(start, count)`: what the generator shows of scenes start, start + 1, ... and from where, without gradients.

    Scene i is the same whoever asks for it, in whatever company.
    """
    asked = asked_scenes(generator, conditions, torch.device(device), seed)

    def outputs(start: int, count: int) -> tuple[Output, Camera]:
        wanted = asked(start, _whole_batches(count))
        output = sample(generator, wanted.z, wanted.classes, wanted.camera, condition=wanted.drawn, truncation=truncation, batch=BATCH)
        return _first(output, count), wanted.camera[:count]

    return outputs


def law_sampler(
    generator: Generator3D, conditions: ConditionSource, device: torch.device | str, truncation: Truncation, seed: int = 0
) -> Callable[[int, int], Tensor]:
    """`images(start, count)` [count, 3, S, S] in [-1, 1]: the images of `law_outputs`."""
    outputs = law_outputs(generator, conditions, device, truncation, seed)
    return lambda start, count: outputs(start, count)[0].image


def generator_subject(
    name: str,
    generator: Generator3D,
    conditions: ConditionSource,
    device: torch.device | str,
    truncation: Truncation,
    seed: int = 0,
    *,
    condition_follows: bool = False,
) -> Subject:
    """A generator as a subject of metrics: the scenes of `law_outputs`, with everything on the CPU.

    One that invents its cameras is seen from those in `sample`; `render` moves it like any other.

    `render` shows the same scenes: same latent, same class, and, for a generator that is told a camera, the camera of the scene's own law and
    not the one it is looked at from, so that it cannot show another object from another side. With `condition_follows` it is told the latter:
    what such a generator does when it may redraw the scene for every view, which is to be reported beside the former and never instead of it.

    Depth follows the median rule whatever the configuration says: the expected depth of a ray that grazes a soft edge lies between the object
    and what is behind it, where nothing is. A generator of flat pictures has neither depth nor opacity.
    """
    device = torch.device(device)
    seen = generator.under(replace(generator.config, rendering=replace(generator.config.rendering, depth_rule='median')))
    asked = asked_scenes(generator, conditions, device, seed)

    def views(start: int, n: int, camera: Camera | None = None) -> Views:
        wanted = asked(start, _whole_batches(n))
        camera = wanted.camera if camera is None else Camera.cat([camera.to(device), wanted.camera[n:]])
        told = camera if condition_follows else wanted.drawn
        output = _first(sample(seen, wanted.z, wanted.classes, camera, condition=told, truncation=truncation, batch=BATCH), n)
        solid = generator.config.picture != 'flat'
        return Views(
            image=output.image.cpu(),
            depth=output.depth.cpu() if solid else None,
            opacity=output.opacity.cpu() if solid else None,
            camera=camera[:n].to('cpu'),
            classes=None if wanted.classes is None else wanted.classes[:n].cpu(),
        )

    return Subject(name, views, views)


def _whole_batches(count: int) -> int:
    return -(-count // BATCH) * BATCH


def _first(output: Output, count: int) -> Output:
    return Output(output.image[:count], output.image_raw[:count], output.depth[:count], output.opacity[:count])
