"""Numbers that say how good a generator, or a folder of images, is: python calc_metrics.py --network FILE --data data.zip --metrics fd_photo,nfs"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import torch
from torch import Tensor

from dnnlib.atomic import atomic_write
from dnnlib.errors import DataError, UsageError, did_you_mean, run_command
from dnnlib.runs import check_writable
from metrics.collecting import Sample, image_order
from metrics.evaluate import METRICS, ImageMetric, SampleDepth, append_results, check, compute, count_of
from metrics.flatness import DepthImages
from metrics.groups import DEFAULT_NUM, GROUPS, compute_groups
from metrics.real_subjects import pictures, real_subjects
from metrics.subject import Subject
from training.cameras.camera import Camera
from training.data.archive import open_dataset
from training.data.image_set import ImageSet
from training.data.item import from_uint8
from training.data.source import open_source
from training.data.synthetic import PREFIX
from training.evaluation import generator_subject, law_outputs, law_sampler
from training.networks.generator3d import Generator3D
from training.rendering.renderer import RenderingConfig
from training.sampling import Truncation, pick_device
from training.snapshot import Snapshot, conditions_of, find_snapshot, load_discriminator, load_generator
from training.tasks.conditions import ConditionSource
from training.where_taken import agreement, where_taken

POSE = 'pose'  # not a number but a table: where each real picture was taken from
NAMES = [*METRICS, *GROUPS, POSE]
KNOWN = ', '.join(NAMES)
POSE_TABLE = 'poses.json'


@dataclass(frozen=True, slots=True)
class Options:
    """The command line."""

    network: str | None
    source: str | None
    data: str | None
    metrics: str
    num: int | None
    batch: int
    seed: int
    trunc: float
    inception: Path | None
    outdir: Path | None
    device: str
    cache: bool
    quiet: bool

    def __post_init__(self) -> None:
        if (self.network is None) == (self.source is None):
            raise UsageError('give either --network (a generator) or --source (a folder or zip of images) to judge')
        if self.source is not None and self.data is None:
            raise UsageError('--source is compared with real images: say with which, --data FOLDER, ZIP or synthetic:...')
        if not math.isfinite(self.trunc):
            raise UsageError(f'--trunc must be a finite number, got {self.trunc}')
        if not self.names:
            raise UsageError(f'--metrics is empty; there are {KNOWN}')
        for name in self.names:
            if name not in NAMES:
                raise UsageError(f"there is no metric '{name}'.{did_you_mean(name, NAMES)} There are: {KNOWN}.")
        if POSE in self.names and self.network is None:
            raise UsageError('--metrics pose asks a discriminator where the pictures of --data were taken from: give its --network')

    @property
    def names(self) -> list[str]:
        """The metrics asked for, each once."""
        return list(dict.fromkeys(name.strip() for name in self.metrics.split(',') if name.strip()))

    @property
    def image_names(self) -> list[str]:
        """Those that are computed from images or depth images alone."""
        return [name for name in self.names if name in METRICS]

    @property
    def group_names(self) -> list[str]:
        """Those that look at a subject: from several sides, with an oracle where there is one."""
        return [name for name in self.names if name in GROUPS]


@dataclass(frozen=True, slots=True)
class Judged:
    """What is measured: its images, its depth images if it has any, the real ones, the metrics' --num, and where results belong."""

    images: Sample
    depth: SampleDepth | None
    reals: ImageSet
    subject: Subject
    num: int | None
    folder: Path | None
    facts: dict[str, str | int | float]


@click.command(context_settings={'show_default': True})
@click.option('--network', help='Weights file, run folder, or folder of runs.')
@click.option('--source', help='Instead of a network: a folder or zip of images.')
@click.option('--data', help='Real images: zip, folder or synthetic:...  [default: what the network was trained on]', show_default=False)
@click.option('--metrics', default='fd_photo,kd_photo,pr_photo', help=f'Separated by commas, of: {KNOWN}.')
@click.option('--num', type=int, help="Images, for metrics whose name holds no number.  [default: each metric's own]", show_default=False)
@click.option('--batch', type=click.IntRange(min=1), default=32, help='Images asked for at a time; changes memory and speed, not results.')
@click.option('--seed', type=int, default=0, help='Of the latents, classes and cameras.')
@click.option('--trunc', type=float, default=1.0, help='Truncation psi; 1 is none.')
@click.option('--inception', type=click.Path(path_type=Path), help='Inception weights (.pth or .safetensors), for FID, KID, IS and PR.')
@click.option('--outdir', type=click.Path(path_type=Path), help='For metric-<name>.jsonl.  [default: beside the network]', show_default=False)
@click.option('--device', default='auto', help='cpu, cuda, cuda:1, mps; auto takes what there is.')
@click.option('--cache/--no-cache', default=True, help='Keep features of real images in $UNPOSED_CACHE or ~/.cache/unposed.')
@click.option('--quiet', is_flag=True, help='No progress bars.')
@click.option('--debug', is_flag=True, expose_value=False, help='Show the traceback of an error.')
def main(**options: object) -> None:
    """Measures a generator, or images that somebody made, against real images. docs/metrics.md says what the numbers mean."""
    run(Options(**options))


def run(options: Options) -> None:
    """Prints one line per metric and appends it to metric-<name>.jsonl. Raises the errors of dnnlib.errors."""
    check(options.image_names, options.num, options.inception)
    device = pick_device(options.device)
    if POSE in options.names:
        ask_for_poses(options, device)
    if options.names == [POSE]:
        return
    judged = judge_images(options) if options.network is None else judge_network(options, device)
    folder = options.outdir or judged.folder
    if folder is not None:
        check_writable(folder)
    results = []
    if options.image_names:
        results += compute(
            options.image_names,
            judged.images,
            judged.reals,
            num=judged.num,
            batch=options.batch,
            device=device,
            cached=options.cache,
            inception=options.inception,
            sample_depth=judged.depth,
            quiet=options.quiet,
        )
    if options.group_names:
        num = judged.num or DEFAULT_NUM
        results += compute_groups(options.group_names, judged.subject, real_subjects(judged.reals, num, device), num=num, quiet=options.quiet)
    for result in results:
        print(result)
    if folder is not None:
        append_results(folder, results, data=judged.reals.name, data_fingerprint=judged.reals.fingerprint(), **judged.facts)
        print(f'{folder}: {", ".join(f"metric-{result.metric}.jsonl" for result in results)}')


def ask_for_poses(options: Options, device: torch.device) -> None:
    """Where every picture of --data was taken from, as poses.json and in a sentence, and how right that is where cameras are known."""
    path = find_snapshot(options.network)
    discriminator, snapshot = load_discriminator(path, device)
    reals, place = open_reals(options, path, snapshot)
    found = where_taken(discriminator, snapshot.config.generator.render_resolution, reals, options.num, options.quiet)
    right = agreement(found, reals, discriminator.config.pose.rig.target)
    folder = options.outdir or path.parent
    check_writable(folder)
    folder.mkdir(parents=True, exist_ok=True)
    names = [f'{index:08d}' for index in range(len(reals))] if place.startswith(PREFIX) else open_source(place).names
    facts = {'network': str(path), 'kimg': snapshot.kimg, 'data': reals.name, 'data_fingerprint': reals.fingerprint()}
    with atomic_write(folder / POSE_TABLE, 'w') as file:
        json.dump(facts | {'agreement': None if right is None else right.to_json(), 'poses': found.table(names, reals)}, file, indent=1)
    print(found)
    if right is not None:
        print(right)
    print(folder / POSE_TABLE)


def open_reals(options: Options, path: Path, snapshot: Snapshot) -> tuple[ImageSet, str]:
    """The data that were asked for, else those of training, and where they are."""
    place = options.data or snapshot.config.data.path
    if not place:
        raise UsageError(f'{path} does not say which data it was trained on: give --data FOLDER, ZIP or synthetic:...')
    return open_dataset(place), place


def judge_images(options: Options) -> Judged:
    """A folder or zip. Metrics without a number in their name look at as many images as there are, up to their default."""
    source, reals = open_dataset(options.source), open_dataset(options.data)
    order = image_order(source)

    def images(start: int, count: int) -> Tensor:
        return torch.stack([from_uint8(torch.from_numpy(source[int(row)].image)) for row in order[start : start + count]])

    judging = [name for name in options.image_names if isinstance(METRICS[name], ImageMetric)]
    free = [count_of(name, None) for name in judging if not METRICS[name].fixed]
    free += [DEFAULT_NUM] if options.group_names else []
    num = min(len(source), *free) if options.num is None and free else options.num
    most = max((count_of(name, None if METRICS[name].fixed else num) for name in judging), default=0)
    most = max(most, (num or 0) if options.group_names else 0)
    if most > len(source):
        raise UsageError(f'{most:,} images are needed, {source.name} has {len(source):,}; give a smaller --num or other metrics')
    return Judged(images, None, reals, pictures(source.name, source), num, None, {'source': options.source})


def judge_network(options: Options, device: torch.device) -> Judged:
    """A generator under the law of classes and cameras that it was trained with."""
    path = find_snapshot(options.network)
    generator, snapshot = load_generator(path, device)
    reals, _ = open_reals(options, path, snapshot)
    classes = generator.config.num_classes
    if classes and reals.num_classes != classes:
        raise DataError(f'the network was trained on {classes} classes, {reals.name} has {reals.num_classes}; give the matching --data')
    if snapshot.config.cameras is None and not reals.has_cameras:
        raise DataError(f'the network is seen from the cameras of its data, and {reals.name} has none; give the matching --data')
    conditions, truncation = conditions_of(snapshot, reals), Truncation(options.trunc)
    facts = {'network': str(path), 'kimg': snapshot.kimg, 'seed': options.seed, 'trunc': options.trunc}
    images = law_sampler(generator, conditions, device, truncation, options.seed)
    depth = depth_sampler(generator, conditions, device, truncation, options.seed)
    subject = generator_subject(path.stem, generator, conditions, device, truncation, options.seed)
    return Judged(images, depth, reals, subject, options.num, path.parent, facts)


def depth_sampler(
    generator: Generator3D, conditions: ConditionSource, device: torch.device, truncation: Truncation, seed: int
) -> Callable[[int, int], DepthImages]:
    """Depth of the scenes whose images `law_sampler` gives."""
    outputs = law_outputs(generator, conditions, device, truncation, seed)

    def depth(start: int, count: int) -> DepthImages:
        output, camera = outputs(start, count)
        near, far = ray_limits(generator.config.rendering, camera)
        return DepthImages(output.depth.cpu(), output.opacity.cpu(), near.cpu(), far.cpu())

    return depth


def ray_limits(config: RenderingConfig, camera: Camera) -> tuple[Tensor, Tensor]:
    """(near, far) [N] between which a pixel's depth can lie: the rendering's own, or those of the ball around the box."""
    distance = camera.origins.norm(dim=1)
    if config.near != 'box':
        return torch.full_like(distance, config.near), torch.full_like(distance, config.far)
    radius = config.box_side * math.sqrt(3) / 2
    return (distance - radius).clamp(min=0), distance + radius


if __name__ == '__main__':
    run_command(main)
