"""A run small enough for tests: 8 pixels, a few channels, two real steps in well under a second."""

from pathlib import Path

from dnnlib import config as configs
from torch_utils.distributed import World
from training.build import Built, build
from training.config import TrainingConfig
from training.loop import Trainer
from training.presets import find_preset

SETTINGS = (
    'data.path=synthetic:car?poses=wide&background=white&resolution=8&count=40&seed=3',
    'generator.z_dim=8',
    'generator.w_dim=8',
    'generator.synthesis.plane_resolution=8',
    'generator.synthesis.plane_channels=4',
    'generator.synthesis.channels=(4,6),(8,6)',
    'generator.radiance.hidden=8',
    'generator.rendering.samples_coarse=6',
    'discriminator.channels=(4,6),(8,6)',
    'gan.r1_every=2',
    'gan.density_weight=0.1',
    'gan.density_every=2',
    'gan.density_points=16',
    'loop.batch=8',
    'loop.tick_kimg=0.016',
    'loop.snapshot_ticks=2',
    'metrics.names=',
)


def tiny_config(*settings: str) -> TrainingConfig:
    """The demo preset at test size, with further settings."""
    return configs.override(find_preset('demo'), [*SETTINGS, *settings])


def trainer_of(config: TrainingConfig, folder: Path, world: World) -> tuple[Trainer, Built]:
    """A trainer at its first step."""
    built = build(config)
    config = built.config
    optimisers = {'generator': config.generator_optimiser, 'discriminator': config.discriminator_optimiser}
    return Trainer(built.task, built.loader, config.loop, optimisers, world, folder), built
