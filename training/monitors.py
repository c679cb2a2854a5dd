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

from metrics.bulge import bulge
from metrics.classes import class_agreement, class_histogram
from metrics.duplicates import duplicate_fraction
from metrics.features import PhotoFeatures, from_uint8, to_uint8
from metrics.flatness import non_flatness
from metrics.measurable import NotMeasurable
from metrics.oracle import OracleRecipe, find_oracle
from metrics.pose_distribution import circular_std_deg
from metrics.pose_response import pose_response
from metrics.reprojection import reprojection
from metrics.response_pairs import response_deg, turned
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
from training.evaluation import BATCH, law
from training.loop import Hook, Tick, Trainer
from training.networks.generator3d import Generator3D, GeneratorConfig
from training.networks.outputs import Output
from training.rendering.renderer import ray_bounds
from training.sampling import batches, look_at_scene, make_scene
from training.snapshot import finds_cameras
from training.tasks.conditions import ConditionSource, DrawnConditions
from training.tasks.readings import ReadConditions

RECENT_IMAGES = 500  # losses and scores are judged over the ticks of the last so many images
FEWEST_OBJECT_PIXELS = 0.02  # of a picture; with less there is hardly an object
CAMERAS_OF_LAW = 1000  # draws from which the spread of a law is known to a few per cent
ALL_AROUND_DEG = 75.0

TURN_DEG = 15.0  # to either side of a scene's own camera: far enough for relief to show, near enough to see the same surface
SCENES_TURNED = 48  # rendered twice more; in noise of 30 degrees the response of so many is known to 0.15
LEGIBLE = 0.7  # share of pictures whose class an oracle must recognise before its angles mean anything
FEWEST_OF_A_CLASS = 8  # pictures; of fewer a share is hardly a number


@dataclass(frozen=True, slots=True)
class Seen:
    """What somebody recognises in N pictures: classes int64 [N], in numbers of the data; azimuth_rad [N] from which the object is seen."""

    classes: np.ndarray
    azimuth_rad: Tensor


Read = Callable[[Tensor], Seen]
"""Of images [N, 3, S, S] in [-1, 1]."""

Features = Callable[[Tensor], Tensor]
"""images [N, 3, S, S] in [-1, 1] -> features [N, D] on the CPU."""


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


def measure(look: Look, reported: Reported, features: Features, read: Read | None = None) -> Measures:
    """One check: what the pictures show, and what training reported. read: None where nobody recognises what is in the pictures."""
    return replace(_of_reports(reported), **_of_pictures(look, features), **_of_turned(look), **_of_readings(look, read))


def _of_pictures(look: Look, features: Features) -> dict[str, float]:
    """By the names of Measures. Pictures that are not finite are counted, and take no part in anything else."""
    views = look.views
    assert views.depth is not None and views.opacity is not None and views.camera is not None, views
    finite = _whole(views) & _finite(look.from_one_camera)
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
        'bulge': mean_bulge(depth, opacity, views.camera[rows]) if look.tells_object else NOT_MEASURED,
        'depth_std': _mean(torch.stack(spreads)) if spreads else NOT_MEASURED,
        'nfs_object': _mean(non_flatness(depth, look.near[rows], look.far[rows], opacity)[has_object]),
        'empty': 1 - _mean(has_object.double()),
        'duplicates': _duplicates(features(_as_saved(look.from_one_camera[rows]))),
    }


def _of_turned(look: Look) -> dict[str, float]:
    """Whether the two sides of a scene show the same surface."""
    rows = (_whole(look.left) & _whole(look.right)).nonzero().flatten()
    try:
        found = reprojection(_of_rows(look.left, rows), _of_rows(look.right, rows))
    except NotMeasurable:
        return {}
    return {'reprojection': _mean(found.l1), 'co_visible': _mean(found.coverage)}


def _of_readings(look: Look, read: Read | None) -> dict[str, float]:
    """What is recognised in the pictures, beside what was asked for; nothing without a reader."""
    views = look.views
    rows = _whole(views).nonzero().flatten()
    if read is None or len(rows) == 0:
        return {}
    seen = read(_as_saved(views.image[rows])).classes
    asked = np.zeros(len(rows), dtype=np.int64) if views.classes is None else views.classes[rows].numpy()
    measured = {'turn_response': _turn_response(look, read) if class_agreement(seen, asked) >= LEGIBLE else NOT_MEASURED}
    if views.classes is None:
        return measured
    kl = class_histogram(seen, int(max(seen.max(), asked.max())) + 1, asked).kl
    recalls = [float((seen[asked == number] == number).mean()) for number, count in enumerate(np.bincount(asked)) if count >= FEWEST_OF_A_CLASS]
    return measured | {'class_kl': kl, 'worst_class_recall': min(recalls, default=NOT_MEASURED)}


def _turn_response(look: Look, read: Read) -> float:
    rows = (_whole(look.left) & _whole(look.right)).nonzero().flatten()
    left, right = (read(_as_saved(views.image[rows])).azimuth_rad for views in (look.left, look.right))
    try:
        return pose_response(np.full(len(rows), 2 * TURN_DEG), response_deg(left, right).numpy()).slope
    except NotMeasurable:
        return NOT_MEASURED


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


def mean_bulge(depth: Tensor, opacity: Tensor, camera: Camera) -> float:
    """Of the pictures in which enough of an object is seen; NaN if there are none. Depth and opacity [N, 1, R, R], as metrics/bulge.py."""
    try:
        return _mean(bulge(depth, opacity, camera))
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


def law_kept(conditions: ConditionSource) -> float:
    """How much of the spread of yaws that likeness found a class's readings still have; of the class that kept least. NaN where nothing was
    arranged, or where readings are no law.

    Spreads are circular standard deviations and count up to 75 degrees: beyond, views come from nearly all around, and the number runs to infinity.
    """
    if not isinstance(conditions, ReadConditions) or conditions.arranged is None or conditions.keeps_arranged:
        return NOT_MEASURED
    found, classes = conditions.arranged.codes, conditions.arranged.classes
    numbers = [0] if classes is None else classes.unique().tolist()
    spreads = [
        [min(_code_spread_deg(codes), ALL_AROUND_DEG) for codes in (conditions.readings.kept(number), found if classes is None else found[classes == number])]
        for number in numbers
    ]
    return min(now / max(then, 1e-6) for now, then in spreads)


def _code_spread_deg(codes: Tensor) -> float:
    return circular_std_deg(torch.atan2(codes[:, 0], codes[:, 1]).double().cpu().numpy())


@torch.no_grad()
def average_gap(average: nn.Module, trained: nn.Module) -> Tensor:
    """|average - trained| / |trained| over all parameters together, [], on their device."""
    ours, theirs = list(average.parameters()), list(trained.parameters())
    gap, size = (torch.stack(torch._foreach_norm(tensors)).norm() for tensors in (torch._foreach_sub(ours, theirs), theirs))
    return gap / size


def look_at_generator(generator: Generator3D, conditions: ConditionSource, count: int, device: torch.device) -> Look:
    """The scenes 0 .. count - 1 of `training.evaluation.law_outputs`, rendered with as many samples as in training (a third of the time)."""
    asked = law(generator, conditions, device)(0, count)
    quick = copy.copy(generator)  # shares all weights
    rendering = quick.config.rendering
    quick.config = replace(quick.config, rendering=replace(rendering, evaluation_factor=1))
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
        camera = from_eg3d(torch.from_numpy(np.stack([dataset.world.camera25(i) for i in numbers])))  # the true ones, whatever the labels say
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


@dataclass
class Monitors(Hook):
    """Looks, adds Monitor/<name> to the statistics of the tick (it must come before the hook that writes them), and says alarms."""

    built: Built
    _features: PhotoFeatures | None = field(default=None, init=False)
    _read: Read | None = field(default=None, init=False)
    _reference: Reference = field(default=Reference(), init=False)
    _ticks: list[tuple[int, Summary]] = field(default_factory=list, init=False)  # since the last check, and the images at their ends
    _raised: list[Alarm] = field(default_factory=list, init=False)

    def at_start(self, trainer: Trainer) -> None:
        config = self.built.config
        if config.monitors.every_kimg > 0 and trainer.world.is_main:
            self._features = PhotoFeatures(device=trainer.world.device)
            self._read = reader_of(self.built.dataset)
            self._reference = reference_of(
                self.built.dataset, meant_conditions(self.built), config.generator, config.monitors.images, finds_cameras(config)
            )

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
        return replace(measure(look, reported, self._features, self._read), law_kept=law_kept(self.built.conditions))


def _finite(values: Tensor) -> Tensor:
    """Which rows hold no NaN or infinity: bool [N]."""
    return torch.isfinite(values).flatten(1).all(dim=1)


def _whole(views: Views) -> Tensor:
    """Which pictures hold nothing that is broken, bool [N]. An infinite depth is that of a ray which hit nothing; NaN is nobody's."""
    assert views.depth is not None and views.opacity is not None, views
    return _finite(views.image) & ~torch.isnan(views.depth).flatten(1).any(dim=1) & _finite(views.opacity)


def _of_rows(views: Views, rows: Tensor) -> Views:
    return Views(views.image[rows], views.depth[rows], views.opacity[rows], views.camera[rows])


def _views(outputs: Sequence[Output]) -> Views:
    """On the CPU."""
    return Views(*(torch.cat([getattr(output, name) for output in outputs]).cpu() for name in ('image', 'depth', 'opacity')))


def _mean(values: Tensor) -> float:
    """The mean of those that could be measured; NaN if none could."""
    known = values[~torch.isnan(values)].double()
    return float(known.mean()) if len(known) else NOT_MEASURED


def _as_saved(images: Tensor) -> Tensor:
    """What is left of images in a file of 8 bits, which is what every metric looks at."""
    return from_uint8(to_uint8(images))
