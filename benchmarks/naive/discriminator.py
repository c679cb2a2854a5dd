"""StyleGAN2's residual discriminator with EG3D's dual input, from naive parts; state dicts of training.networks.discriminator load strictly."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.naive.generator import Mapping
from benchmarks.naive.layers import Conv, Dense
from training.cameras.camera import Camera
from training.networks.discriminator import DiscriminatorConfig


class ResidualBlock(nn.Module):
    """[N, I, R, R] -> [N, O, R/2, R/2]: two convolutions beside a shortcut, each branch scaled by sqrt(1/2)."""

    def __init__(self, in_channels: int, out_channels: int, clamp: float | None) -> None:
        super().__init__()
        self.conv0 = Conv(in_channels, in_channels, 3, clamp=clamp)
        self.conv1 = Conv(in_channels, out_channels, 3, down=True, gain=math.sqrt(0.5), clamp=clamp)
        self.skip = Conv(in_channels, out_channels, 1, down=True, act=False, gain=math.sqrt(0.5))

    def forward(self, x: Tensor) -> Tensor:
        return self.skip(x) + self.conv1(self.conv0(x))


class Trunk(nn.Module):
    """[N, K, S, S] -> [N, 16 C4]."""

    def __init__(self, in_channels: int, config: DiscriminatorConfig) -> None:
        super().__init__()
        assert config.mbstd_grouping == 'consecutive', 'the baseline groups neighbours'
        widths = config.widths()
        self.from_image = Conv(in_channels, widths[config.image_resolution], 1, clamp=config.clamp)
        self.blocks = nn.ModuleDict(
            {f'r{r}': ResidualBlock(widths[r], widths[r // 2], config.clamp) for r in sorted(widths, reverse=True) if r > 4}
        )
        self.conv = Conv(widths[4] + (config.mbstd_group > 0), widths[4], 3, clamp=config.clamp)
        self.group = config.mbstd_group

    def forward(self, x: Tensor) -> Tensor:
        x = self.from_image(x)
        for block in self.blocks.values():
            x = block(x)
        if self.group:
            x = torch.cat([x, self._deviation(x)], dim=1)
        return self.conv(x).flatten(1)

    def _deviation(self, x: Tensor) -> Tensor:
        """Minibatch standard deviation of each group of neighbours, as one more channel."""
        n, _, height, width = x.shape
        members = max(g for g in range(1, min(self.group, n) + 1) if n % g == 0)
        grouped = x.reshape(n // members, members, *x.shape[1:])
        deviation = torch.sqrt(grouped.var(dim=1, unbiased=False) + 1e-8).mean(dim=(1, 2, 3))
        return deviation.repeat_interleave(members).view(n, 1, 1, 1).repeat(1, 1, height, width)


class Realness(nn.Module):
    """Features of the trunk -> logits [N], by projection on the mapped condition where there is one."""

    def __init__(self, width: int, config: DiscriminatorConfig) -> None:
        super().__init__()
        conditional = config.num_classes > 0 or config.conditions_on_camera
        self.dense = Dense(16 * width, width, lrelu=True)
        self.out = Dense(width, width if conditional else 1)
        self.unconditional = Dense(width, 1) if conditional and config.unconditional_term else None
        self.mapping_network = None
        if conditional:
            self.mapping_network = Mapping(0, config.num_classes, config.conditions_on_camera, width, config.mapping)

    def forward(self, x: Tensor, classes: Tensor | None, camera: Camera | None) -> Tensor:
        x = self.dense(x)
        out = self.out(x)
        if self.mapping_network is None:
            return out.squeeze(1)
        condition = self.mapping_network(None, classes, camera)
        logits = (out * condition).sum(dim=1) / math.sqrt(out.shape[1])
        return logits if self.unconditional is None else logits + self.unconditional(x).squeeze(1)


class Discriminator(nn.Module):
    """image [N, 3, S, S], image_raw [N, 3, r, r] where it is dual, classes [N], camera -> logits [N]."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        self.trunk = Trunk(6 if config.see == 'dual' else 3, config)
        self.realness = Realness(config.widths()[4], config)

    def forward(self, image: Tensor, image_raw: Tensor | None, classes: Tensor | None, camera: Camera | None) -> Tensor:
        if self.config.see == 'dual':
            image_raw = F.interpolate(image_raw, size=image.shape[-2:], mode='bilinear', align_corners=False, antialias=True)
            image = torch.cat([image, image_raw], dim=1)
        return self.realness(self.trunk(image), classes, camera)
