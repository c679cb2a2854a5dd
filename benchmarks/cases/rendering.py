"""The renderer alone: planes, decoder and cameras in, 32 features per pixel out; forward, or with gradients to planes and decoder."""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from benchmarks import work
from benchmarks.cases.case import COMPILED, KERNELS, NAIVE, NAIVE_TUNED, REFERENCE, Target, as_contestant, compiled
from benchmarks.naive.generator import Generator as NaiveGenerator
from benchmarks.timing import Part
from torch_utils.rng import Stream
from training.cameras.orbit import orbit
from training.networks.generator3d import Generator3D, GeneratorConfig
from training.networks.radiance import RadianceConfig
from training.networks.superres import SuperresConfig
from training.networks.synthesis import SynthesisConfig
from training.rendering.renderer import RenderingConfig


@dataclass(frozen=True)
class RendererCase:
    """`images` of `side`^2 rays with `coarse` + `fine` samples each, jittered as in training, from planes of `plane_side`^2 texels."""

    side: int
    images: int = 1
    coarse: int = 48
    fine: int = 48
    plane_side: int = 256
    plane_channels: int = 32
    hidden: int = 64
    features: int = 32
    backward: bool = False
    targets: tuple[Target, ...] = ()

    measures_memory = True
    contestants = (NAIVE, NAIVE_TUNED, REFERENCE, COMPILED, KERNELS)

    @property
    def name(self) -> str:
        images = f'{self.images} images of ' if self.images > 1 else ''
        direction = 'forward + backward' if self.backward else 'forward'
        return f'{direction}, {images}{self.side}^2 rays x ({self.coarse} + {self.fine}), planes {self.plane_side}^2'

    @cached_property
    def config(self) -> GeneratorConfig:
        """EG3D's faces; the backbone is as small as it can be, since the planes are given."""
        return GeneratorConfig(
            z_dim=8,
            w_dim=8,
            image_resolution=self.side,
            render_resolution=self.side,
            synthesis=SynthesisConfig(plane_resolution=self.plane_side, plane_channels=self.plane_channels, channel_base=4, channel_max=1),
            radiance=RadianceConfig(hidden=(self.hidden,), features=self.features),
            rendering=RenderingConfig(samples_coarse=self.coarse, samples_fine=self.fine, near=2.25, far=3.3),
            superres=SuperresConfig(channels=(1, 1)),
        )

    def work(self) -> work.Work:
        return work.renderer(self.config, self.side**2, backward=self.backward) * self.images

    def small(self) -> 'RendererCase':
        return replace(self, side=8, plane_side=16)

    def build(self, contestant: str, device: torch.device) -> tuple[Part, ...]:
        random = torch.Generator().manual_seed(0)
        ours = Generator3D(self.config)
        with torch.no_grad():
            for parameter in ours.radiance.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=random))
        camera = orbit(torch.linspace(-0.4, 0.4, self.images), 0.1, 2.7, focal=4.2647).to(device)
        planes = random_planes(self.images, self.plane_channels, self.plane_side, random).to(device)
        cotangent = torch.randn(self.images, self.features, self.side, self.side, generator=random).to(device)
        if contestant in (NAIVE, NAIVE_TUNED):
            naive = NaiveGenerator(self.config)
            naive.load_state_dict(ours.state_dict())
            naive.to(device)
            draws = torch.Generator(device).manual_seed(0)
            planes = planes.contiguous()
            run = self._run(naive, planes, cotangent, lambda p: naive.cast(p, camera, self.side, draws)[0])
            return (Part('render', as_contestant(contestant, run)),)
        ours.superres = AllFeatures()
        ours.to(device)
        ws = torch.zeros(self.images, ours.num_ws, ours.w_dim, device=device)
        stream = Stream(seed=0, step=0, phase='benchmark', rows=tuple(range(self.images)))
        render = compiled(contestant, lambda p: ours.render(p, ws, camera, stream=stream).image)
        return (Part('render', as_contestant(contestant, self._run(ours, planes, cotangent, render))),)

    def _run(self, network: nn.Module, planes: Tensor, cotangent: Tensor, render):
        parameters = list(network.radiance.parameters())

        def forward() -> None:
            with torch.no_grad():
                render(planes)

        def forward_and_backward() -> None:
            # The gradients are let go of at once: their memory is part of what the work takes.
            torch.autograd.grad(render(leaf), [leaf, *parameters], cotangent)

        leaf = planes.detach().requires_grad_()
        return forward_and_backward if self.backward else forward


class AllFeatures(nn.Module):
    """Stands where super-resolution does and shows all rendered features as the picture."""

    def forward(self, image_raw: Tensor, features: Tensor, w: Tensor, stream: Stream | None = None) -> tuple[Tensor, Tensor]:
        return features, image_raw


def random_planes(images: int, channels: int, side: int, random: torch.Generator) -> Tensor:
    """[N, 3, C, H, W], channels innermost in memory as the backbone leaves them."""
    return torch.randn(images, side, side, 3 * channels, generator=random).permute(0, 3, 1, 2).unflatten(1, (3, channels))
