"""The whole configuration of a training run: one frozen dataclass, composed of those that stand beside what they configure."""

from dataclasses import dataclass, field

from dnnlib.errors import UsageError
from training.augment.controller import AdaConfig
from training.augment.pipe import AUGMENT_PRESETS, AugmentConfig
from training.cameras.distributions import LawConfig
from training.loop import LoopConfig, OptimiserConfig
from training.networks.discriminator import DiscriminatorConfig
from training.networks.generator3d import GeneratorConfig
from training.tasks.gan import GanConfig
from training.tasks.readings import ReadingConfig


@dataclass(frozen=True, slots=True)
class DataConfig:
    """Where the photographs are and how they are shown."""

    path: str = ''  # zip, folder, or 'synthetic:...'
    mirror: bool = False  # show each image (and its camera) left-right flipped half of the time
    use_classes: bool = True  # condition on the classes that the data have


@dataclass(frozen=True, slots=True)
class MetricsConfig:
    """Metrics computed at every snapshot."""

    names: tuple[str, ...] = ()
    num: int = 2000  # images


@dataclass(frozen=True, slots=True)
class MonitorsConfig:
    """How often training looks for failures that no loss shows (monitors.py), and at how many generated images."""

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
