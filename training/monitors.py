"""Failures that no loss shows, looked for while training runs: flat or empty scenes, repeated ones, a discriminator that has won.

Every `monitors.every_kimg` the averaged generator shows the same scenes (the first ones that metrics look at), rendered with as many samples
as in training; `measure` turns them, and what training reported, into `Measures`, and `alarms` says which of these lie outside what is
expected. Values join the statistics of the tick as Monitor/<name>, and so reach stats.jsonl and TensorBoard in the line and at the step of
everything else that is known of that moment; another file would have to be joined with it again. An alarm is a line on the console (and in
log.txt) when it begins and one when it ends.

Nothing here is read by training, and nothing is part of its state: a run with monitors is bit for bit the run without. A resumed run begins
without alarms and says those that still hold at its first check.

Names and bounds: docs/training.md, Monitors.
"""

import copy
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from metrics.classes import class_histogram
from metrics.duplicates import duplicate_fraction
from metrics.features import PhotoFeatures, from_uint8, to_uint8
from metrics.flatness import non_flatness
from metrics.measurable import NotMeasurable
from metrics.oracle import OracleRecipe, find_oracle
from metrics.pose_distribution import circular_std_deg
from metrics.subject import Views
from metrics.thickness import object_pixels, thickness
from torch_utils.rng import Stream
from torch_utils.statistics import Summary
from training.alarms import NOT_MEASURED, Alarm, Measures, Reference, announced
from training.build import Built
from training.cameras.camera import Camera
from training.cameras.convention import from_eg3d
from training.cameras.rays import rays
from training.data.image_set import ImageSet
from training.data.synthetic import SyntheticImages
from training.data.toyworld.catalogue import CATALOGUE
from training.evaluation import BATCH
from training.loop import Hook, Tick, Trainer
from training.networks.generator3d import Generator3D, GeneratorConfig
from training.rendering.renderer import ray_bounds
from training.sampling import sample
from training.tasks.conditions import ConditionSource

RECENT_IMAGES = 500  # losses and scores are judged over the ticks of the last so many images
FEWEST_OBJECT_PIXELS = 0.02  # of a picture; with less there is hardly an object
CAMERAS_OF_LAW = 1000  # draws from which the spread of a law is known to a few per cent

ReadClasses = Callable[[Tensor], np.ndarray]
"""images [N, 3, S, S] in [-1, 1] -> class numbers of the data int64 [N]."""

Features = Callable[[Tensor], Tensor]
"""images [N, 3, S, S] in [-1, 1] -> features [N, D] on the CPU."""


@dataclass(frozen=True, slots=True)
class Look:
    """N scenes under the training law of classes and cameras, and once more, all of them from one camera.

    Seen from cameras of their own, copies of one scene are different pictures; from one camera they are the same. near, far [N]: between which
    distances, world units, the rays of a picture are sampled.
    """

    views: Views  # with depth, opacity and camera
    from_one_camera: Tensor  # [N, 3, S, S] in [-1, 1]
    near: Tensor
    far: Tensor


@dataclass(frozen=True, slots=True)
class Reported:
    """What training said by itself: summaries of the ticks of the last 500 images or so, and of all ticks since the last check."""

    recent: Sequence[Summary] = ()
    since_check: Sequence[Summary] = ()
    average_gap: float = NOT_MEASURED  # see `average_gap`
    augment_adapts: bool = False  # whether the strength of augmentation is a controller's


def is_due(nimg: int, batch: int, tick_kimg: float, every_kimg: float) -> bool:
    """Whether a tick that ends at `nimg` images is the first at or after a multiple of `every_kimg`.

    A function of the count alone, so that an interrupted run is checked where a whole one is; the tick at which a run is stopped counts only
    if it would have been one anyway.
    """
    tick, every = tick_kimg * 1000, every_kimg * 1000
    before, now = (nimg - batch) // tick * tick, nimg // tick * tick
    return now > before and now // every > before // every


def measure(look: Look, reported: Reported, features: Features, read_classes: ReadClasses | None = None) -> Measures:
    """One check: what the pictures show, and what training reported. read_classes: None where nobody recognises the classes."""
    return replace(_of_reports(reported), **_of_pictures(look, features, read_classes))


def _of_pictures(look: Look, features: Features, read_classes: ReadClasses | None) -> dict[str, float]:
    """By the names of Measures. Pictures that are not finite are counted, and take no part in anything else."""
    views = look.views
    assert views.depth is not None and views.opacity is not None and views.camera is not None, views
    # An infinite depth is that of a ray which hit nothing; NaN is nobody's.
    finite = _finite(views.image) & ~torch.isnan(views.depth).flatten(1).any(dim=1) & _finite(views.opacity) & _finite(look.from_one_camera)
    measured: dict[str, float] = {'not_finite': 1 - _mean(finite.double()), 'pose_spread_deg': pose_spread_deg(views.camera)}
    rows = finite.nonzero().flatten()
    if len(rows) == 0:
        return measured
    depth, opacity = views.depth[rows], views.opacity[rows]
    solid = object_pixels(depth, opacity)
    has_object = solid.flatten(1).double().mean(dim=1) >= FEWEST_OBJECT_PIXELS
    spreads = [shown[inside].double().std() for shown, inside in zip(depth[has_object], solid[has_object], strict=True)]
    return measured | {
        'thickness': mean_thickness(depth, opacity, views.camera[rows]),
        'depth_std': _mean(torch.stack(spreads)) if spreads else NOT_MEASURED,
        'nfs_object': _mean(non_flatness(depth, look.near[rows], look.far[rows], opacity)[has_object]),
        'empty': 1 - _mean(has_object.double()),
        'duplicates': _duplicates(features(_as_saved(look.from_one_camera[rows]))),
        'class_kl': _class_kl(views, rows, read_classes),
    }


def _class_kl(views: Views, rows: Tensor, read_classes: ReadClasses | None) -> float:
    """Of these rows."""
    if read_classes is None or views.classes is None:
        return NOT_MEASURED
    read, asked = read_classes(_as_saved(views.image[rows])), views.classes[rows].numpy()
    return class_histogram(read, int(max(read.max(), asked.max())) + 1, asked).kl


def _of_reports(reported: Reported) -> Measures:
    def recent(name: str) -> float:
        return pooled_mean(reported.recent, name)

    return Measures(
        margin=recent('Loss/scores/real') - recent('Loss/scores/fake'),
        told_apart=0.5 + (recent('Loss/signs/real') - recent('Loss/signs/fake')) / 4,
        generator_loss=recent('Loss/G/loss'),
        discriminator_loss=recent('Loss/D/loss'),
        gradient_ratio=recent('Gradients/G/norm') / (recent('Gradients/D/norm') or NOT_MEASURED),
        augment=pooled_mean(reported.since_check, 'Progress/augment') if reported.augment_adapts else NOT_MEASURED,
        average_gap=reported.average_gap,
    )


def mean_thickness(depth: Tensor, opacity: Tensor, camera: Camera) -> float:
    """Of the pictures in which enough of an object is seen; NaN if there are none. Depth and opacity [N, 1, R, R], as metrics/thickness.py."""
    try:
        return _mean(thickness(depth, opacity, camera))
    except NotMeasurable:
        return NOT_MEASURED


def _duplicates(features: Tensor) -> float:
    try:
        return duplicate_fraction(features.numpy())
    except NotMeasurable:
        return NOT_MEASURED


def pooled_mean(summaries: Iterable[Summary], name: str) -> float:
    """The mean of everything that was reported under a name; NaN if nothing was."""
    found = [summary[name] for summary in summaries if name in summary]
    number = sum(entry['num'] for entry in found)
    return sum(entry['num'] * entry['mean'] for entry in found) / number if number else NOT_MEASURED


def pose_spread_deg(camera: Camera) -> float:
    """Circular standard deviation of the yaw from which N cameras look at whatever target; 0: all from one side, large: from all around."""
    forward = camera.forwards.double()
    return circular_std_deg(torch.atan2(-forward[:, 0], -forward[:, 2]).numpy())


@torch.no_grad()
def average_gap(average: nn.Module, trained: nn.Module) -> Tensor:
    """|average - trained| / |trained| over all parameters together, [], on their device."""
    ours, theirs = list(average.parameters()), list(trained.parameters())
    gap, size = (torch.stack(torch._foreach_norm(tensors)).norm() for tensors in (torch._foreach_sub(ours, theirs), theirs))
    return gap / size


def look_at_generator(generator: Generator3D, conditions: ConditionSource, count: int, device: torch.device) -> Look:
    """The scenes 0 .. count - 1 of `training.evaluation.law_outputs`, rendered with as many samples as in training (a third of the time)."""
    stream = Stream(0, 0, 'evaluation', tuple(range(count)))
    asked, z = conditions.sample(stream, device), stream.normal('z', generator.config.z_dim, device=device)
    quick = copy.copy(generator)  # shares all weights
    rendering = quick.config.rendering
    quick.config = replace(quick.config, rendering=replace(rendering, evaluation_factor=1))
    own = sample(quick, z, asked.classes, asked.camera, batch=BATCH)
    # The first camera is one of the law; the scenes stay those that were made for their own.
    shared = sample(quick, z, asked.classes, asked.camera[0], condition=asked.camera, batch=BATCH)
    near, far = ray_bounds(rays(asked.camera, own.depth.shape[-1]), rendering)
    classes = None if asked.classes is None else asked.classes.cpu()
    views = Views(own.image.cpu(), own.depth.cpu(), own.opacity.cpu(), asked.camera.to('cpu'), classes)
    return Look(views, shared.image.cpu(), near.amin(dim=(1, 2)).cpu(), far.amax(dim=(1, 2)).cpu())


def reference_of(dataset: ImageSet, conditions: ConditionSource, generator: GeneratorConfig, count: int) -> Reference:
    """What is known of real scenes and cameras.

    Only synthetic data know their depth, and it can be compared only where the generator tells object from background: a field that is its own
    background has no object pixels.
    """
    asked = conditions.sample(Stream(0, 0, 'monitors/law', tuple(range(CAMERAS_OF_LAW))), torch.device('cpu'))
    real = NOT_MEASURED
    if isinstance(dataset, SyntheticImages) and generator.rendering.background != 'field':
        numbers = range(min(count, len(dataset)))
        truth = dataset.world.truth(numbers, generator.render_resolution)
        camera = from_eg3d(torch.from_numpy(np.stack([dataset.world.camera25(i) for i in numbers])))  # the true ones, whatever the labels say
        real = mean_thickness(torch.from_numpy(truth.distance), torch.from_numpy(truth.alpha), camera)
    return Reference(real, pose_spread_deg(asked.camera))



def class_reader(dataset: ImageSet) -> ReadClasses | None:
    """Reads the data's class numbers from pictures of a synthetic set; None without classes, or without an oracle that is trained already.

    A picture that shows a class that the data do not have gets the number after the last.
    """
    if not isinstance(dataset, SyntheticImages) or not dataset.num_classes:
        return None
    oracle = find_oracle(OracleRecipe(style=dataset.config.style))
    if oracle is None:
        return None
    numbers = np.array([dataset.class_names.index(name) if name in dataset.class_names else len(dataset.class_names) for name in CATALOGUE])
    return lambda images: numbers[oracle.read(images).classes.numpy()]


@dataclass
class Monitors(Hook):
    """Looks, adds Monitor/<name> to the statistics of the tick (it must come before the hook that writes them), and says alarms."""

    built: Built
    _features: PhotoFeatures | None = field(default=None, init=False)
    _read_classes: ReadClasses | None = field(default=None, init=False)
    _reference: Reference = field(default=Reference(), init=False)
    _ticks: list[tuple[int, Summary]] = field(default_factory=list, init=False)  # since the last check, and the images at their ends
    _raised: list[Alarm] = field(default_factory=list, init=False)

    def at_start(self, trainer: Trainer) -> None:
        config = self.built.config
        if config.monitors.every_kimg > 0 and trainer.world.is_main:
            self._features = PhotoFeatures(device=trainer.world.device)
            self._read_classes = class_reader(self.built.dataset) if config.generator.num_classes else None
            self._reference = reference_of(self.built.dataset, self.built.conditions, config.generator, config.monitors.images)

    def at_tick(self, trainer: Trainer, tick: Tick) -> None:
        if self._features is None:
            return
        self._ticks.append((trainer.nimg, dict(tick.statistics)))
        loop, monitors = trainer.config, self.built.config.monitors
        if is_due(trainer.nimg, loop.batch, loop.tick_kimg, monitors.every_kimg):
            measures = self._measure(trainer)
            tick.statistics.update({f'Monitor/{name}': {'num': 1, 'mean': value, 'std': 0.0} for name, value in asdict(measures).items()})
            self._ticks.clear()
            self._raised, lines = announced(self._raised, measures, self._reference, trainer.nimg / 1000, self.built.config.gan.blur_fade_kimg)
            for line in lines:
                tqdm.write(line, file=sys.stderr)

    def _measure(self, trainer: Trainer) -> Measures:
        average, trained = trainer.averages['generator'].module, trainer.task.networks['generator']
        reported = Reported(
            recent=[summary for end, summary in self._ticks if end > trainer.nimg - RECENT_IMAGES],
            since_check=[summary for _, summary in self._ticks],
            average_gap=float(average_gap(average, trained)),
            augment_adapts=self.built.task.ada.adapts,
        )
        look = look_at_generator(average, self.built.conditions, self.built.config.monitors.images, trainer.world.device)
        return measure(look, reported, self._features, self._read_classes)


def _finite(values: Tensor) -> Tensor:
    """Which rows hold no NaN or infinity: bool [N]."""
    return torch.isfinite(values).flatten(1).all(dim=1)


def _mean(values: Tensor) -> float:
    """The mean of those that could be measured; NaN if none could."""
    known = values[~torch.isnan(values)].double()
    return float(known.mean()) if len(known) else NOT_MEASURED


def _as_saved(images: Tensor) -> Tensor:
    """What is left of images in a file of 8 bits, which is what every metric looks at."""
    return from_uint8(to_uint8(images))
