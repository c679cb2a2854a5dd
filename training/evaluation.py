"""Scenes for metrics: endlessly many, numbered, each a function of its number, under the training law of classes and cameras."""

from collections.abc import Callable

import torch
from torch import Tensor

from torch_utils.rng import Stream
from training.cameras.camera import Camera
from training.networks.generator3d import Generator3D
from training.networks.outputs import Output
from training.sampling import Truncation, sample
from training.tasks.conditions import ConditionSource

BATCH = 16


def law_outputs(
    generator: Generator3D, conditions: ConditionSource, device: torch.device | str, truncation: Truncation, seed: int = 0
) -> Callable[[int, int], tuple[Output, Camera]]:
    """`outputs(start, count)`: what the generator shows of scenes start, start + 1, ... and from where, without gradients.

    Scene i is the same whoever asks for it, in whatever company.
    """
    device = torch.device(device)

    def outputs(start: int, count: int) -> tuple[Output, Camera]:
        stream = Stream(seed, 0, 'evaluation', tuple(range(start, start + count)))
        asked = conditions.sample(stream, device)
        z = stream.normal('z', generator.config.z_dim, device=device)
        return sample(generator, z, asked.classes, asked.camera, truncation=truncation, batch=BATCH), asked.camera

    return outputs


def law_sampler(
    generator: Generator3D, conditions: ConditionSource, device: torch.device | str, truncation: Truncation, seed: int = 0
) -> Callable[[int, int], Tensor]:
    """`images(start, count)` [count, 3, S, S] in [-1, 1]: the images of `law_outputs`."""
    outputs = law_outputs(generator, conditions, device, truncation, seed)
    return lambda start, count: outputs(start, count)[0].image
