"""The clock: accumulates gradients, steps optimisers, averages weights, counts images, and saves. It knows tasks only by their interface."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from dnnlib.errors import DataError, UsageError
from torch_utils import checkpoint
from torch_utils.distributed import World
from torch_utils.ema import EMA, half_life_beta
from torch_utils.gradients import Watch, gradient_norms
from torch_utils.interrupt import StopRequest
from torch_utils.rng import Stream
from torch_utils.statistics import Statistics
from training import schedules
from training.data.item import Batch
from training.data.loader import Loader
from training.task import Moment, Phase, Task


@dataclass(frozen=True, slots=True)
class OptimiserConfig:
    """Adam (arXiv 1412.6980) without first-moment averaging, as is usual for GANs."""

    learning_rate: float = 0.002
    beta1: float = 0.0
    beta2: float = 0.99
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        if self.learning_rate < 0 or self.epsilon <= 0 or not (0 <= self.beta1 < 1 and 0 <= self.beta2 < 1):
            raise UsageError(
                f'learning_rate cannot be negative, epsilon must be positive, beta1 and beta2 lie in 0 .. 1 without 1; found '
                f'learning_rate={self.learning_rate}, epsilon={self.epsilon}, beta1={self.beta1}, beta2={self.beta2}.'
            )


@dataclass(frozen=True, slots=True)
class LoopConfig:
    """Lengths are in thousands of real images (kimg); a tick is a line in the log, a snapshot is a set of files."""

    kimg: float = 25000.0
    batch: int = 32  # images per iteration, over all devices
    batch_gpu: int | None = None  # images per device at a time; None: all of its share at once
    tick_kimg: float = 4.0
    snapshot_ticks: int = 50
    keep_states: int = 2
    seed: int = 0
    ema_half_life_kimg: float = 10.0
    ema_ramp_up: float = 0.05

    def __post_init__(self) -> None:
        if self.batch < 1 or self.kimg <= 0 or self.tick_kimg <= 0 or self.snapshot_ticks < 1:
            raise UsageError(
                f'batch and snapshot_ticks must be at least 1, kimg and tick_kimg positive; found batch={self.batch}, '
                f'snapshot_ticks={self.snapshot_ticks}, tick_kimg={self.tick_kimg}, kimg={self.kimg}.'
            )
        if self.keep_states < 1 or self.seed < 0 or self.ema_half_life_kimg < 0 or self.ema_ramp_up < 0:
            raise UsageError(
                f'keep_states must be at least 1, and seed, ema_half_life_kimg and ema_ramp_up not negative; found keep_states='
                f'{self.keep_states}, seed={self.seed}, ema_half_life_kimg={self.ema_half_life_kimg}, ema_ramp_up={self.ema_ramp_up}.'
            )

    def rows_per_device(self, world: World) -> int:
        """This device's share of a batch; raises UsageError if the batch cannot be shared evenly."""
        if self.batch % world.size:
            raise UsageError(f'A batch of {self.batch} cannot be shared by {world.size} devices. Take a multiple of {world.size}.')
        share = self.batch // world.size
        if self.batch_gpu is not None and (self.batch_gpu < 1 or share % self.batch_gpu):
            raise UsageError(f'--batch-gpu {self.batch_gpu} does not divide the {share} images that each device takes of a batch.')
        return share


@dataclass(frozen=True, slots=True)
class Tick:
    """What happened since the tick before."""

    statistics: dict[str, dict[str, float]]  # {name: {num, mean, std}} over all ranks; a hook may add what it measured for those after it
    images: int
    seconds: float


class Hook:
    """Something that happens beside training: files, pictures, metrics. Called on every rank; writes on the main one."""

    def at_start(self, trainer: 'Trainer') -> None:
        """Before the first iteration of this session."""

    def at_tick(self, trainer: 'Trainer', tick: Tick) -> None:
        """At every line of the log."""

    def at_snapshot(self, trainer: 'Trainer') -> None:
        """When a snapshot is due, after the training state was saved."""

    def lacks_snapshot(self, trainer: 'Trainer') -> bool:
        """Whether what `at_snapshot` would write now is not there: asked when a run is taken up where a snapshot was due."""
        return False


class Trainer:
    """The state of a run and the loop over it."""

    def __init__(
        self,
        task: Task,
        loader: Loader,
        config: LoopConfig,
        optimisers: dict[str, OptimiserConfig],
        world: World,
        folder: Path,
    ) -> None:
        self.task, self.loader, self.config, self.world, self.folder = task, loader, config, world, folder
        self.share = config.rows_per_device(world)
        for network in task.networks.values():
            network.to(world.device).train()
            world.broadcast_module_(network)
        self.optimisers = {name: _adam(task.networks[name], optimisers[name], world) for name in task.networks}
        self.averages = {name: EMA(task.networks[name]) for name in task.averaged}
        self.statistics = Statistics()
        self.watch = Watch(late=world.device.type == 'cuda')
        self.nimg = 0
        self.step = 0
        self.seconds = 0.0  # of training, over all sessions of the run
        self.data = loader.dataset.fingerprint()

    def iterate(self) -> None:
        """One pass over the task's phases, each an optimiser step on one global batch."""
        batches = [(rows, self.loader.batch(self.nimg, rows).to(self.world.device)) for rows in self._micro_batches()]
        for phase in self.task.phases:
            self._optimise(phase, batches)
        self.watch.raise_if_spoilt(before_step=self.step)
        self.task.finish_step(self._moment('finish', ()), self.world)
        half_life = schedules.ema_half_life_img(self.nimg + self.config.batch, self.config.ema_half_life_kimg, self.config.ema_ramp_up)
        for name, average in self.averages.items():
            average.update(self.task.networks[name], half_life_beta(self.config.batch, half_life))
        self.nimg += self.config.batch
        self.step += 1

    def _optimise(self, phase: Phase, batches: Sequence[tuple[tuple[int, ...], Batch]]) -> None:
        for name, network in self.task.networks.items():
            network.requires_grad_(name == phase.trains)
        optimiser = self.optimisers[phase.trains]
        optimiser.zero_grad(set_to_none=True)
        for rows, batch in batches:
            for terms in self.task.terms(phase, batch, self._moment(phase.name, rows)):
                (terms.sum() / self.share).backward()
        network = self.task.networks[phase.trains]
        self.world.all_reduce_mean_([parameter.grad for parameter in network.parameters() if parameter.grad is not None])
        norms = gradient_norms(network.named_parameters())
        self.statistics.report(f'Gradients/{phase.name}/norm', norms.total)
        self.watch.note(norms, phase.name, self.step)
        if self.watch.late:
            optimiser.found_inf = norms.spoilt
        optimiser.step()

    def _micro_batches(self) -> list[tuple[int, ...]]:
        """Global rows of this rank, cut into what the device takes at a time."""
        first = self.world.rank * self.share
        size = self.config.batch_gpu or self.share
        return [tuple(range(start, start + size)) for start in range(first, first + self.share, size)]

    def _moment(self, phase: str, rows: tuple[int, ...]) -> Moment:
        stream = Stream(seed=self.config.seed, step=self.nimg, phase=phase, rows=rows)
        return Moment(self.nimg, self.step, stream, self.statistics.report)

    def run(self, hooks: Sequence[Hook], stop: StopRequest) -> None:
        """Train until the configured length or until asked to stop; either way the last state is on disk when this returns."""
        self._let(hooks, lambda hook: hook.at_start(self))
        if self.nimg > 0 and (self.nimg >= self.config.kimg * 1000 or self._was_due(self._snapshot_kimg)):
            # The state was saved, but somebody pressed Ctrl-C then, or the disk was full.
            lacking = [hook for hook in hooks if self.world.any(hook.lacks_snapshot(self))]
            self._let(lacking, lambda hook: hook.at_snapshot(self))
        tick_images, tick_start = self.nimg, time.monotonic()
        next_tick, next_snapshot = self._next(self.config.tick_kimg), self._next(self._snapshot_kimg)
        stopping = self.nimg >= self.config.kimg * 1000
        while not stopping:
            self.iterate()
            finished = self.nimg >= self.config.kimg * 1000
            stopping = finished or self.world.any(stop.requested)
            if self.nimg >= next_tick or stopping:
                tick = Tick(self.statistics.reduce(self.world), self.nimg - tick_images, time.monotonic() - tick_start)
                self.statistics.reset()
                self.seconds += tick.seconds
                self._let(hooks, lambda hook, tick=tick: hook.at_tick(self, tick))
                tick_images, next_tick, tick_start = self.nimg, self._next(self.config.tick_kimg), time.monotonic()
            if self.nimg >= next_snapshot or stopping:
                self.save()
                if finished or not stopping:  # somebody who pressed Ctrl-C waits for the state, not for pictures and metrics
                    self._let(hooks, lambda hook: hook.at_snapshot(self))
                next_snapshot, tick_start = self._next(self._snapshot_kimg), time.monotonic()

    def _let(self, hooks: Sequence[Hook], happen: Callable[[Hook], None]) -> None:
        """One happening of every hook. Most is done on the main rank alone, and takes longer than the others would wait within a step."""
        for hook in hooks:
            happen(hook)
        self.world.barrier()

    @property
    def _snapshot_kimg(self) -> float:
        return self.config.tick_kimg * self.config.snapshot_ticks

    def _next(self, every_kimg: float) -> float:
        """The first multiple of the interval that lies ahead: ticks fall on the same counts whether or not the run was interrupted."""
        every = every_kimg * 1000
        return (self.nimg // every + 1) * every

    def _was_due(self, every_kimg: float) -> bool:
        """Whether the last iteration reached a multiple of the interval."""
        every = every_kimg * 1000
        return self.nimg // every > (self.nimg - self.config.batch) // every

    def parts(self) -> dict:
        """Everything that training depends on; schedules and randomness are functions of nimg and need no place here."""
        return {
            'networks': {name: network.state_dict() for name, network in self.task.networks.items()},
            'averages': {name: average.module.state_dict() for name, average in self.averages.items()},
            'optimisers': {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()},
            'task': self.task.state_dict(),
            'progress': {'nimg': self.nimg, 'step': self.step, 'seconds': self.seconds},
        }

    def save(self) -> None:
        """Write training-state-<images seen>.pt; the older states beyond `keep_states` go."""
        self.watch.raise_if_spoilt()
        if self.world.is_main:
            stem = f'{checkpoint.STATE_NAME}{self.nimg:09d}'
            threads = torch.get_num_threads() if self.world.device.type == 'cpu' else None
            made_by = {'world_size': self.world.size, 'threads': threads, 'device': self.world.device.type}
            checkpoint.save_state(self.folder, stem, self.parts(), {'nimg': self.nimg, 'data': self.data, **made_by})
            checkpoint.prune_states(self.folder, keep=self.config.keep_states)
        self.world.barrier()

    def resume(self, path: Path) -> None:
        """Take up the state in `path`, strictly: a missing or extra part is an error, and so are other data than those it learned from."""
        if checkpoint.read_manifest(path).get('data') != self.data:
            raise DataError(
                f"'{self.loader.dataset.name}' is not the data set that {self.folder} was trained on: its images or labels have changed. "
                'Put the old one back, or start a new run on the new one.'
            )
        parts = checkpoint.load_state(path)
        for name, network in self.task.networks.items():
            network.load_state_dict(parts['networks'][name])
            self.optimisers[name].load_state_dict(parts['optimisers'][name])
        for name, average in self.averages.items():
            average.module.load_state_dict(parts['averages'][name])
        self.task.load_state_dict(parts['task'])
        self.nimg, self.step = parts['progress']['nimg'], parts['progress']['step']
        self.seconds = parts['progress']['seconds']


def _adam(network: nn.Module, config: OptimiserConfig, world: World) -> torch.optim.Optimizer:
    return torch.optim.Adam(
        network.parameters(), lr=config.learning_rate, betas=(config.beta1, config.beta2), eps=config.epsilon, fused=world.device.type != 'mps'
    )
