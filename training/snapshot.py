"""Weights files: one safetensors file that holds the averaged generator, the discriminator and, in its header, all that is needed to build and use them."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from dnnlib import config as configs
from dnnlib.errors import DataError, MissingInputError, UsageError
from torch_utils import checkpoint
from torch_utils.rng import Stream
from training.build import conditions_for
from training.cameras.camera import Camera
from training.cameras.convention import EG3D_NUMBERS, from_eg3d, to_eg3d
from training.cameras.distributions import LawConfig
from training.config import TrainingConfig
from training.data.image_set import ImageSet
from training.networks.discriminator import Discriminator
from training.networks.generator3d import Generator3D
from training.tasks.conditions import Conditions, ConditionSource, LabelledConditions

FORMAT = 'unposed-weights-1'
EXAMPLE_CAMERAS = 256  # of labelled data, which are at hand when more are wanted
# A read law is lost with its run, so that its examples are all that metrics will know: 1024 directions are within 3 % of the circle of the
# law's own (1 / sqrt(1024)), and 100 kB. With classes there are as many in all, but never fewer than 32 of a class.
READ_CAMERAS, LEAST_OF_A_CLASS = 1024, 32

_log = logging.getLogger(__name__)
Network = TypeVar('Network', Generator3D, Discriminator)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a weights file says besides weights."""

    config: TrainingConfig
    kimg: float
    class_names: tuple[str, ...]  # empty: the data had no classes
    cameras: LawConfig | Camera  # where the model expects to be seen from: a law, or examples of the training cameras
    camera_classes: Tensor | None = None  # [K] int64: the class of each example, where a law was read for each class


@dataclass(frozen=True, slots=True)
class ExampleConditions:
    """Classes as frequent as in the data, and for each the camera of a random example of its class: a read law, from a weights file."""

    classes: Tensor | None  # [D] int64, of the data
    examples: LabelledConditions

    def sample(self, stream: Stream, device: torch.device) -> Conditions:
        classes = None if self.classes is None else self.classes[stream.integers('conditions/index', len(self.classes))].to(device)
        return Conditions(classes, self.cameras(classes, stream, device))

    def cameras(self, classes: Tensor | None, stream: Stream, device: torch.device) -> Camera:
        # At an address of its own: the number that chose the class must not choose the camera as well.
        return self.examples.cameras(classes, stream.within('example'), device)


def finds_cameras(config: TrainingConfig) -> bool:
    """Whether the law of cameras is something that training finds: the generator invents them, or they are read off real pictures."""
    return config.generator.pose is not None or config.reading is not None


def conditions_of(snapshot: Snapshot, dataset: ImageSet) -> ConditionSource:
    """What generated images are asked to be when they are to resemble the data, with cameras as the weights file knows them.

    A generator that invents its cameras still does so itself: `training.sampling.own_cameras`.
    """
    if snapshot.config.reading is None or not isinstance(snapshot.cameras, Camera):
        return conditions_for(snapshot.config, dataset)
    classes = torch.from_numpy(dataset.classes()).long() if snapshot.config.generator.num_classes else None
    return ExampleConditions(classes, LabelledConditions(snapshot.camera_classes, to_eg3d(snapshot.cameras), mirror=False))


def examples_of(conditions: ConditionSource, num_classes: int, device: torch.device) -> tuple[Tensor, Tensor | None]:
    """(cameras [K, 25], class of each [K] int64 or None) of a read law: 1024, or with classes 1024 / classes but at least 32 of each class."""
    each = max(READ_CAMERAS // max(num_classes, 1), LEAST_OF_A_CLASS)
    classes = torch.arange(num_classes, device=device).repeat_interleave(each) if num_classes else None
    stream = Stream(0, 0, 'snapshot/cameras', tuple(range(each * max(num_classes, 1))))
    return to_eg3d(conditions.cameras(classes, stream, device)).cpu(), None if classes is None else classes.cpu()


def save_snapshot(
    path: Path,
    generator: Generator3D,
    discriminator: Discriminator,
    snapshot: Snapshot,
    example_cameras: Tensor | None,
    camera_classes: Tensor | None = None,
) -> None:
    """Write the file atomically.

    example_cameras [K, 25]: of the training data, when the model learned from labelled cameras (256 of them, evenly, are kept); of the read law,
    when it was read (`examples_of`), with classes together with camera_classes [K].
    """
    tensors = {'G_ema': generator.state_dict(), 'D': discriminator.state_dict()}
    if example_cameras is not None:
        evenly = torch.linspace(0, len(example_cameras) - 1, min(EXAMPLE_CAMERAS, len(example_cameras))).round().long()  # a set may have an order
        tensors['cameras'] = example_cameras[evenly] if snapshot.config.reading is None else example_cameras
    if camera_classes is not None:
        tensors['camera_classes'] = camera_classes
    extra = {'format': FORMAT, 'kimg': snapshot.kimg, 'class_names': list(snapshot.class_names)}
    checkpoint.save_weights(path, tensors, config=configs.to_dict(snapshot.config), extra=extra)


def load_generator(path: str | Path, device: torch.device | str = 'cpu') -> tuple[Generator3D, Snapshot]:
    """The averaged generator, in evaluation mode and without gradients, and what the file says about it.

    `path` is a weights file, a run folder (its newest snapshot) or a folder of runs (the newest run). Loading is strict and executes
    nothing. Raises MissingInputError or DataError with one sentence.
    """
    tensors, snapshot = _read(find_snapshot(path))
    generator = _built(Generator3D, snapshot.config.generator, path)
    _load(generator, tensors['G_ema'], path)
    return generator.eval().requires_grad_(False).to(device), snapshot


def load_discriminator(path: str | Path, device: torch.device | str = 'cpu') -> tuple[Discriminator, Snapshot]:
    """The discriminator of a weights file; see `load_generator`."""
    tensors, snapshot = _read(find_snapshot(path))
    discriminator = _built(Discriminator, snapshot.config.discriminator, path)
    _load(discriminator, tensors['D'], path)
    return discriminator.eval().requires_grad_(False).to(device), snapshot


def find_snapshot(path: str | Path) -> Path:
    """The weights file that `path` means. Runs that are newer than it and have none yet are mentioned."""
    path = Path(path)
    if not path.is_dir():
        return path
    for folder in (path, *sorted(path.glob('[0-9]*-*'), reverse=True)):
        found = sorted(folder.glob('network-snapshot-*.safetensors'))
        if found:
            newer = [run.name for run in path.glob('[0-9]*-*') if folder != path and run.name > folder.name and run.is_dir()]
            if newer:
                _log.warning('%s has no weights yet; taking %s', ', '.join(sorted(newer)), found[-1])
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
        config = configs.from_dict(TrainingConfig, header['config'], complete=True)
    except UsageError as error:
        raise DataError(f'{path} was written by another version, or its header was edited: {error} Use the version that wrote it.') from error
    examples = _examples(tensors, path) if config.reading is not None or config.cameras is None else None
    if examples is None and config.cameras is None:
        raise DataError(f'{path} holds neither a camera law nor cameras of its training data.')
    # A file that was written before read laws were kept has the law that its run explored.
    cameras = config.cameras if examples is None else examples
    camera_classes = _classes_of(examples, tensors, config, path) if examples is not None and config.reading is not None else None
    return tensors, Snapshot(config, kimg, tuple(class_names), cameras, camera_classes)


def _examples(tensors: dict[str, Any], path: Path) -> Camera | None:
    numbers = tensors.get('cameras')
    if numbers is None:
        return None
    if not isinstance(numbers, Tensor) or numbers.ndim != 2 or numbers.shape[1] != EG3D_NUMBERS or len(numbers) == 0:
        found = list(numbers.shape) if isinstance(numbers, Tensor) else 'a group'
        raise DataError(f"{path} is damaged: its tensor 'cameras' should hold {EG3D_NUMBERS} numbers for each camera; found {found}.")
    return from_eg3d(numbers)


def _classes_of(examples: Camera, tensors: dict[str, Any], config: TrainingConfig, path: Path) -> Tensor | None:
    """The class of each example; every class must have one."""
    count = config.generator.num_classes
    if count == 0:
        return None
    classes = tensors.get('camera_classes')
    if not isinstance(classes, Tensor) or classes.dtype != torch.int64 or classes.shape != (len(examples),):
        found = f'{classes.dtype} {list(classes.shape)}' if isinstance(classes, Tensor) else 'nothing'
        raise DataError(f"{path} is damaged: its tensor 'camera_classes' should be the class of each of {len(examples)} cameras; found {found}.")
    if classes.unique().tolist() != list(range(count)):
        raise DataError(f"{path} is damaged: its tensor 'camera_classes' should name each of its {count} classes and no other.")
    return classes


def _built(network: type[Network], config: Any, path: str | Path) -> Network:
    try:
        return network(config)
    except (RuntimeError, MemoryError, OverflowError) as error:
        raise DataError(f'{path} asks for a network that cannot be built here: {str(error).partition(chr(10))[0]}') from error


def _load(network: torch.nn.Module, tensors: dict[str, Tensor], path: str | Path) -> None:
    expected = network.state_dict()
    missing, unexpected = sorted(set(expected) - set(tensors)), sorted(set(tensors) - set(expected))
    misshapen = sorted(name for name in set(expected) & set(tensors) if expected[name].shape != tensors[name].shape)
    if missing or unexpected or misshapen:
        raise DataError(
            f'{path} does not fit its own configuration: missing {missing[:3]}, unexpected {unexpected[:3]}, of another shape {misshapen[:3]}.'
        )
    network.load_state_dict(tensors)
