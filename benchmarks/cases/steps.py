"""Whole training steps: both networks, losses, lazy regularisers at their mean frequency, optimisers, moving average, batches from memory.

Augmentation and the blur of the first images are switched off: they depend on how far a run has come.
"""

import math
import os
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from benchmarks import work
from benchmarks.cases.case import COMPILED, KERNELS, KERNELS_BF16, NAIVE, NAIVE_TUNED, REFERENCE, Target, as_contestant
from benchmarks.naive.discriminator import Discriminator as NaiveDiscriminator
from benchmarks.naive.generator import Generator as NaiveGenerator
from benchmarks.naive.training import Training
from benchmarks.timing import Part
from dnnlib import config as configs
from torch_utils.distributed import init_from_env
from torch_utils.rng import Stream
from training.build import Built, build, fit_to_data, trainer_of
from training.config import TrainingConfig
from training.data.archive import open_dataset
from training.loop import Trainer
from training.presets import find_preset
from training.tasks.gan_config import GanConfig

PLAIN = ('ada.mode=noaug', 'gan.blur_fade_kimg=0')
BF16 = ('gan.precision_discriminator=bf16', 'gan.precision_backbone=bf16')
BF16_SUPERRES = 'generator.superres.precision=bf16'
FEW_IMAGES = 64  # of the data set; they are drawn once and kept


@dataclass(frozen=True, slots=True)
class StepCase:
    """An iteration of a preset with further settings. `data` is a synthetic set without its resolution and count."""

    title: str
    preset: str
    data: str
    resolution: int
    batch: int
    settings: tuple[str, ...] = ()
    targets: tuple[Target, ...] = ()

    measures_memory = True
    contestants = (NAIVE, NAIVE_TUNED, REFERENCE, COMPILED, KERNELS, KERNELS_BF16)

    @property
    def name(self) -> str:
        return f'{self.title}, batch {self.batch}'

    def config(self) -> TrainingConfig:
        path = f'{self.data}&resolution={self.resolution}&count={FEW_IMAGES}'
        sizes = (f'data.path={path}', f'loop.batch={self.batch}', f'generator.image_resolution={self.resolution}')
        return configs.override(find_preset(self.preset), [*sizes, *PLAIN, *self.settings])

    def work(self) -> work.Work:
        config = self.config()
        config = fit_to_data(config, open_dataset(config.data.path))
        return work.training_step(config.generator, config.discriminator, config.gan, self.batch)

    def small(self) -> 'StepCase':
        tiny = (
            'generator.synthesis.channels=', 'generator.synthesis.channel_base=32', 'generator.synthesis.channel_max=4',
            'generator.synthesis.plane_resolution=8', 'discriminator.channels=', 'discriminator.channel_base=32', 'discriminator.channel_max=4',
        )
        return replace(self, settings=(*self.settings, *tiny))

    def build(self, contestant: str, device: torch.device) -> tuple[Part, ...]:
        config = self.config()
        if contestant == KERNELS_BF16:
            config = configs.override(config, [*BF16, *([BF16_SUPERRES] if config.generator.superres else [])])
        built = build(config)
        return self._naive(built, contestant, device) if contestant in (NAIVE, NAIVE_TUNED) else self._ours(built, contestant, device)

    def _ours(self, built: Built, contestant: str, device: torch.device) -> tuple[Part, ...]:
        """Iterations of the real trainer: one part for every kind of iteration that lazy regularisation makes."""
        trainer = _trainer(built, device)
        if contestant == COMPILED:
            # The discriminator stays as it is: R1 differentiates twice, which compiled functions do not allow.
            generator = built.task.generator
            generator.planes, generator.render = torch.compile(generator.planes), torch.compile(generator.render)
        return _parts(trainer, contestant)

    def _naive(self, built: Built, contestant: str, device: torch.device) -> tuple[Part, ...]:
        config = built.config
        generator, discriminator = NaiveGenerator(config.generator), NaiveDiscriminator(config.discriminator)
        for naive, ours in ((generator, built.task.generator), (discriminator, built.task.discriminator)):
            naive.load_state_dict(ours.state_dict())
            naive.to(device)
            if contestant == NAIVE_TUNED:
                naive.to(memory_format=torch.channels_last)
        rows = tuple(range(self.batch))
        batch = built.loader.batch(0, rows).to(device)
        fakes = built.conditions.sample(Stream(seed=0, step=0, phase='benchmark', rows=rows), device)
        optimisers = (config.generator_optimiser, config.discriminator_optimiser)
        training = Training(
            generator, discriminator, config.gan, optimisers, batch, fakes, torch.Generator(device).manual_seed(0)
        )
        gan = config.gan
        parts = [('G', training.generator_main, 1), ('D', training.discriminator_main, 1), ('average', training.update_average, 1)]
        if gan.density_weight > 0:
            parts.append(('density', training.generator_density, 1 / gan.density_every))
        if gan.r1_gamma > 0:
            parts.append(('R1', training.discriminator_r1, 1 / gan.r1_every))
        return tuple(Part(name, as_contestant(contestant, run), share) for name, run, share in parts)


@dataclass(frozen=True, slots=True)
class WaysCase:
    """Iterations of several configurations on the same pictures; the first is what the others are measured by. `ways`: name, preset, settings."""

    title: str
    data: str
    resolution: int
    batch: int
    ways: tuple[tuple[str, str, tuple[str, ...]], ...]
    targets: tuple[Target, ...] = ()

    measures_memory = False

    @property
    def name(self) -> str:
        return f'{self.title}, batch {self.batch}'

    @property
    def contestants(self) -> tuple[str, ...]:
        return tuple(name for name, _, _ in self.ways)

    def _step(self, contestant: str) -> StepCase:
        preset, settings = next((preset, settings) for name, preset, settings in self.ways if name == contestant)
        return StepCase(contestant, preset, self.data, self.resolution, self.batch, settings)

    def work(self) -> work.Work:
        """Of the first."""
        return self._step(self.contestants[0]).work()

    def small(self) -> 'WaysCase':
        return replace(self, ways=tuple((name, preset, self._step(name).small().settings) for name, preset, _ in self.ways))

    def build(self, contestant: str, device: torch.device) -> tuple[Part, ...]:
        return _parts(_trainer(build(self._step(contestant).config()), device), KERNELS)


def _trainer(built: Built, device: torch.device) -> Trainer:
    return trainer_of(built, init_from_env(str(device)), Path(os.devnull))  # it saves nothing


def _parts(trainer: Trainer, contestant: str) -> tuple[Part, ...]:
    """Iterations of a trainer: one part for every kind of iteration that lazy terms make."""
    return tuple(
        Part(kind, as_contestant(contestant, lambda step=step: _iterate(trainer, step)), share)
        for kind, (step, share) in kinds_of_iteration(trainer.task.config).items()
    )


def kinds_of_iteration(gan: GanConfig) -> dict[str, tuple[int, float]]:
    """{what is in an iteration: (a step at which it happens, its share of all iterations)}, over a whole period of the lazy terms."""
    lazy, period = _lazy_terms(gan), period_of(gan)
    due = [' + '.join(['main', *(name for name, every in lazy.items() if step % every == 0)]) for step in range(period)]
    return {kind: (due.index(kind), count / period) for kind, count in Counter(due).items()}


def period_of(gan: GanConfig) -> int:
    """Iterations after which the lazy terms come round again."""
    return math.lcm(*_lazy_terms(gan).values())


def _lazy_terms(gan: GanConfig) -> dict[str, int]:
    """{lazy term that has a weight: it takes part in every n-th iteration}"""
    lazy = (('density', gan.density_weight, gan.density_every), ('R1', gan.r1_gamma, gan.r1_every), ('mirror', gan.mirror_weight, gan.mirror_every))
    return {name: every for name, weight, every in lazy if weight > 0}


def _iterate(trainer: Trainer, step: int) -> None:
    trainer.step = step  # decides which regularisers are due
    trainer.iterate()
