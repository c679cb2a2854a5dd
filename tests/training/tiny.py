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


# EG3D's full wiring, small: two-stage rendering, super-resolution, both images judged, cameras and classes conditioned on, augmentation.
FULL_SETTINGS = (
    'data.path=synthetic:car,mug?poses=wide&background=env&resolution=16&count=40&seed=3',
    'data.use_classes=true',
    'generator.z_dim=8',
    'generator.w_dim=8',
    'generator.image_resolution=16',
    'generator.render_resolution=8',
    'generator.synthesis.plane_resolution=16',
    'generator.synthesis.plane_channels=4',
    'generator.synthesis.channel_base=128',
    'generator.synthesis.channel_max=8',
    'generator.synthesis.extra_blocks=8',
    'generator.radiance.hidden=8,8',
    'generator.radiance.features=6',
    'generator.superres.channels=6,4',
    'generator.superres.input_resolution=8',
    'generator.rendering.samples_coarse=5',
    'generator.rendering.samples_fine=4',
    'generator.rendering.near=box',
    'generator.rendering.far=box',
    'generator.rendering.box_side=1.8',
    'discriminator.image_resolution=16',
    'discriminator.channel_base=128',
    'discriminator.channel_max=8',
    'discriminator.mapping.layers=2',
    'gan.r1_every=2',
    'gan.density_every=2',
    'gan.density_points=16',
    'gan.render_resolution_final=16',
    'gan.render_resolution_fade_kimg=0.032',
    'ada.mode=fixed',
    'ada.initial=0.4',
    'loop.batch=8',
    'metrics.names=',
)


def full_config(*settings: str) -> TrainingConfig:
    """The published EG3D recipe at test size, with further settings."""
    return configs.override(find_preset('ffhq'), [*FULL_SETTINGS, *settings])


def trainer_of(config: TrainingConfig, folder: Path, world: World) -> tuple[Trainer, Built]:
    """A trainer at its first step."""
    built = build(config)
    config = built.config
    optimisers = {'generator': config.generator_optimiser, 'discriminator': config.discriminator_optimiser}
    return Trainer(built.task, built.loader, config.loop, optimisers, world, folder), built
