"""The training step of the papers: each loss and each lazy regulariser with forward passes and an optimiser step of its own.

StyleGAN2's appendix B: R1 every 16 steps and (EG3D's supplement) the density regulariser every 4, their losses multiplied by the interval,
Adam's constants corrected for the additional steps. The optimiser is PyTorch's default, the moving average a loop over tensors.
"""

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.naive.discriminator import Discriminator
from benchmarks.naive.generator import Generator
from training.cameras.camera import Camera
from training.data.item import Batch
from training.loop import OptimiserConfig
from training.tasks.conditions import Conditions
from training.tasks.gan_config import GanConfig

CAMERA_SWAP = 0.5  # EG3D's generator pose conditioning: how often another sample's camera is told
AVERAGE_BETA = 0.998


class Training:
    """Networks, optimisers and the moving average. `batch` are the real images, `fakes` what the generated ones are asked to be."""

    def __init__(
        self, generator: Generator, discriminator: Discriminator, config: GanConfig, optimisers: Sequence[OptimiserConfig], batch: Batch,
        fakes: Conditions, random: torch.Generator,
    ) -> None:
        self.generator, self.discriminator, self.config = generator.train(), discriminator.train(), config
        self.average = copy.deepcopy(generator).eval().requires_grad_(False)
        self.batch, self.fakes, self.random = batch, fakes, random
        on_generator, on_discriminator = optimisers
        self.generator_optimiser = adam(generator, on_generator, config.density_every if config.density_weight > 0 else None)
        self.discriminator_optimiser = adam(discriminator, on_discriminator, config.r1_every if config.r1_gamma > 0 else None)

    def generator_main(self) -> None:
        """-log D of fakes."""
        self._begin(self.generator, self.discriminator, self.generator_optimiser)
        _, image, raw = self._fake()
        F.softplus(-self._judge(image, raw, self.fakes.classes, self.fakes.camera)).mean().backward()
        self.generator_optimiser.step()

    def generator_density(self) -> None:
        """Neighbouring points should have similar densities; on planes of a generator pass of its own."""
        config, side = self.config, self.generator.config.rendering.box_side
        self._begin(self.generator, self.discriminator, self.generator_optimiser)
        planes = self.generator.planes(self._ws(), self.random)
        first = (self._draw(torch.rand, config.density_points, 3) - 0.5) * side
        second = first + self._draw(torch.randn, config.density_points, 3) * config.density_distance
        density, _ = self.generator.query(planes, torch.cat([first, second], dim=1))
        one, other = density.chunk(2, dim=1)
        (F.l1_loss(one, other) * (config.density_weight * config.density_every)).backward()
        self.generator_optimiser.step()

    def discriminator_main(self) -> None:
        """-log (1 - D) of fakes, then -log D of reals."""
        self._begin(self.discriminator, self.generator, self.discriminator_optimiser)
        with torch.no_grad():
            ws, image, raw = self._fake()
            average = self.generator.mapping_network.w_avg
            average.copy_(ws[:, 0].mean(dim=0).lerp(average, AVERAGE_BETA))
        F.softplus(self._judge(image, raw, self.fakes.classes, self.fakes.camera)).mean().backward()
        image = self.batch.images
        F.softplus(-self._judge(image, self._raw(image), self.batch.classes, self.batch.camera)).mean().backward()
        self.discriminator_optimiser.step()

    def discriminator_r1(self) -> None:
        """The squared gradient of D at real images (arXiv 1801.04406), on a forward pass of its own."""
        self._begin(self.discriminator, self.generator, self.discriminator_optimiser)
        image = self.batch.images.detach().requires_grad_()
        logits = self._judge(image, self._raw(image), self.batch.classes, self.batch.camera)
        (gradient,) = torch.autograd.grad(logits.sum(), image, create_graph=True)
        penalty = gradient.square().sum(dim=(1, 2, 3)).mean()
        (penalty * (self.config.r1_gamma / 2 * self.config.r1_every)).backward()
        self.discriminator_optimiser.step()

    @torch.no_grad()
    def update_average(self) -> None:
        """The moving average of the generator's weights; buffers are copied."""
        for ours, theirs in zip(self.average.parameters(), self.generator.parameters(), strict=True):
            ours.copy_(theirs.lerp(ours, AVERAGE_BETA))
        for ours, theirs in zip(self.average.buffers(), self.generator.buffers(), strict=True):
            ours.copy_(theirs)

    def _begin(self, trained: nn.Module, other: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        trained.requires_grad_(True)
        other.requires_grad_(False)
        optimiser.zero_grad(set_to_none=True)

    def _fake(self) -> tuple[Tensor, Tensor, Tensor | None]:
        ws = self._ws()
        out = self.generator.render(self.generator.planes(ws, self.random), ws, self.fakes.camera, generator=self.random)
        return ws, out.image, out.image_raw

    def _ws(self) -> Tensor:
        z = self._draw(torch.randn, self.generator.config.z_dim)
        camera = self.fakes.camera
        if self.generator.config.conditions_on_camera:
            swaps = (self._draw(torch.rand) < CAMERA_SWAP)[:, None, None]
            camera = Camera(
                torch.where(swaps, camera.world_from_camera.roll(1, 0), camera.world_from_camera),
                torch.where(swaps, camera.intrinsics.roll(1, 0), camera.intrinsics),
            )
        return self.generator.mapping(z, self.fakes.classes, camera)

    def _raw(self, image: Tensor) -> Tensor | None:
        side = self.generator.config.render_resolution
        return F.interpolate(image, (side, side), mode='bilinear', antialias=True) if self.discriminator.config.see == 'dual' else None

    def _judge(self, image: Tensor, raw: Tensor | None, classes: Tensor | None, camera: Camera | None) -> Tensor:
        return self.discriminator(image, raw, classes, camera)

    def _draw(self, draw, *shape: int) -> Tensor:
        """[N, *shape] from torch.rand or torch.randn."""
        return draw(len(self.batch), *shape, device=self.random.device, generator=self.random)


def adam(network: nn.Module, config: OptimiserConfig, interval: int | None) -> torch.optim.Adam:
    """Adam whose constants allow for one more step in every `interval` (StyleGAN2, appendix B)."""
    c = 1.0 if interval is None else interval / (interval + 1)
    return torch.optim.Adam(network.parameters(), lr=config.learning_rate * c, betas=(config.beta1**c, config.beta2**c), eps=config.epsilon)
