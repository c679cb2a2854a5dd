"""Pictures from a trained generator: all of it, and another view of planes that are there already."""

from dataclasses import dataclass, replace

import torch

from benchmarks import work
from benchmarks.cases.case import (
    COMPILED,
    GRAPH,
    KERNELS,
    KERNELS_BF16,
    NAIVE,
    NAIVE_TUNED,
    REFERENCE,
    Target,
    as_contestant,
    compiled,
    recorded,
)
from benchmarks.naive.generator import Generator as NaiveGenerator
from benchmarks.timing import Part
from dnnlib import config as configs
from torch_utils.precision import autocast
from training.cameras.orbit import orbit
from training.networks.generator3d import Generator3D, GeneratorConfig
from training.presets import find_preset


@dataclass(frozen=True, slots=True)
class InferenceCase:
    """`images` pictures by the preset's generator, `side`^2 rays each; `cached`: planes and latents are given."""

    preset: str
    side: int
    images: int = 1
    cached: bool = False
    settings: tuple[str, ...] = ()
    targets: tuple[Target, ...] = ()

    measures_memory = True
    contestants = (NAIVE, NAIVE_TUNED, REFERENCE, COMPILED, KERNELS, KERNELS_BF16, GRAPH)

    @property
    def name(self) -> str:
        what = 'from cached planes' if self.cached else 'from latents'
        return f'`{self.preset}`, {self.config().image_resolution} px {what}, {self.side}^2 rays, batch {self.images}'

    def config(self) -> GeneratorConfig:
        return configs.override(find_preset(self.preset), list(self.settings)).generator

    def work(self) -> work.Work:
        config = self.config()
        whole = work.generator(config, self.side**2)
        return (whole + work.backbone(config) * -1 if self.cached else whole) * self.images

    def small(self) -> 'InferenceCase':
        tiny = ('generator.synthesis.channels=', 'generator.synthesis.plane_resolution=16', 'generator.synthesis.channel_max=4')
        return replace(self, side=8, settings=(*self.settings, *tiny))

    def build(self, contestant: str, device: torch.device) -> tuple[Part, ...]:
        config = self.config()
        in_bf16 = contestant in (KERNELS_BF16, GRAPH)
        if in_bf16 and config.superres:
            config = replace(config, superres=replace(config.superres, precision='bf16'))
        with torch.random.fork_rng():
            torch.random.manual_seed(0)
            ours = Generator3D(config)
            z = torch.randn(self.images, ours.z_dim).to(device)
        camera = orbit(torch.linspace(-0.4, 0.4, self.images), 0.1, 2.7, focal=4.2647).to(device)
        network = ours
        if contestant in (NAIVE, NAIVE_TUNED):
            network = NaiveGenerator(ours.config)
            network.load_state_dict(ours.state_dict())
        if contestant == NAIVE_TUNED:
            network.to(memory_format=torch.channels_last)
        network.to(device).eval().requires_grad_(False)
        render, make_planes = compiled(contestant, network.render), compiled(contestant, network.planes)
        precision = 'bf16' if in_bf16 else 'fp32'

        def from_latents() -> None:
            with torch.no_grad():
                ws = network.mapping(z, None, camera)  # in 32 bits, as in training
                with autocast(precision, device):
                    render(make_planes(ws).float(), ws, camera, self.side)

        def from_planes() -> None:
            with torch.no_grad(), autocast(precision, device):
                render(planes, ws, camera, self.side)

        with torch.no_grad():
            ws = network.mapping(z, None, camera)
            planes = network.planes(ws)
        run = from_planes if self.cached else from_latents
        if contestant == GRAPH:
            run = recorded(run, device)
        return (Part('view' if self.cached else 'picture', as_contestant(contestant, run)),)
