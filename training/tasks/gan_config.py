"""Weights and schedules of the game (gan.py)."""

from dataclasses import dataclass
from typing import Literal

from dnnlib.config import AnyFloat
from dnnlib.errors import UsageError
from torch_utils.precision import Precision
from training.losses.density import Region
from training.tasks.views import Mirror, Order


@dataclass(frozen=True, slots=True)
class GanConfig:
    """Weights and schedules of the GAN losses. kimg = thousands of real images seen."""

    loss: Literal['non_saturating', 'relativistic'] = 'non_saturating'
    r1_gamma: float = 1.0  # weight of the gradient penalty on real images; the first thing to tune per data set
    r1_every: int = 16
    r1_at: Literal['real', 'EG3D_2022'] = 'real'  # the image itself, or (published code) what is left of it after blur and augmentation
    r2_gamma: float = 0.0  # of the same penalty on generated images, which the relativistic loss needs (arXiv 2501.05441)
    views: int = 1  # of each generated scene, rendered from one set of planes
    views_discriminator: int | None = None  # in the discriminator's step; None: as many as in the generator's
    # Whether the discriminator's step judges the pictures of the generator's step once more, augmented anew, instead of having others made.
    shares_fakes: bool = False
    # Whether views of one scene are neighbours in the discriminator's batch: 'apart', the groups of its minibatch deviation hold different
    # scenes as those of real images do; 'together', they hold views of the same one.
    view_order: Order = 'apart'
    density_weight: float = 0.25
    density_every: int = 4
    density_points: int = 1000
    density_distance: float = 0.004  # world units
    density_region: Region = 'box'
    far_hold_kimg: float = 0.0  # rays end at generator.rendering.far_at_start for so long
    far_fade_kimg: float = 0.0  # and then reach generator.rendering.far over so long
    blur_sigma_px: float = 10.0
    blur_fade_kimg: float = 0.0  # 0: no blur
    blur_raw: Literal['both', 'EG3D_2022'] = 'both'  # raw companions: of all pictures and as strongly, or (published code) of real ones, by as many of their own pixels
    camera_swap_final: float = 0.5  # generator camera conditioning: probability of another sample's camera, after the fade
    camera_swap_fade_kimg: float = 1000.0
    pose_reading_weight: float = 1.0  # the discriminator learns to read the poses of generated pictures (PoF3D, section 3.3)
    pose_arranged_weight: float = 0.0  # and those of photographs that likeness arranged (reading.arranged)
    pose_arranged_hold_kimg: AnyFloat = 0.0  # for so long; inf: for good
    pose_arranged_fade_kimg: float = 0.0  # and then less and less over so long
    pose_learner_weight: float = 0.0  # the generator's pose learner agrees with what is read of its pictures (PoF3D)
    pose_told_weight: float = 0.0  # generated pictures show the pose that they were asked for: it can be read off them
    pose_condition: Literal['read', 'asked'] = 'read'  # under which pose a generated picture is judged: the discriminator's reading, or its camera
    # Poses that are read are vague. With a condition as vague for all pictures the discriminator cannot tell them by how exact it is.
    pose_condition_jitter_deg: float = 0.0  # standard deviation of the yaw; the pitch moves by as many radians of half its range
    pose_condition_from_kimg: float = 0.0  # until then all pictures are judged under the pose 0, which is none
    mirror_weight: float = 0.0  # each scene is also judged from the mirrored camera ("symmetry", PoF3D)
    mirror_every: int = 1  # iterations; weighted by the interval
    mirror: Mirror = 'left_right'
    style_mixing_probability: float = 0.0
    render_resolution_final: int | None = None  # None: the render resolution never changes
    render_resolution_fade_kimg: float = 1000.0
    w_average_beta: float = 0.998
    precision_discriminator: Precision = 'fp32'
    precision_backbone: Precision = 'fp32'

    def __post_init__(self) -> None:
        if self.r1_every < 1 or self.density_every < 1 or self.mirror_every < 1:
            raise UsageError(
                f'gan.r1_every, gan.density_every and gan.mirror_every are intervals of at least 1; found {self.r1_every}, {self.density_every} '
                f'and {self.mirror_every}.'
            )
        names = ('r1_gamma', 'r2_gamma', 'density_weight', 'pose_reading_weight', 'pose_learner_weight', 'pose_told_weight', 'mirror_weight',
                 'pose_condition_jitter_deg', 'pose_condition_from_kimg', 'pose_arranged_weight', 'pose_arranged_hold_kimg', 'pose_arranged_fade_kimg',
                 'far_hold_kimg', 'far_fade_kimg', 'blur_sigma_px', 'blur_fade_kimg', 'camera_swap_fade_kimg', 'render_resolution_fade_kimg')
        negative = [name for name in names if not getattr(self, name) >= 0]  # not a number is refused, too
        if negative:
            raise UsageError(f'gan.{negative[0]} cannot be negative; found {getattr(self, negative[0])}.')
        for name in ('camera_swap_final', 'style_mixing_probability', 'w_average_beta'):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f'gan.{name} lies between 0 and 1; found {getattr(self, name)}.')
        for name in ('views', 'views_discriminator'):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f'gan.{name} is the number of views of a scene and must be at least 1; found {value}.')

        if self.shares_fakes and self.views_discriminator not in (None, self.views):
            raise UsageError(
                f'gan.shares_fakes shows the discriminator the pictures of the generator, {self.views} of each scene, and gan.views_discriminator='
                f'{self.views_discriminator} asks for others; leave out one of them.'
            )

    @property
    def views_judged(self) -> int:
        """Views of a scene in the discriminator's step."""
        return self.views if self.views_discriminator is None else self.views_discriminator
