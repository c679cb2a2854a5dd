"""EG3D's generator from naive parts: a StyleGAN2 backbone makes three planes, rays are marched through them, a second network enlarges.

State dicts of training.networks.generator3d.Generator3D load into it strictly. What the papers do not have (extra blocks, flat pictures) is
refused.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.naive import rendering
from benchmarks.naive.layers import Dense, ModulatedConv, ToImage, normalised, upsample
from training.cameras.camera import Camera
from training.cameras.condition import camera_condition
from training.cameras.convention import EG3D_NUMBERS
from training.cameras.rays import rays
from training.networks.generator3d import GeneratorConfig
from training.networks.mapping import MappingConfig
from training.networks.outputs import Output
from training.networks.radiance import RadianceConfig
from training.networks.superres import SuperresConfig
from training.networks.synthesis import SynthesisConfig
from training.rendering.planes import PLANE_AXES


class Mapping(nn.Module):
    """Latent, camera and class, each normalised, concatenated and sent through dense layers; `z_dim` 0 is the discriminator's."""

    def __init__(self, z_dim: int, num_classes: int, sees_camera: bool, width: int, config: MappingConfig) -> None:
        super().__init__()
        self.embed_camera = Dense(EG3D_NUMBERS, width) if sees_camera else None
        self.embed_class = nn.Embedding(num_classes, width) if num_classes else None
        widths = [z_dim + width * (sees_camera + (num_classes > 0))] + [width] * config.layers
        self.layers = nn.ModuleList(Dense(a, b, lrelu=True, lr_multiplier=config.lr_multiplier) for a, b in pairwise(widths))
        if z_dim:
            self.register_buffer('w_avg', torch.zeros(width))

    def forward(self, z: Tensor | None, classes: Tensor | None, camera: Camera | None) -> Tensor:
        parts = [] if z is None else [normalised(z)]
        if self.embed_camera is not None:
            parts.append(normalised(self.embed_camera(camera_condition(camera))))
        if self.embed_class is not None:
            parts.append(normalised(self.embed_class(classes)))
        x = torch.cat(parts, dim=1)
        for layer in self.layers:
            x = layer(x)
        return x


class Block(nn.Module):
    """Two modulated convolutions and a picture, which is added to the enlarged picture of the block below."""

    def __init__(
        self, in_channels: int, out_channels: int, image_channels: int, *, w_dim: int, resolution: int, up: bool, has_noise: bool,
        clamp: float | None,
    ) -> None:
        super().__init__()
        options = {'w_dim': w_dim, 'resolution': resolution, 'has_noise': has_noise, 'clamp': clamp}
        self.conv0 = ModulatedConv(in_channels, out_channels, up=up, **options)
        self.conv1 = ModulatedConv(out_channels, out_channels, **options)
        self.to_image = ToImage(out_channels, image_channels, w_dim=w_dim, clamp=clamp)
        self.up = up

    def forward(self, x: Tensor, image: Tensor, ws: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """ws [N, 3, w_dim], one row per layer."""
        x = self.conv0(x, ws[:, 0], generator)
        x = self.conv1(x, ws[:, 1], generator)
        if self.up:
            image = upsample(image)
        return x, image + self.to_image(x, ws[:, 2])


class FirstBlock(nn.Module):
    """The learned constant, one convolution, the first picture."""

    def __init__(self, channels: int, image_channels: int, *, w_dim: int, has_noise: bool, clamp: float | None) -> None:
        super().__init__()
        self.const = nn.Parameter(torch.randn(channels, 4, 4))
        self.conv1 = ModulatedConv(channels, channels, w_dim=w_dim, resolution=4, has_noise=has_noise, clamp=clamp)
        self.to_image = ToImage(channels, image_channels, w_dim=w_dim, clamp=clamp)

    def forward(self, ws: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        x = self.conv1(self.const.repeat(len(ws), 1, 1, 1), ws[:, 0], generator)
        return x, self.to_image(x, ws[:, 1])


class Synthesis(nn.Module):
    """ws [N, 2 log2(R) - 2, w_dim] -> an image of `image_channels` channels [N, K, R, R]."""

    def __init__(self, w_dim: int, image_channels: int, config: SynthesisConfig) -> None:
        super().__init__()
        assert not config.extra_blocks, 'the baseline follows the papers, which have no extra blocks'
        widths = config.widths()
        options = {'w_dim': w_dim, 'has_noise': config.noise, 'clamp': config.clamp}
        self.r4 = FirstBlock(widths[4], image_channels, **options)
        self.blocks = nn.ModuleDict(
            {f'r{r}': Block(widths[r // 2], widths[r], image_channels, resolution=r, up=True, **options) for r in widths if r > 4}
        )
        self.num_ws = 2 * len(widths)

    def forward(self, ws: Tensor, generator: torch.Generator | None) -> Tensor:
        x, image = self.r4(ws[:, :2], generator)
        for i, block in enumerate(self.blocks.values()):
            x, image = block(x, image, ws[:, 2 * i + 1 : 2 * i + 4], generator)
        return image


class Decoder(nn.Module):
    """Features of points [N, M, C] -> raw density [N, M, 1], colours [N, M, F]: dense layers and softplus."""

    def __init__(self, channels: int, config: RadianceConfig) -> None:
        super().__init__()
        widths = [channels, *config.hidden, 1 + config.features]
        self.layers = nn.ModuleList(Dense(a, b, lr_multiplier=config.lr_multiplier) for a, b in pairwise(widths))
        self.outside, self.core = config.outside, config.core

    def forward(self, x: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        for layer in self.layers[:-1]:
            x = F.softplus(layer(x))
        x = self.layers[-1](x)
        density, colours = x[..., :1], torch.sigmoid(x[..., 1:]) * 1.002 - 0.001
        if self.outside is not None:
            density = density - self.outside.strength * F.relu(points.norm(dim=-1, keepdim=True) - self.outside.radius)
        if self.core is not None:
            density = density + self.core.strength * F.relu(self.core.radius - points.norm(dim=-1, keepdim=True))
        return density, colours


class Superres(nn.Module):
    """Features and raw picture resized to the input resolution, then blocks that share the last latent."""

    def __init__(self, features: int, w_dim: int, render_resolution: int, image_resolution: int, config: SuperresConfig) -> None:
        super().__init__()
        assert not config.raw_includes_first_block and config.noise == 'none', 'the baseline has neither in its super-resolution'
        self.side, layout = config.layout(render_resolution, image_resolution)
        self.antialias = config.antialias
        self.blocks = nn.ModuleList()
        resolution = self.side
        for width, up in layout:
            resolution *= 2 if up else 1
            self.blocks.append(Block(features, width, 3, w_dim=w_dim, resolution=resolution, up=up, has_noise=False, clamp=config.clamp))
            features = width

    def forward(self, image: Tensor, x: Tensor, w: Tensor) -> Tensor:
        if x.shape[-1] != self.side:
            x, image = (
                F.interpolate(t, size=(self.side, self.side), mode='bilinear', align_corners=False, antialias=self.antialias)
                for t in (x, image)
            )
        for block in self.blocks:
            x, image = block(x, image, w[:, None].expand(-1, 3, -1), None)
        return image


class Generator(nn.Module):
    """z, camera -> planes -> features -> picture. A torch.Generator makes it jitter samples and draw noise, as training does."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        assert config.picture == 'rendered', 'the baseline renders'
        axes = PLANE_AXES[config.rendering.axes]
        self.config = config
        self.mapping_network = Mapping(config.z_dim, config.num_classes, config.conditions_on_camera, config.w_dim, config.mapping)
        self.synthesis = Synthesis(config.w_dim, len(axes) * config.synthesis.plane_channels, config.synthesis)
        self.radiance = Decoder(config.synthesis.plane_channels, config.radiance)
        self.superres = None
        if config.superres is not None:
            self.superres = Superres(
                config.radiance.features, config.w_dim, config.render_resolution, config.image_resolution, config.superres
            )
        self.register_buffer('axes', axes.clone(), persistent=False)

    def mapping(self, z: Tensor, classes: Tensor | None, camera: Camera | None) -> Tensor:
        """[N, num_ws, w_dim]."""
        return self.mapping_network(z, classes, camera)[:, None].repeat(1, self.synthesis.num_ws, 1)

    def planes(self, ws: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """[N, 3, C, H, W]."""
        return self.synthesis(ws, generator).unflatten(1, (len(self.axes), -1))

    def query(self, planes: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """Raw density [N, M, 1] and features [N, M, F] at world points [N, M, 3]."""
        sampled = rendering.sample_planes(planes, points * (2 / self.config.rendering.box_side), self.axes)
        return self.radiance(sampled, points)

    def render(
        self, planes: Tensor, ws: Tensor, camera: Camera, resolution: int | None = None, generator: torch.Generator | None = None
    ) -> Output:
        """The picture seen by the cameras; `resolution`^2 rays."""
        features, depth, opacity = self.cast(planes, camera, resolution or self.config.render_resolution, generator)
        image_raw = image = features[:, :3]
        if self.superres is not None:
            image = self.superres(image_raw, features, ws[:, -1])
        return Output(image, image_raw, depth, opacity)

    def cast(self, planes: Tensor, camera: Camera, side: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Features [N, F, side, side], depth and opacity [N, 1, side, side]."""
        config = self.config.rendering
        u = None if generator is None else rendering.uniforms(len(planes), side**2, config, generator)
        seen = rendering.render(lambda points: self.query(planes, points), rays(camera, side), config, u)
        return tuple(t.transpose(1, 2).reshape(len(planes), -1, side, side) for t in seen)

    def forward(
        self, z: Tensor, classes: Tensor | None, camera: Camera, resolution: int | None = None, generator: torch.Generator | None = None
    ) -> Output:
        ws = self.mapping(z, classes, camera)
        return self.render(self.planes(ws, generator), ws, camera, resolution, generator)
