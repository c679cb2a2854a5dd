"""What happens beside training: log lines, pictures over time, weights files, metrics. Rank 0 writes; the others wait (Trainer.run)."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from dnnlib.errors import DataError, MissingInputError
from dnnlib.units import format_bytes, format_seconds
from metrics.evaluate import append_results, compute
from torch_utils.checkpoint import load_weights
from torch_utils.rng import Stream
from torch_utils.statistics import PROGRESS, StatisticsWriter, peak_memory_bytes
from training.build import Built
from training.data.item import from_uint8
from training.data.synthetic import SyntheticImages
from training.evaluation import asked_scenes, law_sampler
from training.loop import Hook, Tick, Trainer
from training.networks.generator3d import Generator3D
from training.pictures.depth import depth_pictures
from training.pictures.grid import save_picture, tile, to_pictures
from training.pictures.poses import Poses, pose_picture
from training.sampling import Truncation, latents, own_cameras, sample
from training.snapshot import Snapshot, examples_of, finds_cameras, save_snapshot

COLUMNS = 8
ROWS_WITHOUT_CLASSES = 4
MOST_CLASS_ROWS = 20
EVALUATION_BATCH = 16
CAMERAS_SHOWN = 1000


def name_of(trainer: Trainer) -> str:
    """The number that files of this moment carry: thousands of images, six digits."""
    return f'{trainer.nimg // 1000:06d}'


@dataclass
class Log(Hook):
    """A line per tick on the console (and so in log.txt), stats.jsonl, TensorBoard; a progress bar where somebody watches."""

    folder: Path
    show_bar: bool
    _writer: StatisticsWriter | None = field(default=None, init=False)
    _bar: tqdm | None = field(default=None, init=False)

    def at_start(self, trainer: Trainer) -> None:
        if trainer.world.is_main:
            self._writer = StatisticsWriter(self.folder, trainer.nimg)
            total, done = trainer.config.kimg, trainer.nimg / 1000
            self._bar = tqdm(total=total, initial=done, unit='kimg', disable=not self.show_bar, bar_format='{l_bar}{bar}| {n:.1f}/{total:.1f} kimg')

    def at_tick(self, trainer: Trainer, tick: Tick) -> None:
        if self._writer is None:
            return
        seconds_per_kimg = tick.seconds / max(tick.images / 1000, 1e-9)
        memory = peak_memory_bytes()
        progress = {
            PROGRESS: trainer.nimg / 1000,
            'Timing/sec_per_kimg': seconds_per_kimg,
            'Timing/total_sec': trainer.seconds,
            'Resources/peak_memory_gb': memory / 2**30,
        }
        self._writer.write(tick.statistics | {key: {'num': 1, 'mean': value, 'std': 0.0} for key, value in progress.items()}, trainer.nimg)
        means = {name: values['mean'] for name, values in tick.statistics.items()}
        self._bar.update(trainer.nimg / 1000 - self._bar.n)
        self._bar.write(
            f'kimg {trainer.nimg / 1000:<8.1f} time {format_seconds(trainer.seconds):<11s} sec/kimg {seconds_per_kimg:<7.2f} '
            f'memory {format_bytes(memory):<9s} G {means.get("Loss/G/loss", float("nan")):<7.3f} D {means.get("Loss/D/loss", float("nan")):<7.3f} '
            f'real {means.get("Loss/scores/real", float("nan")):<+7.2f} augment {means.get("Progress/augment", 0.0):.2f}'
        )


@dataclass
class Pictures(Hook):
    """reals.png once; fakes000200.png, _raw.png and _depth.png at every snapshot, always of the same latents and classes.

    Cameras are the same too, unless training finds them: then every grid is seen from where the law is believed to be at its moment, and
    poses000200.png shows that law.
    """

    folder: Path
    built: Built
    _request: tuple[Tensor, Tensor | None] | None = field(default=None, init=False)

    def at_start(self, trainer: Trainer) -> None:
        if not trainer.world.is_main:
            return
        classes = class_rows(self.built)
        reals = _real_pictures(self.built, classes)
        save_picture(self.folder / 'reals.png', tile(to_pictures(reals), COLUMNS, len(reals) // COLUMNS))
        count = len(reals)
        z = latents(range(count), self.built.config.generator.z_dim)
        self._request = (z, None if classes is None else torch.tensor(classes).repeat_interleave(COLUMNS))
        if trainer.nimg == 0:
            self._write(trainer, 'fakes_init')

    def lacks_snapshot(self, trainer: Trainer) -> bool:
        return trainer.world.is_main and not (self.folder / f'fakes{name_of(trainer)}.png').is_file()

    def at_snapshot(self, trainer: Trainer) -> None:
        if trainer.world.is_main:
            self._write(trainer, f'fakes{name_of(trainer)}')
            if finds_cameras(self.built.config):
                save_picture(self.folder / f'poses{name_of(trainer)}.png', self._poses(trainer))

    def _write(self, trainer: Trainer, stem: str) -> None:
        generator, device = averaged_generator(trainer), trainer.world.device
        z, classes = on(device, *self._request)
        drawn = self.built.conditions.cameras(classes, Stream(trainer.config.seed, 0, 'pictures', tuple(range(len(z)))), device)
        camera = own_cameras(generator, z, classes, drawn)
        output = sample(generator, z, classes, camera, condition=drawn, batch=EVALUATION_BATCH)
        rows = len(z) // COLUMNS
        for suffix, pictures in (
            ('', to_pictures(output.image)),
            ('_raw', to_pictures(output.image_raw)),
            ('_depth', depth_pictures(output.depth, output.opacity)),
        ):
            save_picture(self.folder / f'{stem}{suffix}.png', tile(pictures, COLUMNS, rows))

    def _poses(self, trainer: Trainer) -> np.ndarray:
        """Where cameras are found to stand, and beside them the truth of a synthetic set."""
        config, dataset = self.built.config, self.built.dataset
        found = asked_scenes(averaged_generator(trainer), self.built.conditions, trainer.world.device)(0, CAMERAS_SHOWN).camera
        target = config.cameras.target
        laws = [Poses.of('learned by the generator' if config.generator.pose is not None else 'read off the pictures', found, target)]
        if isinstance(dataset, SyntheticImages):
            true = dataset.world.cameras(range(min(CAMERAS_SHOWN, len(dataset))))
            laws.append(Poses.of('true law of the data', true, target))
        return pose_picture(f'Cameras after {trainer.nimg / 1000:g} kimg', laws)


@dataclass
class Weights(Hook):
    """network-snapshot-000200.safetensors: what people do things with."""

    folder: Path
    built: Built

    def lacks_snapshot(self, trainer: Trainer) -> bool:
        if not trainer.world.is_main:
            return False
        try:
            return load_weights(self._path(trainer))[1]['extra'].get('kimg') != trainer.nimg / 1000  # names have whole kimg only
        except (MissingInputError, DataError):  # a damaged one is made again
            return True

    def _path(self, trainer: Trainer) -> Path:
        return self.folder / f'network-snapshot-{name_of(trainer)}.safetensors'

    def at_snapshot(self, trainer: Trainer) -> None:
        if not trainer.world.is_main:
            return
        config = self.built.config
        cameras, classes = self.built.example_cameras, None
        if config.reading is not None:
            cameras, classes = examples_of(self.built.conditions, config.generator.num_classes, trainer.world.device)
        generator = averaged_generator(trainer)
        snapshot = Snapshot(replace(config, generator=generator.config), trainer.nimg / 1000, self.built.class_names, config.cameras)
        save_snapshot(self._path(trainer), generator, trainer.task.networks['discriminator'], snapshot, cameras, classes)


@dataclass
class Metrics(Hook):
    """metric-<name>.jsonl: one line per snapshot and metric, of the averaged generator under the training law of classes and cameras."""

    folder: Path
    built: Built

    def lacks_snapshot(self, trainer: Trainer) -> bool:
        if not trainer.world.is_main:
            return False
        paths = [self.folder / f'metric-{name}.jsonl' for name in self.built.config.metrics.names]
        return any(not path.is_file() or f'"{name_of(trainer)}"' not in path.read_text(encoding='utf-8') for path in paths)

    def at_snapshot(self, trainer: Trainer) -> None:
        names = self.built.config.metrics.names
        if not names or not trainer.world.is_main:
            return
        images = law_sampler(averaged_generator(trainer), self.built.conditions, trainer.world.device, Truncation())
        results = compute(names, images, self.built.dataset, num=self.built.config.metrics.num, device=trainer.world.device)
        append_results(self.folder, results, snapshot=name_of(trainer))
        for result in results:
            tqdm.write(f'kimg {trainer.nimg / 1000:<8.1f} {result}')


def averaged_generator(trainer: Trainer) -> Generator3D:
    """What pictures, metrics and weights files show: the moving average of the generator's weights, casting as many rays as training does now."""
    return trainer.averages['generator'].module.casting(trainer.task.showing.resolution(trainer.nimg))


def on(device: torch.device, *tensors: Tensor | None) -> tuple[Tensor | None, ...]:
    """The tensors on a device; None stays None."""
    return tuple(None if tensor is None else tensor.to(device) for tensor in tensors)


def class_rows(built: Built) -> list[int] | None:
    """Which class each row of a picture grid shows; None without classes."""
    if not built.config.generator.num_classes:
        return None
    return sorted({int(number) for number in built.dataset.classes()})[:MOST_CLASS_ROWS]  # a class may be named and have no images


def _real_pictures(built: Built, classes: list[int] | None) -> Tensor:
    """[rows * COLUMNS, 3, S, S]: the first images of each class, or of the data set; short data sets repeat."""
    dataset = built.dataset
    if classes is None:
        indices = [i % len(dataset) for i in range(COLUMNS * ROWS_WITHOUT_CLASSES)]
    else:
        indices = []
        labels = dataset.classes()
        for wanted in classes:
            members = [i for i in range(len(dataset)) if labels[i] == wanted][:COLUMNS]
            indices += [members[i % len(members)] for i in range(COLUMNS)]
    return from_uint8(torch.from_numpy(np.stack([dataset[i].image for i in indices])))
