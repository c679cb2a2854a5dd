"""Where everything meets: data and configuration become networks, a task, a loader. Nothing else constructs them for training."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dnnlib.errors import DataError, UsageError
from dnnlib.units import format_names
from torch_utils.distributed import World, local_size
from training.augment.controller import AdaController
from training.augment.pipe import AugmentPipe
from training.cameras.convention import from_eg3d
from training.cameras.rig import rig_of
from training.config import TrainingConfig
from training.data.archive import open_dataset
from training.data.image_set import ImageSet
from training.data.loader import Loader, LoaderConfig
from training.loop import Trainer
from training.networks.discriminator import Discriminator
from training.networks.generator3d import Generator3D
from training.tasks.arrangement import arrange
from training.tasks.conditions import ConditionSource, DrawnConditions, LabelledConditions
from training.tasks.gan import GanTask
from training.tasks.readings import ReadConditions, Readings

FEWEST_OF_A_CLASS = 20


@dataclass(frozen=True, slots=True)
class Built:
    """A run, ready for the loop."""

    config: TrainingConfig  # resolved: what the data decide is filled in
    dataset: ImageSet
    class_names: tuple[str, ...]
    loader: Loader
    task: GanTask
    conditions: ConditionSource  # of metrics and pictures; a law that training explores is here as it is believed to be
    example_cameras: Tensor | None  # [D, 25], of the data, when fakes are seen from there
    said: tuple[str, ...] = ()  # what came up while it was built: sentences for the user


def build(config: TrainingConfig, world: World | None = None) -> Built:
    """Open the data, fit the configuration to them, construct networks and task under the run's seed.

    The ranks of a `world` share the work that takes long, and must then all be here.
    Raises MissingInputError, DataError or UsageError when the data are not there or do not fit the configuration.
    """
    dataset, config = open_data(config, 1 if world is None else world.size)
    # The global generator is used for initial weights alone, and put back as it was.
    with torch.random.fork_rng():
        torch.random.manual_seed(config.loop.seed)
        generator, discriminator = Generator3D(config.generator), Discriminator(config.discriminator)
    conditions = conditions_for(config, dataset)
    photographs, said = None, []
    if config.reading is not None and config.reading.arranged:
        reading, by_class = config.reading, config.generator.num_classes > 0
        photographs, said = arrange(dataset, by_class, reading.arranged, config.cameras, config.loop.seed, reading.sure, world=world, mirror=config.data.mirror)
        if photographs is not None:
            conditions.readings.begin_with(photographs.codes, photographs.classes)
            conditions = replace(conditions, arranged=photographs)
    task = GanTask(config.gan, generator, discriminator, conditions, AugmentPipe(config.augment), AdaController(config.ada))
    if isinstance(conditions, ReadConditions):
        conditions = conditions.believed()
    # Every rank sees every image in time, so each keeps its share of the memory's worth.
    loading = LoaderConfig(mirror=config.data.mirror, cache_bytes=LoaderConfig().cache_bytes // local_size(), alike=config.discriminator.views_together)
    return Built(
        config=config,
        dataset=dataset,
        class_names=tuple(dataset.class_names) if config.generator.num_classes else (),
        loader=Loader(dataset, config.loop.seed, loading),
        task=task,
        conditions=conditions,
        example_cameras=conditions.labels if isinstance(conditions, LabelledConditions) else None,
        said=tuple(said),
    )


def trainer_of(built: Built, world: World, folder: Path) -> Trainer:
    """The loop at its first step. Nothing is written to `folder` before it saves."""
    config = built.config
    optimisers = {'generator': config.generator_optimiser, 'discriminator': config.discriminator_optimiser}
    return Trainer(built.task, built.loader, config.loop, optimisers, world, folder)


def open_data(config: TrainingConfig, processes: int = 1) -> tuple[ImageSet, TrainingConfig]:
    """The data, and the configuration fitted to them. Errors as of `build`, of which most are found here, in seconds."""
    dataset = open_dataset(config.data.require_path())
    return dataset, fit_to_data(config, dataset, processes)


def fit_to_data(config: TrainingConfig, dataset: ImageSet, processes: int = 1) -> TrainingConfig:
    """Fill in resolution and number of classes; refuse a configuration that contradicts itself or that the data cannot serve.

    processes: between how many a batch is shared.
    """
    config.refuse_contradictions(processes)
    num_classes = dataset.num_classes if config.data.use_classes else 0
    if config.data.needs_classes and not num_classes:
        raise DataError(
            f'{config.data.path} has no classes in its labels, and preset {config.preset or "(none)"} generates by class. Put the pictures of each class '
            'into a folder of its own and run dataset_tool.py again, or take --set data.needs_classes=false to train without.'
        )
    needs_cameras = config.cameras is None or config.discriminator.conditions_on_camera
    if needs_cameras and not dataset.has_cameras:
        raise DataError(
            f'{config.data.path} has no cameras in its labels, and preset {config.preset or "(none)"} needs them. Use --cfg photos, which draws '
            'cameras from a law, or make the data set with cameras (docs/data.md).'
        )
    if config.cameras is None:
        _refuse_blind_cameras(config, dataset)
    size = dataset.resolution
    # Without super-resolution the picture is the render; both change together, else the configuration would refuse itself.
    render = size if config.generator.superres is None else config.generator.render_resolution
    final = config.gan.render_resolution_final
    if config.generator.superres is None and final not in (None, render):
        raise UsageError(
            f'gan.render_resolution_final={final} needs super-resolution: without it the picture is the render, which has the {size} pixels of the data.'
        )
    if config.generator.superres is not None and size < render:
        raise UsageError(
            f'Preset {config.preset or "(none)"} renders {render} pixels and enlarges them, and the images of {config.data.path} have {size}. Take larger images, or a '
            'preset for small ones (demo-..., photos, photos-unposed).'
        )
    generator = replace(config.generator, num_classes=num_classes, image_resolution=size, render_resolution=render)
    discriminator = replace(config.discriminator, num_classes=num_classes, image_resolution=size)
    if config.cameras is not None:  # networks that find cameras find those of the law's rig
        rig = rig_of(config.cameras)
        if generator.pose is not None:
            generator = replace(generator, pose=replace(generator.pose, rig=rig))
        if discriminator.pose is not None:
            discriminator = replace(discriminator, pose=replace(discriminator.pose, rig=rig))
    return replace(config, generator=generator, discriminator=discriminator)


def _refuse_blind_cameras(config: TrainingConfig, dataset: ImageSet) -> None:
    """Labels in another unit of length are what makes data sets of others render as empty space."""
    near, far = config.generator.rendering.near, config.generator.rendering.far
    if far == 'box':
        return
    distance = from_eg3d(torch.from_numpy(dataset.cameras())).origins.norm(dim=1)
    blind = ((distance <= near) | (distance >= far)).float().mean().item()
    if blind > 0.5:
        raise DataError(
            f'{blind:.0%} of the cameras of {config.data.path} do not see the middle of the world: they stand {distance.median():.3g} away from it (median), and '
            f'rays begin at {near:g} and end at {far:g} (generator.rendering.near and far). Scale the cameras, or change where rays begin and end.'
        )


def remarks(config: TrainingConfig, dataset: ImageSet) -> list[str]:
    """What of the data this configuration leaves unused, or will hardly learn from: sentences for the user, said once."""
    said = list(dataset.remarks())
    told = config.cameras is None or config.discriminator.conditions_on_camera or config.generator.conditions_on_camera
    if dataset.has_cameras and not told:
        said.append(f'The labels of {dataset.name} hold cameras; preset {config.preset or "(none)"} does not look at them.')
    if config.generator.num_classes:
        counts = np.bincount(dataset.classes(), minlength=config.generator.num_classes)
        if config.generator.num_classes == 1:
            said.append('There is one class: every picture is asked to be of it, and conditioning on classes changes nothing.')
        rare = [name for name, count in zip(dataset.class_names, counts, strict=True) if count < FEWEST_OF_A_CLASS]
        if rare:
            said.append(f'Fewer than {FEWEST_OF_A_CLASS} images in: {format_names(rare, 5)}. Such classes repeat what they have, or stay empty.')
    return said


def conditions_for(config: TrainingConfig, dataset: ImageSet) -> ConditionSource:
    """What generated images are asked to be when they are to resemble the data: in training, and for metrics."""
    classes = torch.from_numpy(dataset.classes()).long() if config.generator.num_classes else None
    if config.reading is not None:
        return ReadConditions(classes, config.cameras, Readings(config.reading, config.generator.num_classes))
    if config.cameras is not None:
        return DrawnConditions(classes, config.cameras)
    return LabelledConditions(classes, torch.from_numpy(dataset.cameras()).float(), mirror=config.data.mirror)
