"""The whole configuration of a training run: one frozen dataclass, composed of those that stand beside what they configure."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dnnlib import config as configs
from dnnlib.errors import DataError, UsageError
from training.augment.controller import AdaConfig
from training.augment.pipe import AUGMENT_PRESETS, AugmentConfig
from training.cameras.distributions import LawConfig
from training.loop import LoopConfig, OptimiserConfig
from training.networks.discriminator import DiscriminatorConfig
from training.networks.generator3d import GeneratorConfig
from training.tasks.gan_config import GanConfig
from training.tasks.readings import ReadingConfig

OPTIONS_FILE = 'training_options.json'  # in a run folder


@dataclass(frozen=True, slots=True)
class DataConfig:
    """Where the photographs are and how they are shown."""

    path: str = ''  # zip, folder, or 'synthetic:...'
    mirror: bool = False  # show each image (and its camera) left-right flipped half of the time
    use_classes: bool = True  # condition on the classes that the data have
    needs_classes: bool = False  # refuse data without classes: the method is class-conditional

    def require_path(self) -> str:
        """`path`, or a UsageError where there is none."""
        if not self.path:
            raise UsageError('No data. Give --data a zip or a folder that dataset_tool.py wrote, or a synthetic set such as synthetic:car.')
        return self.path


@dataclass(frozen=True, slots=True)
class MetricsConfig:
    """Metrics computed at every snapshot."""

    names: tuple[str, ...] = ()
    num: int = 2000  # images


@dataclass(frozen=True, slots=True)
class MonitorsConfig:
    """How often training looks for failures that no loss shows (training/monitors), and at how many generated images."""

    every_kimg: float = 20.0  # 0: never
    images: int = 100

    def __post_init__(self) -> None:
        if self.every_kimg < 0 or self.images < 20:
            raise UsageError(
                f'monitors.every_kimg cannot be negative and monitors.images must be at least 20; found {self.every_kimg} and {self.images}.'
            )


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """What `training_options.json` and the header of every weights file hold."""

    preset: str = ''
    data: DataConfig = field(default_factory=DataConfig)
    cameras: LawConfig | None = None  # where fakes are seen from; None: the data's camera labels
    reading: ReadingConfig | None = None  # fakes are seen from where real images are read to be; `cameras` is where one looks until then
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    gan: GanConfig = field(default_factory=GanConfig)
    augment: AugmentConfig = AUGMENT_PRESETS['bgc']  # which transforms, when --aug asks for any
    ada: AdaConfig = field(default_factory=lambda: AdaConfig(mode='noaug'))
    generator_optimiser: OptimiserConfig = field(default_factory=lambda: OptimiserConfig(learning_rate=0.0025))
    discriminator_optimiser: OptimiserConfig = field(default_factory=lambda: OptimiserConfig(learning_rate=0.002))
    loop: LoopConfig = field(default_factory=LoopConfig)
    metrics: MetricsConfig = field(default_factory=MetricsConfig)
    monitors: MonitorsConfig = field(default_factory=MonitorsConfig)

    def refuse_contradictions(self, processes: int = 1) -> None:
        """Raise UsageError for parts that are right alone and cannot work together. Not part of construction: settings change one by one.

        processes: between how many a batch is shared, which they are known to divide.
        """
        for message in _contradictions(self, processes):
            raise UsageError(message)


def read_options(folder: Path) -> TrainingConfig:
    """The configuration of the run in this folder. Raises DataError when its options are not those of such a run."""
    path = folder / OPTIONS_FILE
    try:
        return configs.from_dict(TrainingConfig, json.loads(path.read_text(encoding='utf-8')), complete=True)
    except (UsageError, ValueError, RecursionError) as error:
        raise DataError(f'{path} was edited, damaged or written by another version: {error}') from error


def _contradictions(config: TrainingConfig, processes: int) -> Iterator[str]:
    """What to do about each pair of settings that cannot both be meant."""
    yield from _about_finding_cameras(config)
    yield from _about_poses(config)
    yield from _about_rays(config)
    yield from _about_views(config, processes)


def _about_finding_cameras(config: TrainingConfig) -> Iterator[str]:
    generator, discriminator = config.generator, config.discriminator
    if generator.pose is not None and config.reading is not None:
        yield 'Cameras are either invented (generator.pose) or read (reading); set one of them to none.'
    if generator.pose is None and config.reading is None:
        return
    what = 'reading' if generator.pose is None else 'generator.pose'
    if config.cameras is None:
        yield f'{what} needs a law of cameras for radius, field of view and range of the pitch; start from demo-pof3d or demo-unposed, which have one.'
    else:
        low, high = config.cameras.pitch_range_deg
        if low >= high:
            yield (
                f'{what} looks for cameras, and the law of cameras leaves nothing to be found: its pitch lies between {low:g} and {high:g} degrees. '
                'Widen it, or start from demo-pof3d or demo-unposed.'
            )
    if generator.conditions_on_camera or discriminator.conditions_on_camera:
        yield f'{what} finds cameras, so no network can be told them: set generator.conditions_on_camera and discriminator.conditions_on_camera to false.'
    if discriminator.pose is None:
        yield f'{what} needs a discriminator that reads poses, and discriminator.pose is none; start from demo-pof3d or demo-unposed.'


def _about_poses(config: TrainingConfig) -> Iterator[str]:
    generator, discriminator, gan = config.generator, config.discriminator, config.gan
    invents, reads = generator.pose is not None, config.reading is not None
    if gan.pose_arranged_weight > 0 and not reads:
        yield 'gan.pose_arranged_weight teaches a reader what likeness found, and reading is none; start from demo-unposed, or set the weight to 0.'
    if reads and config.reading.law == 'arranged' and config.reading.arranged == 0:
        yield 'reading.law=arranged sees classes from where likeness found them, and reading.arranged=0 looks for none; give it some, or set reading.law=read.'
    if 'PoF3D_2023' in {part.law for part in (generator.pose, discriminator.pose) if part is not None}:
        yield "The pose law 'PoF3D_2023' is that of published weights; training needs 'bounded', from which no camera is NaN."
    if invents and max(gan.views, gan.views_judged) > 1:
        yield 'A generator that invents its cameras has one for each scene; set gan.views=1.'
    if gan.pose_learner_weight > 0 and not invents:
        yield 'gan.pose_learner_weight trains the pose learner, and generator.pose is none; set it to 0.'
    if gan.pose_learner_weight > 0 and gan.pose_reading_weight == 0:
        yield 'gan.pose_learner_weight follows what the discriminator reads, and gan.pose_reading_weight=0 teaches it nothing; give it some weight.'
    if gan.pose_told_weight > 0 and discriminator.pose is None:
        yield 'gan.pose_told_weight asks what the discriminator reads; give it discriminator.pose.'
    if gan.pose_condition == 'asked' and not discriminator.conditions_on_pose:
        yield 'gan.pose_condition=asked needs discriminator.conditions_on_pose=true; without it nothing is judged under a pose.'
    turns = [f'augment.{name}=0' for name in ('xflip', 'rotate90', 'rotate') if getattr(config.augment, name) > 0]
    if turns and discriminator.pose is not None and config.ada.mode != 'noaug':
        yield f'A picture that is turned or mirrored was taken from another camera, and this discriminator reads cameras: set {" and ".join(turns)}.'


def _about_rays(config: TrainingConfig) -> Iterator[str]:
    generator, gan, rendering = config.generator, config.gan, config.generator.rendering
    if generator.superres is not None and gan.render_resolution_final is not None:
        most = generator.superres.input_resolution or generator.render_resolution
        if gan.render_resolution_final > most:
            yield (
                f'gan.render_resolution_final={gan.render_resolution_final} casts more rays than super-resolution takes, which is made for {most} pixels a '
                'side; raise generator.superres.input_resolution.'
            )
    if config.cameras is not None and rendering.far != 'box' and not rendering.near < config.cameras.radius < rendering.far:
        yield (
            f'Cameras at a distance of {config.cameras.radius:g} (cameras.radius) see nothing of what they look at: rays begin at {rendering.near:g} and end '
            f'at {rendering.far:g} (generator.rendering.near and far). Change one of them.'
        )
    if rendering.far_at_start is not None and gan.far_hold_kimg == gan.far_fade_kimg == 0:
        yield (
            'generator.rendering.far_at_start is where rays end at first, and training begins with the whole of them: give gan.far_hold_kimg and '
            'gan.far_fade_kimg, or set far_at_start to none.'
        )


def _about_views(config: TrainingConfig, processes: int) -> Iterator[str]:
    discriminator, gan = config.discriminator, config.gan
    together, group = discriminator.views_together, discriminator.mbstd_group
    rows = config.loop.batch // processes if config.loop.batch_gpu is None else config.loop.batch_gpu
    if together > 1:
        one_scene = together == gan.views == gan.views_judged and gan.view_order == 'together' and gan.mirror_weight == 0
        if not one_scene or discriminator.pose is not None:
            yield (
                f'discriminator.views_together={together} answers for {together} views of one scene: it needs gan.views={together} in both steps, '
                'gan.view_order=together, no mirror and no reader of poses.'
            )
        if rows % together:
            yield f'discriminator.views_together={together} compares {together} real pictures; a batch of {rows} cannot be divided by that.'
    shown = [views + mirrored for views in (gan.views, gan.views_judged) for mirrored in (0, 1) if mirrored == 0 or gan.mirror_weight > 0]
    parted = [count for count in shown if group > 1 and group % count]
    if parted and gan.view_order == 'together':
        yield (
            f'gan.view_order=together keeps all views of a scene in one group, and {parted[0]} pictures of a scene do not fill '
            f'discriminator.mbstd_group={group} evenly; take a multiple, or other views.'
        )
    if max(shown) > 1 and group > 1:
        if rows % group:
            yield (
                f'Several views need micro-batches that discriminator.mbstd_group={group} divides: of {rows} rows the generated pictures would form groups '
                'that real ones do not.'
            )
        if discriminator.mbstd_grouping == 'strided' and gan.view_order == 'apart':
            yield 'gan.view_order=apart separates views under discriminator.mbstd_grouping=consecutive; strided groups would bring them together again.'
