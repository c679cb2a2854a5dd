"""The GAN of EG3D (arXiv 2112.07945): one generator of scenes, one discriminator of images, cameras known or drawn from a law.

Regularisers are lazy (StyleGAN2, arXiv 1912.04958, appendix B) but share the optimiser step and the forward pass of the main loss in
the iterations in which they are due, multiplied by their interval. The published code gives them steps of their own, which costs one
more discriminator pass and asks for corrected Adam constants; the expected gradient is the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from dnnlib.errors import UsageError
from torch_utils.distributed import World
from torch_utils.precision import Precision, autocast
from torch_utils.rng import Stream
from training import schedules
from training.augment.blur import blur
from training.augment.controller import AdaController
from training.augment.pipe import AugmentPipe
from training.cameras.camera import Camera
from training.data.item import Batch
from training.losses.adversarial import discriminator_loss_on_fakes, discriminator_loss_on_reals, generator_loss
from training.losses.density import Region, density_smoothness, neighbouring_points
from training.losses.gradient_penalty import r1_penalty
from training.networks.discriminator import Discriminator
from training.networks.generator3d import Generator3D
from training.networks.outputs import Output
from training.task import Moment, Phase
from training.tasks.conditions import Conditions, ConditionSource


@dataclass(frozen=True, slots=True)
class GanConfig:
    """Weights and schedules of the GAN losses. kimg = thousands of real images seen."""

    r1_gamma: float = 1.0  # weight of the gradient penalty; the first thing to tune per data set
    r1_every: int = 16
    r1_at: Literal['real', 'EG3D_2022'] = 'real'  # the image itself, or (published code) what is left of it after blur and augmentation
    density_weight: float = 0.25
    density_every: int = 4
    density_points: int = 1000
    density_distance: float = 0.004  # world units
    density_region: Region = 'box'
    blur_sigma_px: float = 10.0
    blur_fade_kimg: float = 0.0  # 0: no blur
    camera_swap_final: float = 0.5  # generator camera conditioning: probability of another sample's camera, after the fade
    camera_swap_fade_kimg: float = 1000.0
    style_mixing_probability: float = 0.0
    render_resolution_final: int | None = None  # None: the render resolution never changes
    render_resolution_fade_kimg: float = 1000.0
    w_average_beta: float = 0.998
    precision_discriminator: Precision = 'fp32'
    precision_backbone: Precision = 'fp32'

    def __post_init__(self) -> None:
        if self.r1_every < 1 or self.density_every < 1:
            raise UsageError(f'gan.r1_every and gan.density_every are intervals of at least 1; found {self.r1_every} and {self.density_every}.')
        if self.r1_gamma < 0 or self.density_weight < 0:
            raise UsageError(f'gan.r1_gamma and gan.density_weight cannot be negative; found {self.r1_gamma} and {self.density_weight}.')


class GanTask:
    """Wiring of EG3D's GAN. Implements training.task.Task."""

    averaged = ('generator',)
    phases = (Phase('G', trains='generator'), Phase('D', trains='discriminator'))

    def __init__(
        self,
        config: GanConfig,
        generator: Generator3D,
        discriminator: Discriminator,
        conditions: ConditionSource,
        augment: AugmentPipe,
        ada: AdaController,
    ) -> None:
        self.config = config
        self.networks = {'generator': generator, 'discriminator': discriminator}
        self.generator, self.discriminator = generator, discriminator
        self.conditions = conditions
        self.augment, self.ada = augment, ada
        self._seen_ws: list[Tensor] = []  # of this iteration's micro-batches
        self._seen_signs: list[Tensor] = []

    def terms(self, phase: Phase, batch: Batch, moment: Moment) -> Iterator[Tensor]:
        yield from self._generator_terms(batch, moment) if phase.trains == 'generator' else self._discriminator_terms(batch, moment)

    def finish_step(self, moment: Moment, world: World) -> None:
        images = sum(len(signs) for signs in self._seen_signs) * world.size
        mean_w = torch.cat(self._seen_ws).mean(dim=0)
        mean_sign = torch.cat(self._seen_signs).mean()
        self._seen_ws, self._seen_signs = [], []
        world.all_reduce_mean_([mean_w, mean_sign])  # every rank has the same share, so the mean of means is the mean
        self.generator.track_w(mean_w[None], self.config.w_average_beta)
        self.ada.observe(mean_sign, images)
        moment.report('Progress/augment', self.ada.p)

    def state_dict(self) -> dict[str, float]:
        return self.ada.state_dict()

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.ada.load_state_dict(state)

    def _generator_terms(self, batch: Batch, moment: Moment) -> Iterator[Tensor]:
        conditions = self.conditions.sample(moment.stream, batch.images.device)
        ws = self._ws(conditions, moment)
        self._seen_ws.append(ws.detach()[:, 0])
        planes = self._planes(ws, moment.stream)
        fake = self.generator.render(planes, ws, conditions.camera, self._resolution(moment), stream=moment.stream)
        logits = self._judge(fake.image, self._raw_of_fake(fake), conditions.classes, conditions.camera, moment)
        loss = generator_loss(logits)
        moment.report('Loss/scores/fake', logits)
        moment.report('Loss/signs/fake', logits.sign())
        moment.report('Loss/G/loss', loss)
        if self.config.density_weight > 0 and moment.step % self.config.density_every == 0:
            roughness = self._roughness(planes, moment.stream)
            moment.report('Loss/G/density', roughness)
            loss = loss + roughness * (self.config.density_weight * self.config.density_every)
        yield loss

    def _ws(self, conditions: Conditions, moment: Moment) -> Tensor:
        """[N, num_ws, w_dim], with camera swapping and style mixing."""
        generator, config, stream = self.generator, self.config, moment.stream
        camera = self._conditioning_camera(conditions.camera, moment) if generator.config.conditions_on_camera else None
        ws = generator.mapping(stream.normal('z', generator.config.z_dim, device=conditions.camera.origins.device), conditions.classes, camera)
        if config.style_mixing_probability > 0:
            device = ws.device
            other = generator.mapping(stream.normal('z/mixed', generator.config.z_dim, device=device), conditions.classes, camera)
            cutoff = 1 + stream.integers('mixing/cutoff', ws.shape[1] - 1).to(device)
            mixes = stream.bernoulli('mixing/happens', config.style_mixing_probability).to(device)
            takes_other = mixes[:, None] & (torch.arange(ws.shape[1], device=device)[None] >= cutoff[:, None])
            ws = torch.where(takes_other[:, :, None], other, ws)
        return ws

    def _conditioning_camera(self, camera: Camera, moment: Moment) -> Camera:
        """The rendering camera, or with the scheduled probability another draw: else the scene could depend on where it is seen from."""
        probability = schedules.camera_swap_probability(moment.nimg, self.config.camera_swap_final, self.config.camera_swap_fade_kimg)
        swaps = moment.stream.bernoulli('camera/swap', probability).to(camera.origins.device)
        other = self.conditions.sample(moment.stream.for_phase(f'{moment.stream.phase}/camera/other'), camera.origins.device).camera
        return Camera(
            torch.where(swaps[:, None, None], other.world_from_camera, camera.world_from_camera),
            torch.where(swaps[:, None, None], other.intrinsics, camera.intrinsics),
        )

    def _planes(self, ws: Tensor, stream: Stream) -> Tensor:
        with autocast(self.config.precision_backbone, ws.device):
            planes = self.generator.planes(ws, noise='random', stream=stream)
        return planes.float()

    def _roughness(self, planes: Tensor, stream: Stream) -> Tensor:
        config = self.config
        box_side = self.generator.config.rendering.box_side
        points = neighbouring_points(stream, config.density_points, config.density_distance, box_side, config.density_region, planes.device)
        return density_smoothness(lambda p: self.generator.density(planes, p), points)

    def _discriminator_terms(self, batch: Batch, moment: Moment) -> Iterator[Tensor]:
        conditions = self.conditions.sample(moment.stream, batch.images.device)
        with torch.no_grad():
            ws = self._ws(conditions, moment)
            planes = self._planes(ws, moment.stream)
            fake = self.generator.render(planes, ws, conditions.camera, self._resolution(moment), stream=moment.stream)
        logits = self._judge(fake.image, self._raw_of_fake(fake), conditions.classes, conditions.camera, moment)
        fake_loss = discriminator_loss_on_fakes(logits)
        yield fake_loss

        due = self.config.r1_gamma > 0 and moment.step % self.config.r1_every == 0
        image = batch.images.detach().requires_grad_(due)
        raw = self._raw_of_real(image, moment)
        seen: list[Tensor] = []
        logits = self._judge(image, raw, batch.classes, batch.camera, moment, is_real=True, seen=seen)
        real_loss = discriminator_loss_on_reals(logits)
        self._seen_signs.append(logits.detach().sign())
        moment.report('Loss/scores/real', logits)
        moment.report('Loss/signs/real', logits.sign())
        moment.report('Loss/D/loss', fake_loss.detach() + real_loss)
        if due:
            penalty = r1_penalty(logits, [image] if self.config.r1_at == 'real' else seen)
            moment.report('Loss/r1_penalty', penalty)
            real_loss = real_loss + penalty * (self.config.r1_gamma / 2 * self.config.r1_every)
        yield real_loss

    def _judge(
        self,
        image: Tensor,
        raw: Tensor | None,
        classes: Tensor | None,
        camera: Camera | None,
        moment: Moment,
        is_real: bool = False,
        seen: list[Tensor] | None = None,
    ) -> Tensor:
        """Logits [N] of what the discriminator is shown: blurred, augmented. `seen` receives those tensors.

        The raw companion is blurred for real images only, as in the published code.
        """
        sigma = schedules.blur_sigma_px(moment.nimg, self.config.blur_sigma_px, self.config.blur_fade_kimg)
        image = blur(image, sigma)
        if raw is not None and is_real:
            raw = blur(raw, sigma)
        image, raw = self._augmented(image, raw, moment.stream.for_phase(f'{moment.stream.phase}/{"real" if is_real else "fake"}'))
        if seen is not None:
            seen.extend(tensor for tensor in (image, raw) if tensor is not None)
        with autocast(self.config.precision_discriminator, image.device):
            sees_camera = self.discriminator.config.conditions_on_camera
            return self.discriminator(image, raw, classes, camera if sees_camera else None).float()

    def _augmented(self, image: Tensor, raw: Tensor | None, stream: Stream) -> tuple[Tensor, Tensor | None]:
        if self.ada.p == 0 or self.augment.is_identity:
            return image, raw
        if raw is None:
            return self.augment(image, self.ada.p, stream), None
        # One transform for the pair: the discriminator compares the two pictures with each other.
        pair = torch.cat([image, F.interpolate(raw, image.shape[-2:], mode='bilinear', antialias=True)], dim=1)
        image, enlarged_raw = self.augment(pair, self.ada.p, stream).split(image.shape[1], dim=1)
        return image, F.interpolate(enlarged_raw, raw.shape[-2:], mode='bilinear', antialias=True)

    def _raw_of_fake(self, fake: Output) -> Tensor | None:
        return fake.image_raw if self.discriminator.config.see == 'dual' else None

    def _raw_of_real(self, image: Tensor, moment: Moment) -> Tensor | None:
        if self.discriminator.config.see != 'dual':
            return None
        size = self._resolution(moment)
        return F.interpolate(image, (size, size), mode='bilinear', antialias=True)

    def _resolution(self, moment: Moment) -> int:
        start, config = self.generator.config.render_resolution, self.config
        final = start if config.render_resolution_final is None else config.render_resolution_final
        return schedules.render_resolution(moment.nimg, start, final, config.render_resolution_fade_kimg)
