"""Looking at the runs of an experiment: evidence of every snapshot, and of real scenes beside it, gathered once and kept."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from dnnlib.atomic import atomic_write
from dnnlib.errors import UnposedError, UsageError
from dnnlib.fetch import sha256_of
from experiments.experiment import Experiment
from experiments.runs import Run
from experiments.side_by_side import Workers
from metrics.evidence import Counts, Evidence, Readers, gather_evidence, gather_readings
from metrics.features import PhotoFeatures
from metrics.oracle import OracleRecipe, load_oracle
from metrics.subject import Subject
from metrics.suite import Reference
from metrics.toy_subject import counted_from, toy_subject
from training.build import conditions_for
from training.config import TrainingConfig
from training.data.archive import open_dataset
from training.data.item import from_uint8
from training.data.synthetic import SyntheticImages
from training.data.toyworld.catalogue import CATALOGUE
from training.evaluation import generator_subject
from training.networks.discriminator import companion
from training.sampling import Truncation
from training.snapshot import Snapshot, conditions_of, load_discriminator, load_generator
from training.tasks.conditions import ConditionSource

VERSION = 2  # raised whenever the same weights, readers and counts would give other evidence
FULL = Counts()
UNSEEN = 1_000_000  # number of the first held-out scene that is looked at for memorising alone
SMALL = Counts(images=300, shapes=100, pairs=60, novel=0)  # for the curves


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is looked at: of the last snapshot, and of those on the way there. The latter's rows are the first ones of the former's."""

    last: Counts = FULL
    earlier: Counts = SMALL


@dataclass(frozen=True)
class Held:
    """What is known of real data. reference: held-out scenes and training images; real: other held-out scenes, judged like a generator: the
    floor of distances and the ceiling of what the oracle can read."""

    reference: Reference
    real: Evidence


@dataclass
class Seen:
    """Evidence of one run: {kimg: evidence}. `following`: pairs of the last snapshot when the camera that a generator is told follows the view."""

    by_kimg: dict[float, Evidence] = field(default_factory=dict)
    following: Evidence | None = None

    @property
    def last(self) -> Evidence:
        """Of the longest training."""
        return self.by_kimg[max(self.by_kimg)]


def readers_for(experiment: Experiment) -> Readers:
    """The photo network, and two oracles of the style of the held-out scenes; they are trained now if nobody has them (minutes, said on stderr)."""
    style = _world(experiment.held_out).config.style
    return Readers(PhotoFeatures(), *(load_oracle(OracleRecipe(seed, style)) for seed in (0, 1)))


def look_at_real(experiment: Experiment, readers: Readers, counts: Counts, folder: Path) -> Held:
    """Evidence of real data, from the cache in `folder` where it is the same that would be gathered."""
    held_out = _world(experiment.held_out)
    ids = class_ids(experiment)
    folder.mkdir(parents=True, exist_ok=True)
    facts = _facts(experiment, readers, counts)

    quiet = not sys.stderr.isatty()

    def scenes(name: str, first: int) -> Evidence:
        subject = toy_subject(name, held_out.world, counted_from(first), held_out.resolution)
        return cached(folder / f'{name}.npz', facts | {'first': first}, lambda: gather_evidence(subject, readers, counts, ids, quiet=quiet))

    reference, real = scenes('real-reference', 0), scenes('real-other', counts.images)
    count = len(open_dataset(experiment.data))
    trained = cached(folder / 'real-training.npz', facts | {'of': experiment.data}, lambda: _photo_features(experiment.data, 0, count, readers))
    unseen = cached(folder / 'real-unseen.npz', facts | {'count': count}, lambda: _photo_features(experiment.held_out, UNSEEN, count, readers))
    return Held(Reference(reference, *(part.columns('images', ('photo',))[0] for part in (trained, unseen))), real)


def look_at_runs(
    runs: Sequence[Run], readers: Readers, effort: Effort, workers: Workers
) -> tuple[dict[tuple[str, int], Seen], dict[str, str]]:
    """({(arm, seed): evidence}, {run: why it could not be looked at}) of finished runs; last snapshots first, for they matter most."""
    failed: dict[str, str] = {}
    tasks: list[_Look] = []
    for run in runs:
        try:
            tasks += _looks(run, readers, effort)
        except UnposedError as error:
            failed[run.name] = str(error)
    tasks.sort(key=lambda task: not task.last)
    found: dict[tuple[str, int], Seen] = {}
    for task, result in workers.each(_look, tasks, 'looking'):
        name = f'{task.arm}-seed{task.seed}'
        if isinstance(result, Exception):
            failed[name] = f'{task.path.name}: {str(result) or type(result).__name__}'
            continue
        seen = found.setdefault((task.arm, task.seed), Seen())
        if task.follows:
            seen.following = result
        else:
            seen.by_kimg[task.kimg] = result
    # Half of what there is to see of a run would be compared with the whole of another.
    return {key: seen for key, seen in found.items() if f'{key[0]}-seed{key[1]}' not in failed}, failed


def class_ids(experiment: Experiment) -> tuple[int, ...]:
    """The oracle's numbers (toyworld's order) of the classes of the experiment's data."""
    order = list(CATALOGUE)
    return tuple(order.index(name) for name in _world(experiment.held_out).config.classes)


def first_rows(evidence: Evidence, counts: Counts) -> Evidence:
    """The evidence that would have been gathered with smaller counts."""
    sizes = {'images': counts.images, 'shapes': counts.shapes, 'pairs': counts.pairs, 'novel': counts.novel, 'readings': counts.images}
    tables = {table: {name: column[:size] for name, column in getattr(evidence, table).items() if size} for table, size in sizes.items()}
    none = {table: f'no rows of {table} were asked for' for table, size in sizes.items() if not size}
    return Evidence(**tables, absent=none | evidence.absent)


def cached(path: Path, facts: dict, gather: Callable[[], Evidence]) -> Evidence:
    """Evidence from `path` if it was gathered under the same facts and is whole, else gathered now and written there.

    The facts and the SHA-256 of the file stand beside it, in the .json of the same name.
    """
    beside = path.with_suffix('.json')
    if path.is_file() and beside.is_file():
        try:
            if json.loads(beside.read_text(encoding='utf-8')) == facts | {'sha256': sha256_of(path)}:
                return Evidence.load(path)
        except (UnposedError, ValueError):
            pass  # damaged: what is gathered below replaces it
    evidence = gather()
    evidence.save(path)
    with atomic_write(beside, 'w') as file:
        json.dump(facts | {'sha256': sha256_of(path)}, file, indent=1)
    return evidence


@dataclass(frozen=True)
class _Look:
    """One snapshot to be looked at, for a process that knows nothing else."""

    arm: str
    seed: int
    kimg: float
    path: Path
    experiment: Experiment
    readers: Readers
    counts: Counts
    last: bool
    follows: bool = False


def _looks(run: Run, readers: Readers, effort: Effort) -> list[_Look]:
    snapshots = run.snapshots()
    final = max(snapshots)
    looks = [
        _Look(run.arm, run.seed, kimg, path, run.experiment, readers, effort.last if kimg == final else effort.earlier, kimg == final)
        for kimg, path in snapshots.items()
    ]
    if load_generator(snapshots[final])[0].config.conditions_on_camera and effort.last.pairs:
        counts = Counts(images=0, shapes=0, pairs=effort.last.pairs, novel=0)
        looks.append(_Look(run.arm, run.seed, final, snapshots[final], run.experiment, readers, counts, last=True, follows=True))
    return looks


def _look(task: _Look) -> Evidence:
    number = task.path.stem.rpartition('-')[2]
    facts = _facts(task.experiment, task.readers, task.counts) | {'weights': sha256_of(task.path), 'follows': task.follows}
    path = task.path.with_name(f'evidence-{number}{"-following" if task.follows else ""}.npz')

    def gather() -> Evidence:
        generator, snapshot = load_generator(task.path)
        held_out = _world(task.experiment.held_out)
        if snapshot.config.generator.num_classes != held_out.num_classes:
            raise UsageError(
                f'{task.path.name} knows {snapshot.config.generator.num_classes} classes and the held-out data have {held_out.num_classes}; '
                f'they must be sets of the same classes.'
            )
        conditions = _conditions(task.experiment.held_out, snapshot)
        subject = generator_subject(task.path.name, generator, conditions, 'cpu', Truncation(), condition_follows=task.follows)
        found = gather_evidence(subject, task.readers, task.counts, class_ids(task.experiment))
        return found if task.follows else _with_readings(found, task.path, real_subject(task.experiment), task.counts.images)

    return cached(path, facts, gather)


def _facts(experiment: Experiment, readers: Readers, counts: Counts) -> dict:
    """What evidence depends on, besides the subject."""
    return {
        'version': VERSION,
        'photo': readers.photo.sha256,
        'oracle': None if readers.oracle is None else readers.oracle.sha256,
        'second': None if readers.second is None else readers.second.sha256,
        'counts': asdict(counts),
        'held_out': _world(experiment.held_out).fingerprint(),
    }


@cache
def _world(spec: str) -> SyntheticImages:
    data = open_dataset(spec)
    if not isinstance(data, SyntheticImages):
        raise UsageError(f'An experiment is judged against synthetic scenes, whose truth is known; {spec} are pictures.')
    return data


def _conditions(spec: str, snapshot: Snapshot) -> ConditionSource:
    """Classes of the held-out set's law, and cameras of the model's own: those of the held-out set where it learned from labels, the law that
    it was given, or the one that it read. A generator with a pose learner then chooses others itself (training.evaluation)."""
    if snapshot.config.reading is not None:
        return conditions_of(snapshot, _world(spec))
    return _fixed_conditions(spec, snapshot.config)


@cache
def _fixed_conditions(spec: str, config: TrainingConfig) -> ConditionSource:
    """Reading the labels of a held-out set takes longer than a snapshot needs to load."""
    return conditions_for(config, _world(spec))


def _with_readings(found: Evidence, path: Path, real: Subject, count: int) -> Evidence:
    """The evidence with what the discriminator of the weights file reads of real pictures, if it reads poses. It reads them in groups, as in training."""
    discriminator, snapshot = load_discriminator(path)
    pose = snapshot.config.discriminator.pose
    if pose is None or not count:
        return found
    dual, raw_side = snapshot.config.discriminator.see == 'dual', snapshot.config.generator.render_resolution

    def read(images: Tensor) -> Tensor:
        raw = companion(images, raw_side) if dual else None
        return pose.rig.angles(discriminator.read_pose(images, raw))[0]

    absent = {table: why for table, why in found.absent.items() if table != 'readings'}
    return replace(found, readings=gather_readings(read, real, count), absent=absent)


def _photo_features(spec: str, first: int, count: int, readers: Readers) -> Evidence:
    """Of scenes first .. first + count - 1 of a synthetic set, which has no end."""
    data = _world(spec)
    parts = []
    for start in tqdm(range(first, first + count, readers.photo.batch), desc='photo features of real scenes', leave=False, disable=not sys.stderr.isatty()):
        numbers = range(start, min(start + readers.photo.batch, first + count))
        images = torch.stack([torch.from_numpy(data.world.image(i, data.resolution)) for i in numbers])
        parts.append(readers.photo(from_uint8(images)).numpy())
    return Evidence(images={'photo': np.concatenate(parts)})


def real_subject(experiment: Experiment) -> Subject:
    """The held-out scenes, for pictures."""
    held_out = _world(experiment.held_out)
    return toy_subject('real scenes', held_out.world, counted_from(0), held_out.resolution)


def law_of_generator(run: Run) -> Subject:
    """The last snapshot of a run as a subject under the held-out set's law of classes, and of cameras unless it has its own."""
    snapshots = run.snapshots()
    path = snapshots[max(snapshots)]
    generator, snapshot = load_generator(path)
    return generator_subject(run.name, generator, _conditions(run.experiment.held_out, snapshot), 'cpu', Truncation())
