"""A run small enough for tests: 8 pixels, a few channels, two real steps in well under a second."""

from pathlib import Path

from dnnlib import config as configs
from torch_utils.distributed import World
from training.build import Built, build
from training.build import trainer_of as trainer_of_built
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
    'generator.superres.input_resolution=16',
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


# The ways to train without known cameras, and to judge several views: preset, its tiny sizes, and what is switched on.
CLASSES = ('data.path=synthetic:car,mug?poses=wide&background=white&resolution=8&count=40&seed=3',)
SEVERAL = (*CLASSES, 'generator.synthesis.extra_blocks=8')
READS = (*CLASSES, 'discriminator.pose.channels=4,4,4', 'discriminator.pose.hidden=8', 'reading.warmup_kimg=0.02', 'reading.memory=400')
# Fewer photographs are no ring, and the discriminator sees all of them in the first steps.
ARRANGED = ('data.path=synthetic:car,mug?poses=wide&background=white&resolution=8&count=440&seed=3', 'reading.arranged=240')
LEARNS = ('discriminator.pose.hidden=8', 'gan.pose_told_weight=0.5')
PAIRS = ('gan.loss=relativistic', 'gan.r2_gamma=0.5')
WAYS: dict[str, tuple[str, ...]] = {
    'views apart': ('demo-imagenet', *SEVERAL),
    'views together': ('demo-imagenet', *SEVERAL, 'gan.view_order=together'),
    'views jointly': ('demo-imagenet', *SEVERAL, 'gan.view_order=together', 'discriminator.views_together=2'),
    'one of two views for the discriminator': ('demo-imagenet', *SEVERAL, 'gan.views_discriminator=1'),
    'pairs': ('demo-imagenet', *SEVERAL, *PAIRS, 'data.use_classes=false'),
    'pairs of a class': ('demo-imagenet', *SEVERAL, *PAIRS),
    'poses learned': ('demo-pof3d', *LEARNS, 'gan.mirror=PoF3D_2023'),
    'poses learned, pictures judged twice': ('demo-pof3d', *LEARNS, 'gan.mirror_every=2', 'gan.shares_fakes=true'),
    'pairs, pictures judged twice': ('demo-imagenet', *SEVERAL, *PAIRS, 'gan.shares_fakes=true'),
    'poses read': ('demo-unposed', *READS),
    'poses read and arranged': ('demo-unposed', *READS, *ARRANGED),
}


def config_of(way: str, *settings: str) -> TrainingConfig:
    """One of WAYS at test size, with further settings."""
    preset, *own = WAYS[way]
    return configs.override(find_preset(preset), [*SETTINGS, *own, *settings])


def trainer_of(config: TrainingConfig, folder: Path, world: World) -> tuple[Trainer, Built]:
    """A trainer at its first step."""
    built = build(config, world)
    return trainer_of_built(built, world, folder), built
