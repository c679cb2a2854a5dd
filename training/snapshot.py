"""Weights files: one safetensors file that holds the averaged generator, the discriminator and, in its header, all that is needed to build and use them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dnnlib import config as configs
from dnnlib.errors import DataError, MissingInputError, UsageError
from torch_utils import checkpoint
from training.cameras.camera import Camera
from training.cameras.convention import from_eg3d
from training.cameras.distributions import LawConfig
from training.config import TrainingConfig
from training.networks.discriminator import Discriminator
from training.networks.generator3d import Generator3D

FORMAT = 'unposed-weights-1'
EXAMPLE_CAMERAS = 256


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a weights file says besides weights."""

    config: TrainingConfig
    kimg: float
    class_names: tuple[str, ...]  # empty: the data had no classes
    cameras: LawConfig | Camera  # where the model expects to be seen from: a law, or examples of the training cameras


def save_snapshot(path: Path, generator: Generator3D, discriminator: Discriminator, snapshot: Snapshot, example_cameras: Tensor | None) -> None:
    """Write the file atomically. example_cameras [K, 25], of the training data, when the model learned from labelled cameras."""
    tensors = {'G_ema': generator.state_dict(), 'D': discriminator.state_dict()}
    if example_cameras is not None:
        tensors['cameras'] = example_cameras[:EXAMPLE_CAMERAS]
    extra = {'format': FORMAT, 'kimg': snapshot.kimg, 'class_names': list(snapshot.class_names)}
    checkpoint.save_weights(path, tensors, config=configs.to_dict(snapshot.config), extra=extra)


def load_generator(path: str | Path, device: torch.device | str = 'cpu') -> tuple[Generator3D, Snapshot]:
    """The averaged generator, in evaluation mode and without gradients, and what the file says about it.

    `path` is a weights file, a run folder (its newest snapshot) or a folder of runs (the newest run). Loading is strict and executes
    nothing. Raises MissingInputError or DataError with one sentence.
    """
    tensors, snapshot = _read(find_snapshot(path))
    generator = Generator3D(snapshot.config.generator)
    _load(generator, tensors['G_ema'], path)
    return generator.eval().requires_grad_(False).to(device), snapshot


def load_discriminator(path: str | Path, device: torch.device | str = 'cpu') -> tuple[Discriminator, Snapshot]:
    """The discriminator of a weights file; see `load_generator`."""
    tensors, snapshot = _read(find_snapshot(path))
    discriminator = Discriminator(snapshot.config.discriminator)
    _load(discriminator, tensors['D'], path)
    return discriminator.eval().requires_grad_(False).to(device), snapshot


def find_snapshot(path: str | Path) -> Path:
    """The weights file that `path` means."""
    path = Path(path)
    if not path.is_dir():
        return path
    for pattern in ('network-snapshot-*.safetensors', '[0-9]*-*/network-snapshot-*.safetensors'):
        found = sorted(path.glob(pattern))
        if found:
            return found[-1]
    raise MissingInputError(f'No network-snapshot-*.safetensors in {path} or in a run folder there. Has the run reached its first snapshot?')


def _read(path: Path) -> tuple[dict[str, Any], Snapshot]:
    tensors, header = checkpoint.load_weights(path)
    extra = header['extra'] if isinstance(header['extra'], dict) else {}
    if extra.get('format') != FORMAT or not all(isinstance(tensors.get(name), dict) for name in ('G_ema', 'D')):
        raise DataError(f'{path} is a safetensors file, but not one of {FORMAT} (it says {extra.get("format")!r}).')
    kimg, class_names = extra.get('kimg'), extra.get('class_names')
    if type(kimg) not in (int, float) or not isinstance(class_names, list) or not all(isinstance(name, str) for name in class_names):
        raise DataError(f'The header of {path} is damaged: kimg is {kimg!r} and class_names {class_names!r}. Copy the file again.')
    try:
        config = configs.from_dict(TrainingConfig, header['config'])
    except UsageError as error:
        raise DataError(f'{path} was written by another version, or its header was edited: {error} Use the version that wrote it.') from error
    if config.cameras is not None:
        cameras = config.cameras
    elif 'cameras' in tensors:
        cameras = from_eg3d(tensors['cameras'])
    else:
        raise DataError(f'{path} holds neither a camera law nor cameras of its training data.')
    return tensors, Snapshot(config, kimg, tuple(class_names), cameras)


def _load(network: torch.nn.Module, tensors: dict[str, Tensor], path: str | Path) -> None:
    expected = network.state_dict()
    missing, unexpected = sorted(set(expected) - set(tensors)), sorted(set(tensors) - set(expected))
    misshapen = sorted(name for name in set(expected) & set(tensors) if expected[name].shape != tensors[name].shape)
    if missing or unexpected or misshapen:
        raise DataError(
            f'{path} does not fit its own configuration: missing {missing[:3]}, unexpected {unexpected[:3]}, of another shape {misshapen[:3]}.'
        )
    network.load_state_dict(tensors)
