"""Train a 3-D-aware image generator: python train.py --cfg photos --data photos.zip --outdir runs."""

import contextlib
import json
import math
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click
import torch

from dnnlib import config as configs
from dnnlib.atomic import atomic_write
from dnnlib.errors import DataError, MissingInputError, StorageError, Terminated, UsageError, run_command
from dnnlib.log import tee
from dnnlib.runs import RunLock, check_writable, next_run_folder
from dnnlib.units import format_bytes
from metrics import evaluate as metrics
from torch_utils import checkpoint, distributed
from torch_utils.interrupt import StopRequest
from torch_utils.memory import keep_freed_memory
from torch_utils.rng import Stream
from torch_utils.summary import count_parameters, layer_table
from training import hooks
from training.build import Built, build, open_data, remarks, trainer_of
from training.cameras.camera import Camera
from training.config import OPTIONS_FILE, TrainingConfig, read_options
from training.loop import Trainer
from training.monitors.watch import Monitors
from training.presets import PRESETS, find_preset

MOST_CPU_PROCESSES = 8  # beyond that, processes would wait for memory and for each other
STOPPED = 130  # the exit code of a rank that stops because another one was asked to
KEPT_BY_RESUME = {'--resume', '--kimg', '--gpus', '--device', '--threads', '--debug', '--dry-run'}


@click.command(context_settings={'max_content_width': 120})
@click.option('--cfg', 'preset', metavar='NAME', help='Starting point: ' + ', '.join(PRESETS) + '.')
@click.option('--data', metavar='PATH', help='Zip or folder written by dataset_tool.py, or synthetic:... (docs/data.md).')
@click.option('--outdir', metavar='DIR', default='runs', show_default=True, help='Where run folders are made.')
@click.option('--resume', metavar='RUN', help='Continue this run folder, bit for bit, with as many processes as before. Other options must be left out, except --kimg, --gpus, --device and --threads.')
@click.option('--gpus', type=click.IntRange(min=1), help='Processes on this node, one per GPU. [default: 1; without a GPU as many as share the cores well]')
@click.option('--batch', type=click.IntRange(min=1), help='Images per iteration, over all GPUs.')
@click.option('--batch-gpu', type=click.IntRange(min=1), help='Images per GPU at a time; gradients are accumulated over the rest.')
@click.option('--gamma', type=float, help='Weight of the R1 penalty.')
@click.option('--kimg', type=float, help='Length of training in thousands of images.')
@click.option('--tick', type=float, help='Thousands of images between log lines.')
@click.option('--snap', type=click.IntRange(min=1), help='Log lines between snapshots.')
@click.option('--metrics', metavar='NAMES', help="Metrics at every snapshot, separated by commas; 'none' for none.")
@click.option('--seed', type=click.IntRange(min=0), help='Seed of everything random.')
@click.option('--mirror', type=bool, help='Show images (and their cameras) mirrored half of the time.')
@click.option('--aug', type=click.Choice(['noaug', 'ada', 'fixed']), help='Augmentation: none, of adaptive strength, or of the strength --p.')
@click.option('--p', 'strength', type=click.FloatRange(0, 1), help='Augmentation strength: for good with --aug fixed, at the start with --aug ada.')
@click.option('--set', 'settings', metavar='NAME=VALUE', multiple=True, help='Change any setting, e.g. --set gan.r1_gamma=5; --dry-run lists them.')
@click.option('--desc', metavar='TEXT', help='Goes into the name of the run folder.')
@click.option('--device', metavar='NAME', help='cpu, cuda or mps; the fastest there is by default.')
@click.option('--dry-run', '-n', is_flag=True, help='Print settings, layers and expected memory, and stop.')
@click.option('--threads', type=click.IntRange(min=1), help='Processor threads of each process, on a CPU. [default: 1]')
@click.option('--debug', is_flag=True, help='Show tracebacks.')
@click.pass_context
def main(context: click.Context, **options) -> None:
    """Train a generator, or with --resume continue a run."""
    if options['resume']:
        _refuse_changes(context)
        config, folder = _config_of_run(Path(options['resume'])), Path(options['resume'])
        options |= _as_before(folder, options)
        if options['kimg'] is not None:
            config = replace(config, loop=replace(config.loop, kimg=options['kimg']))
    else:
        config, folder = configured(options), None
        if not options['dry_run']:
            check_writable(options['outdir'])
    processes = distributed.launched_size() or options['gpus'] or _processes_by_default(config, options['device'])
    _refuse_mistakes(config, processes, options['dry_run'])
    if processes > 1 and not distributed.is_launched():
        open_data(config, processes)  # its mistakes are said once as well, and not by every process
        if not options['dry_run']:
            distributed.launch(sys.argv, processes)
    keep_freed_memory()
    world = distributed.init_from_env(options['device'])
    if world.device.type == 'cpu':
        torch.set_num_threads(options['threads'] or 1)
        # Adam's moments of weights that have come to rest fade into denormal numbers, with which processors are slow (docs/benchmarks.md).
        torch.set_flush_denormal(True)
    built = build(config, world)
    if world.is_main and not options['resume']:
        for remark in (*remarks(built.config, built.dataset), *built.said):
            print(f'note: {remark}', file=sys.stderr)
    if options['dry_run']:
        print(describe(built, processes))
        return
    if folder is None:
        folder = world.all_gather_object(_new_run_folder(options, built, world) if world.is_main else None)[0]
    _train(built, folder, world, resume=bool(options['resume']))


def _as_before(folder: Path, options: dict) -> dict:
    """How a run went before, for what the command line leaves open: other processes or threads would round sums otherwise."""
    manifest = checkpoint.latest_manifest(folder) or {}
    before = {'gpus': manifest.get('world_size'), 'threads': manifest.get('threads'), 'device': manifest.get('device')}
    if options['device'] not in (None, before['device']):
        return {}
    if before['device'] == 'cuda' and options['gpus'] is None and torch.cuda.device_count() < before['gpus']:
        raise UsageError(
            f'{folder} was trained on {before["gpus"]} GPUs, and this machine has {torch.cuda.device_count()}. Say on how many it is to go on: --gpus N '
            '(or --device cpu); sums are then rounded otherwise, so it will not be bit for bit the run that it was.'
        )
    return {name: value for name, value in before.items() if options[name] is None and value is not None}


def _processes_by_default(config: TrainingConfig, device: str | None) -> int:
    """One where there is a GPU. On a CPU the largest number of cores that divides the batch without breaking minibatch-std groups.

    Processes of one thread each beat threads: as fast on an idle machine, and not a dozen times slower on a busy one (docs/benchmarks.md).
    """
    if device not in (None, 'cpu') or (device is None and (torch.cuda.is_available() or torch.backends.mps.is_available())):
        return 1
    batch, group = config.loop.batch, math.lcm(max(config.discriminator.mbstd_group, 1), config.discriminator.views_together)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    fits = [n for n in range(1, min(cores, MOST_CPU_PROCESSES) + 1) if batch % n == 0 and (batch // n) % group == 0]
    return max(fits, default=1)


def _refuse_mistakes(config: TrainingConfig, processes: int, dry_run: bool) -> None:
    """What is quick to find. Only a dry run can do without files that metrics need."""
    config.data.require_path()
    config.loop.rows_per_device(distributed.World(size=processes))
    try:
        metrics.check(config.metrics.names, config.metrics.num)
    except MissingInputError as error:
        if not dry_run:
            raise
        print(f'note: {error}', file=sys.stderr)


def _refuse_changes(context: click.Context) -> None:
    """A resumed run is the run that was started; an option that would make it another one is a misunderstanding."""
    given = [name for name in context.params if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE]
    changed = sorted({'--' + {'preset': 'cfg', 'settings': 'set', 'strength': 'p'}.get(name, name).replace('_', '-') for name in given} - KEPT_BY_RESUME)
    if changed:
        raise UsageError(f'--resume continues a run with its own settings; leave out {", ".join(changed)}, or start a new run with --cfg.')


def configured(options: dict) -> TrainingConfig:
    """The preset with the command line's changes: the well-known flags first, then --set in order."""
    if options['preset'] is None:
        raise UsageError(f'Which preset? Give --cfg with one of {", ".join(PRESETS)}, or --resume with a run folder.')
    config = find_preset(options['preset'])
    if options['strength'] is not None and (options['aug'] or config.ada.mode) == 'noaug':
        raise UsageError('--p is the strength of augmentation, and there is none here. Add --aug ada or --aug fixed.')
    flags = {
        'data.path': options['data'],
        'data.mirror': options['mirror'],
        'loop.batch': options['batch'],
        'loop.batch_gpu': options['batch_gpu'],
        'loop.kimg': options['kimg'],
        'loop.tick_kimg': options['tick'],
        'loop.snapshot_ticks': options['snap'],
        'loop.seed': options['seed'],
        'gan.r1_gamma': options['gamma'],
        'metrics.names': '' if options['metrics'] == 'none' else options['metrics'],
        'ada.mode': options['aug'],
        'ada.initial': options['strength'],
    }
    assignments = [f'{name}={value}' for name, value in flags.items() if value is not None]
    return configs.override(config, [*assignments, *options['settings']])


def describe(built: Built, processes: int = 1) -> str:
    """What --dry-run prints: every setting, every layer, and the memory to expect where that many processes share a batch."""
    settings = '\n'.join(f'  {name} = {value}' for name, value in configs.flatten(built.config).items())
    generator, discriminator, data = built.task.generator, built.task.discriminator, built.dataset
    z = torch.zeros(1, generator.z_dim)
    classes = torch.zeros(1, dtype=torch.int64) if built.config.generator.num_classes else None
    camera = built.conditions.sample(Stream(0, 0, 'dry-run', (0,)), torch.device('cpu')).camera
    image = generator(z, classes, camera)
    sees = built.config.discriminator
    judged = (image.image, image.image_raw if sees.see == 'dual' else None, classes, camera if sees.conditions_on_camera else None)
    # As many pictures as one answer is for.
    judged = tuple(
        None if part is None else part.repeat_interleave(sees.views_together) if isinstance(part, Camera) else part.repeat_interleave(sees.views_together, 0)
        for part in judged
    )
    return '\n\n'.join(
        [
            f'Settings (change with --set NAME=VALUE):\n{settings}',
            f'Generator:\n{layer_table(generator, z, classes, camera)}',
            f'Discriminator:\n{layer_table(discriminator, *judged)}',
            f'Data: {data.name}, {len(data)} images of {data.resolution} pixels, {data.num_classes} classes, cameras: {data.has_cameras}',
            f'Memory: about {format_bytes(expected_memory(built, processes))} per device',
        ]
    )


def expected_memory(built: Built, processes: int = 1) -> int:
    """Bytes: weights, their average, gradients and two Adam moments, and what one micro-batch keeps for its backward pass."""
    generator, discriminator = built.task.generator, built.task.discriminator
    weights = 4 * (5 * count_parameters(generator) + 4 * count_parameters(discriminator))
    rendering, synthesis = built.config.generator.rendering, built.config.generator.synthesis
    rays = max(built.config.generator.render_resolution, built.config.gan.render_resolution_final or 0) ** 2
    # Per sample on a ray: point, three planes' features, hidden layers and outputs, each kept once more by an activation.
    per_point = 2 * (3 + 4 * synthesis.plane_channels + sum(built.config.generator.radiance.hidden) + built.config.generator.radiance.features + 1)
    planes = 2 * sum(r * r * 3 * width for r, width in synthesis.widths().items())
    seen = 2 * sum(r * r * 4 * width for r, width in built.config.discriminator.widths().items())
    gan = built.config.gan
    per_image = (rays * (rendering.samples_coarse + rendering.samples_fine) * per_point + seen) * (gan.views + (gan.mirror_weight > 0)) + planes
    return weights + 4 * per_image * (built.config.loop.batch_gpu or built.config.loop.batch // processes)


def _config_of_run(folder: Path) -> TrainingConfig:
    if not (folder / OPTIONS_FILE).is_file():
        raise MissingInputError(f'{folder} is not a run folder: there is no {OPTIONS_FILE} in it.')
    return read_options(folder)


def _new_run_folder(options: dict, built: Built, world: distributed.World) -> Path:
    data = Path(built.config.data.path.partition('?')[0].replace(':', '-')).stem
    parts = [built.config.preset, data, f'gpus{world.size}', f'batch{built.config.loop.batch}', options['desc']]
    outdir = Path(options['outdir'])
    check_writable(outdir, needed_bytes=8 * expected_state(built))
    folder = next_run_folder(outdir, '-'.join(part for part in parts if part))
    _write_options(folder, built.config)
    return folder


def _write_options(folder: Path, config: TrainingConfig) -> None:
    with atomic_write(folder / OPTIONS_FILE, 'w') as file:
        json.dump(configs.to_dict(config), file, indent=2)


def expected_state(built: Built) -> int:
    """Bytes of a training state: weights, average and Adam moments."""
    return 4 * (4 * count_parameters(built.task.generator) + 3 * count_parameters(built.task.discriminator))


def _train(built: Built, folder: Path, world: distributed.World, resume: bool) -> None:
    config = built.config
    trainer = trainer_of(built, world, folder)
    with contextlib.ExitStack() as stack:
        if world.is_main:
            if not resume:
                stack.enter_context(_dropped_if_never_begun(trainer))
            stack.enter_context(RunLock(folder))
            stack.enter_context(tee(folder / 'log.txt'))
        if resume:
            # Only the holder of the lock may look: looking sets damaged states aside and removes what a killed writer left.
            newest = world.all_gather_object(checkpoint.newest_state(folder) if world.is_main else None)[0]
            if newest is None:
                raise MissingInputError(f'{folder} holds no complete training state. Start the run again without --resume.')
            trainer.resume(newest)
            before = checkpoint.read_manifest(newest).get('world_size', world.size)
            if world.is_main and before != world.size:
                print(f'note: {before} processes trained this run and {world.size} go on: sums are rounded otherwise, so it is not bit for bit the run that it was.')
            if world.is_main and config != _config_of_run(folder):
                _write_options(folder, config)  # a new --kimg, which the next --resume is to know
        if world.is_main:
            print(f'{"Continuing" if resume else "Training"} {folder} at {trainer.nimg / 1000:.1f} kimg, until {config.loop.kimg:g} kimg.')
        stop = stack.enter_context(StopRequest())
        happenings = [
            Monitors(built),  # before the log, which writes what it measured
            hooks.Log(folder, show_bar=sys.stderr.isatty()),
            hooks.Pictures(folder, built),
            hooks.Weights(folder, built),
            hooks.Metrics(folder, built),
        ]
        trainer.run(happenings, stop)
        stopped_early = trainer.nimg < config.loop.kimg * 1000
        if world.is_main and not stopped_early:
            print(f'Finished. Pictures, weights and metrics are in {folder}')
    if stopped_early and world.is_main:
        print(f'stopped: {folder} is saved at {trainer.nimg / 1000:.1f} kimg. Continue with: python train.py --resume {folder}', file=sys.stderr)
    distributed.finish(stop.exit_code or STOPPED if stopped_early else 0)


@contextlib.contextmanager
def _dropped_if_never_begun(trainer: Trainer) -> Iterator[None]:
    """A new run folder that a mistake or Ctrl-C ends before the first step is deleted: nobody wants to count or tidy up failed attempts."""
    try:
        yield
    except (UsageError, DataError, MissingInputError, StorageError, KeyboardInterrupt, Terminated):
        if trainer.nimg == 0:
            shutil.rmtree(trainer.folder, ignore_errors=True)
        raise


if __name__ == '__main__':
    run_command(main)
