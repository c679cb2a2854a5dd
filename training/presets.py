"""Named starting points: `--cfg NAME`. A preset is a whole TrainingConfig; what the data decide (resolution, classes) is filled in by build.py."""

import math
from dataclasses import dataclass, replace

from dnnlib.errors import UsageError, did_you_mean
from training.augment.controller import AdaConfig
from training.augment.pipe import AUGMENT_PRESETS
from training.cameras.distributions import Gaussian, Sphere, UniformBand
from training.config import DataConfig, MetricsConfig, MonitorsConfig, TrainingConfig
from training.loop import LoopConfig, OptimiserConfig
from training.networks.backdrop import BackdropConfig
from training.networks.discriminator import DiscriminatorConfig
from training.networks.generator3d import GeneratorConfig
from training.networks.mapping import MappingConfig
from training.networks.pose import PoseLearnerConfig, PoseReaderConfig
from training.networks.radiance import CorePrior, OutsidePrior, RadianceConfig
from training.networks.superres import SuperresConfig
from training.networks.synthesis import SynthesisConfig
from training.rendering.renderer import RenderingConfig
from training.tasks.arrangement import SURE
from training.tasks.gan_config import GanConfig
from training.tasks.readings import ReadingConfig


@dataclass(frozen=True, slots=True)
class Preset:
    """A configuration and one sentence on what it is for."""

    caption: str
    config: TrainingConfig


def find_preset(name: str) -> TrainingConfig:
    """The configuration called `name`; raises UsageError that lists the presets."""
    if name not in PRESETS:
        listed = '\n'.join(f'  {key:10s} {preset.caption}' for key, preset in PRESETS.items())
        raise UsageError(f"There is no preset '{name}'.{did_you_mean(name, PRESETS)} The presets are\n{listed}")
    return PRESETS[name].config


# Two sizes for a processor without a GPU. Widths fall towards fine resolutions: that is where the pixels, and so the time, are.
_DEMO_WIDTHS = ((4, 64), (8, 64), (16, 48), (32, 32))


def _demo() -> TrainingConfig:
    return TrainingConfig(
        preset='demo',
        data=DataConfig(path='synthetic:car?poses=wide&background=white&resolution=32&count=3000&seed=0'),
        generator=GeneratorConfig(
            z_dim=64,
            w_dim=64,
            image_resolution=32,
            render_resolution=32,
            mapping=MappingConfig(layers=2, lr_multiplier=0.1),
            synthesis=SynthesisConfig(plane_resolution=32, plane_channels=8, channels=_DEMO_WIDTHS),
            radiance=RadianceConfig(hidden=(24,), features=3, outside=OutsidePrior(strength=6.0, radius=0.5)),
            # The object fits a ball of radius 0.9 and is seen from 2.7: the ray is sampled where it can meet it.
            rendering=RenderingConfig(
                samples_coarse=16,
                samples_fine=0,
                evaluation_factor=3,
                near=1.75,
                far=3.65,
                box_side=1.8,
                background='white',
                density_scale=8.0,
                quadrature='cells',
            ),
            superres=None,
        ),
        discriminator=DiscriminatorConfig(
            image_resolution=32,
            see='single',
            conditions_on_camera=True,
            channels=_DEMO_WIDTHS,
            mapping=MappingConfig(layers=2, lr_multiplier=0.1),
        ),
        # Blurred at first, the discriminator asks for the colour of the whole car before it asks for wheels.
        gan=GanConfig(r1_gamma=0.3, r1_every=8, density_weight=0.0, blur_sigma_px=3.0, blur_fade_kimg=4.0),
        augment=AUGMENT_PRESETS['c'],  # whoever knows the cameras must not turn the pictures
        generator_optimiser=OptimiserConfig(learning_rate=0.0025),
        discriminator_optimiser=OptimiserConfig(learning_rate=0.002),
        loop=LoopConfig(kimg=16.0, batch=16, tick_kimg=0.5, snapshot_ticks=8, ema_half_life_kimg=3.0, ema_ramp_up=0.1),
        metrics=MetricsConfig(names=('fd_photo',), num=500),
        monitors=MonitorsConfig(every_kimg=2.0),
    )


def _demo_pof3d() -> TrainingConfig:
    """PoF3D (arXiv 2301.07702) at the demo's size: the generator invents cameras within a band, the discriminator reads them."""
    base = _demo()
    return replace(
        base,
        preset='demo-pof3d',
        cameras=UniformBand(),
        generator=replace(base.generator, pose=PoseLearnerConfig()),
        discriminator=replace(base.discriminator, conditions_on_camera=False, conditions_on_pose=True, pose=PoseReaderConfig(hidden=128)),
        gan=replace(base.gan, pose_reading_weight=2.0, pose_learner_weight=1.0, mirror_weight=1.0, mirror_every=2),
    )


def _demo_imagenet() -> TrainingConfig:
    """The geometry-aware generator of arXiv 2402.00225 at the demo's size, on eight classes."""
    base = _demo()
    return replace(
        base,
        preset='demo-imagenet',
        data=DataConfig(path='synthetic:toyworld8?poses=wide&background=white&resolution=32&count=10000&seed=0'),
        cameras=Sphere(),
        generator=replace(
            base.generator,
            synthesis=replace(base.generator.synthesis, extra_blocks=(16, 32)),
            radiance=replace(base.generator.radiance, hidden=(24, 24, 24)),
        ),
        discriminator=replace(base.discriminator, conditions_on_camera=False),
        gan=replace(base.gan, views=2),
        loop=replace(base.loop, kimg=32.0),
    )


def _demo_unposed() -> TrainingConfig:
    """Nobody knows the cameras: they are read off the pictures by a network that learns on generated ones (docs/poses.md)."""
    base = _demo()
    return replace(
        base,
        preset='demo-unposed',
        cameras=UniformBand(),
        # Photographs are arranged by likeness first: the reader begins with the ring of views and its sense of rotation.
        reading=ReadingConfig(exploration=0.2, arranged=2500),
        # Rays end a little behind the middle at first: what is inside of a far wall cannot be seen, so scenes cannot begin hollow.
        generator=replace(base.generator, rendering=replace(base.generator.rendering, far_at_start=2.8)),
        discriminator=replace(base.discriminator, conditions_on_camera=False, conditions_on_pose=True, pose=PoseReaderConfig(sees='grey')),
        # Not blurred: outlines alone do not tell a sense of rotation from the other.
        gan=replace(
            base.gan,
            blur_fade_kimg=0.0,
            pose_told_weight=1.0,
            pose_condition='asked',
            pose_condition_jitter_deg=20.0,
            pose_condition_from_kimg=1.0,
            pose_arranged_weight=1.0,
            pose_arranged_hold_kimg=8.0,
            pose_arranged_fade_kimg=4.0,
            far_hold_kimg=12.0,
            far_fade_kimg=3.0,
        ),
    )


_PHOTO_WIDTHS = ((4, 96), (8, 96), (16, 64), (32, 48), (64, 24))
_PHOTO_D_WIDTHS = ((4, 128), (8, 96), (16, 64), (32, 32))


def _photos() -> TrainingConfig:
    return TrainingConfig(
        preset='photos',
        data=DataConfig(mirror=True),
        # Nobody knows these cameras. A photographer stands in front of the subject, a little to one side: a guess that shows some relief.
        # Pitches are told in parts of their range: one that is much wider than the law would make all of them alike.
        cameras=Gaussian(
            radius=2.7, fov_x_deg=36.0, yaw_std_deg=20.0, pitch_mean_deg=6.0, pitch_std_deg=8.0, pitch_min_deg=-14.0, pitch_max_deg=26.0
        ),
        generator=GeneratorConfig(
            z_dim=128,
            w_dim=128,
            image_resolution=32,
            render_resolution=32,
            mapping=MappingConfig(layers=2, lr_multiplier=0.1),
            synthesis=SynthesisConfig(plane_resolution=64, plane_channels=8, channels=_PHOTO_WIDTHS),
            radiance=RadianceConfig(hidden=(32,), features=3, outside=OutsidePrior(strength=6.0, radius=0.6)),
            # Photographs have backgrounds: the field is its own, and the box holds most of what a camera sees of it at the far end.
            # Matter is asked to stay near the centre; else the scene becomes a tunnel with the subject painted on its end.
            rendering=RenderingConfig(
                samples_coarse=16,
                samples_fine=0,
                evaluation_factor=3,
                near=2.1,
                far=3.5,
                box_side=2.4,
                background='field',
                density_scale=8.0,
                quadrature='cells',
            ),
            superres=None,
        ),
        discriminator=DiscriminatorConfig(
            image_resolution=32,
            see='single',
            channels=_PHOTO_D_WIDTHS,
            mapping=MappingConfig(layers=2, lr_multiplier=0.1),
            unconditional_term=True,
        ),
        gan=GanConfig(r1_gamma=0.02, r1_every=16, density_weight=0.0, blur_sigma_px=3.0, blur_fade_kimg=5.0),
        ada=AdaConfig(mode='ada'),
        generator_optimiser=OptimiserConfig(learning_rate=0.002),
        discriminator_optimiser=OptimiserConfig(learning_rate=0.002),
        loop=LoopConfig(kimg=200.0, batch=16, tick_kimg=1.0, snapshot_ticks=5, ema_half_life_kimg=5.0, ema_ramp_up=0.1),
        metrics=MetricsConfig(names=('fd_photo',), num=1000),
        monitors=MonitorsConfig(every_kimg=5.0),
    )


def _photos_unposed() -> TrainingConfig:
    """Photographs whose cameras are read off them, from all sides where a class can be arranged by likeness and from near the front elsewhere."""
    base, read = _photos(), _demo_unposed()
    return replace(
        base,
        preset='photos-unposed',
        reading=replace(read.reading, memory=10000, law='arranged', sure=SURE),
        # A background that the field holds stands in front of the thing when it is seen from the other side. Matter is kept from where things
        # are not, or it would draw what the backdrop is too coarse for; but photographers fill the frame, 1.75 wide at the middle, and what a
        # thing cannot reach the backdrop would paint.
        generator=replace(
            base.generator,
            backdrop=BackdropConfig(),
            radiance=replace(base.generator.radiance, outside=OutsidePrior(strength=20.0, radius=0.8), core=CorePrior()),
            rendering=replace(read.generator.rendering, background='black'),
        ),
        discriminator=replace(base.discriminator, conditions_on_pose=True, pose=read.discriminator.pose),
        # Rough matter is dear, or it becomes a sponge that has a texture for every camera.
        gan=replace(
            read.gan,
            density_weight=2.0,
            pose_arranged_hold_kimg=math.inf,  # without the lesson all photographs are soon read as taken from the front
            far_hold_kimg=30.0,
            far_fade_kimg=20.0,
        ),
        augment=AUGMENT_PRESETS['pof3d'],  # a picture that is turned or mirrored was taken from another camera
    )


def _photos64() -> TrainingConfig:
    base = _photos()
    return replace(
        base,
        preset='photos64',
        generator=replace(
            base.generator,
            image_resolution=64,
            radiance=replace(base.generator.radiance, features=16),
            superres=SuperresConfig(channels=(48, 32)),
        ),
        discriminator=replace(base.discriminator, image_resolution=64, see='dual', channels=(*_PHOTO_D_WIDTHS, (64, 24))),
    )


def _ffhq() -> TrainingConfig:
    """EG3D at its published size (arXiv 2112.07945, sections 4 and 5), first stage, with correct plane axes and R1 on the real image.

    The published data sets already hold mirrored copies, so images are not mirrored again.
    """
    return TrainingConfig(
        preset='ffhq',
        data=DataConfig(use_classes=False),
        generator=GeneratorConfig(
            conditions_on_camera=True,
            image_resolution=512,
            render_resolution=64,
            superres=SuperresConfig(channels=(256, 128), input_resolution=128),
            rendering=RenderingConfig(samples_coarse=48, samples_fine=48, near=2.25, far=3.3, box_side=1.0),
        ),
        discriminator=DiscriminatorConfig(image_resolution=512, see='dual', conditions_on_camera=True),
        gan=GanConfig(r1_gamma=1.0, blur_fade_kimg=200.0),
        metrics=MetricsConfig(names=('fid50k_full',), num=50000),
    )


def _afhq() -> TrainingConfig:
    base = _ffhq()
    return replace(
        base,
        preset='afhq',
        gan=replace(base.gan, r1_gamma=5.0, camera_swap_final=0.8),
        augment=AUGMENT_PRESETS['eg3d'],
        ada=AdaConfig(mode='ada'),
    )


def _shapenet() -> TrainingConfig:
    base = _ffhq()
    return replace(
        base,
        preset='shapenet',
        generator=replace(
            base.generator,
            conditions_on_camera=False,
            image_resolution=128,
            superres=SuperresConfig(channels=(128, 64), input_resolution=64),
            rendering=RenderingConfig(samples_coarse=64, samples_fine=64, near=0.1, far=2.6, box_side=1.6, background='white'),
        ),
        discriminator=replace(base.discriminator, image_resolution=128),
        gan=replace(base.gan, r1_gamma=0.3),
    )


_FRONT = UniformBand(radius=2.7, fov_x_deg=13.37, yaw_min_deg=-90.0, yaw_max_deg=90.0, pitch_min_deg=-45.0, pitch_max_deg=45.0)
_ALL_AROUND = UniformBand(radius=1.7, fov_x_deg=52.0, pitch_min_deg=-10.0, pitch_max_deg=80.0)


def _pof3d(name: str, base: TrainingConfig, law: UniformBand, image_resolution: int, gamma: float, reading: float, learner: float) -> TrainingConfig:
    """PoF3D (arXiv 2301.07702, supplement) at its published sizes and weights, on bounded poses; images are not mirrored, the cameras are."""
    superres = SuperresConfig(channels=(128, 64), input_resolution=128 if image_resolution == 256 else 64)
    return replace(
        base,
        preset=name,
        cameras=law,
        generator=replace(
            base.generator, conditions_on_camera=False, image_resolution=image_resolution, superres=superres, pose=PoseLearnerConfig(lr_multiplier=0.01)
        ),
        discriminator=replace(
            base.discriminator,
            image_resolution=image_resolution,
            conditions_on_camera=False,
            conditions_on_pose=True,
            pose=PoseReaderConfig(),
        ),
        gan=replace(
            base.gan, r1_gamma=gamma, pose_reading_weight=reading, pose_learner_weight=learner, mirror_weight=1.0, mirror_every=2, blur_fade_kimg=200.0
        ),
        augment=AUGMENT_PRESETS['pof3d'],
    )


def _imagenet() -> TrainingConfig:
    """The geometry-aware ImageNet generator (arXiv 2402.00225). The paper gives no sizes that could be found; what follows is a
    reconstruction: 128 pixels, one extra block after 64, 128 and 256, three hidden layers in the decoder, two views, whole-sphere cameras around a unit scene.
    """
    base = _shapenet()
    rendering = replace(base.generator.rendering, background='black')
    return replace(
        base,
        preset='imagenet',
        data=DataConfig(mirror=True, needs_classes=True),
        cameras=Sphere(radius=1.7, fov_x_deg=52.0),
        generator=replace(
            base.generator,
            synthesis=SynthesisConfig(extra_blocks=(64, 128, 256)),
            radiance=RadianceConfig(hidden=(64, 64, 64)),
            rendering=rendering,
        ),
        discriminator=replace(base.discriminator, conditions_on_camera=False),
        gan=replace(base.gan, r1_gamma=1.0, views=2),
    )


def _unposed() -> TrainingConfig:
    """What photos-unposed does, with the sizes of `imagenet`. Untried at this size: schedules are those of the small one, made longer."""
    base, small = _imagenet(), _photos_unposed()
    seen = small.generator.rendering
    return replace(
        base,
        preset='unposed',
        data=DataConfig(mirror=True),
        cameras=small.cameras,
        reading=replace(small.reading, memory=500_000, arranged=1000, warmup_kimg=50.0),
        generator=replace(
            base.generator,
            backdrop=replace(small.generator.backdrop, resolution=64, channels=128),
            radiance=replace(base.generator.radiance, outside=small.generator.radiance.outside, core=small.generator.radiance.core),
            rendering=replace(
                base.generator.rendering, near=seen.near, far=seen.far, far_at_start=seen.far_at_start, box_side=seen.box_side, background='black',
                density_scale=seen.density_scale,  # at which the core is opaque from the start
            ),
        ),
        discriminator=replace(base.discriminator, conditions_on_pose=True, pose=small.discriminator.pose, unconditional_term=True),
        gan=replace(
            base.gan,
            views=1,
            blur_fade_kimg=small.gan.blur_fade_kimg,
            density_weight=small.gan.density_weight,
            pose_told_weight=1.0,
            pose_condition=small.gan.pose_condition,
            pose_condition_jitter_deg=small.gan.pose_condition_jitter_deg,
            pose_condition_from_kimg=50.0,
            pose_arranged_weight=1.0,
            pose_arranged_hold_kimg=small.gan.pose_arranged_hold_kimg,
            far_hold_kimg=1000.0,
            far_fade_kimg=1000.0,
        ),
        augment=small.augment,
    )


PRESETS: dict[str, Preset] = {
    'demo': Preset('one class on white with known cameras, 32x32, minutes on one processor core', _demo()),
    'demo-pof3d': Preset('the same without cameras: the generator invents them (PoF3D)', _demo_pof3d()),
    'demo-imagenet': Preset('eight classes on white, seen from the whole sphere, several views judged', _demo_imagenet()),
    'demo-unposed': Preset('the demo without cameras: their law is read off the pictures', _demo_unposed()),
    'photos': Preset('photographs without cameras, by class if they have any, 32x32, an hour on a processor', _photos()),
    'photos-unposed': Preset('the same, with cameras that are read off the photographs', _photos_unposed()),
    'photos64': Preset('the same at 64x64, with super-resolution from 32x32', _photos64()),
    'ffhq': Preset('EG3D on faces with cameras, 512x512, eight GPUs', _ffhq()),
    'afhq': Preset('EG3D on animal faces with cameras and few images, 512x512, eight GPUs', _afhq()),
    'pof3d-ffhq': Preset('PoF3D on faces without cameras, 256x256, eight GPUs', _pof3d('pof3d-ffhq', _ffhq(), _FRONT, 256, 1.0, 2.0, 1.0)),
    'pof3d-cats': Preset('PoF3D on cats without cameras, 256x256, eight GPUs', _pof3d('pof3d-cats', _ffhq(), _FRONT, 256, 5.0, 10.0, 10.0)),
    'pof3d-cars': Preset('PoF3D on rendered cars without cameras, 128x128, eight GPUs', _pof3d('pof3d-cars', _shapenet(), _ALL_AROUND, 128, 0.3, 2.0, 2.0)),
    'imagenet': Preset('classes of ImageNet from all sides, without cameras, 128x128, eight GPUs', _imagenet()),
    'unposed': Preset('photographs, by class if they have any, cameras read off them, 128x128, eight GPUs', _unposed()),
    'shapenet': Preset('EG3D on rendered cars with cameras, 128x128, eight GPUs', _shapenet()),
}
