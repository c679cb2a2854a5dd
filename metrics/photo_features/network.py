"""The photo network: a residual classifier of 32x32 photographs whose pooled activations are the features of `fd_photo` and its siblings."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True, slots=True)
class PhotoNetworkConfig:
    """Widths of the stem and of the three stages (at 32, 16, 8 and 4 pixels); the last one is the number of features."""

    input_resolution: int = 32
    widths: tuple[int, int, int, int] = (32, 48, 96, 224)
    num_outputs: int = 30


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside an averaged 1x1 path, at half the resolution (He et al. 2016; pooled shortcut of He et al. 2019, 'bag of tricks')."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1, bias=False)
        self.norm0 = nn.BatchNorm2d(out_channels)
        self.conv1 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in, H, W] -> [N, out, H/2, W/2]."""
        y = F.relu(self.norm0(self.conv0(x)))
        y = self.norm1(self.conv1(y))
        return F.relu(y + self.shortcut(F.avg_pool2d(x, 2)))


class PhotoNetwork(nn.Module):
    """Classifier with one output row per class of both training sets; `features` is what the metrics use."""

    def __init__(self, config: PhotoNetworkConfig = PhotoNetworkConfig()) -> None:
        super().__init__()
        self.config = config
        stem, *stages = config.widths
        self.stem = nn.Conv2d(3, stem, 3, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(stem)
        self.blocks = nn.Sequential(*(ResidualBlock(i, o) for i, o in zip(config.widths, stages, strict=False)))
        self.classify = nn.Linear(stages[-1], config.num_outputs)

    @property
    def num_features(self) -> int:
        """Length of a feature vector."""
        return self.config.widths[-1]

    def features(self, images: Tensor) -> Tensor:
        """images [N, 3, S, S] in [-1, 1], any S -> pooled features [N, num_features], non-negative."""
        x = F.relu(self.stem_norm(self.stem(resize_to(images, self.config.input_resolution))))
        return self.blocks(x).mean(dim=(2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """images [N, 3, S, S] in [-1, 1] -> class logits [N, num_outputs]."""
        return self.classify(self.features(images))


def resize_to(images: Tensor, resolution: int) -> Tensor:
    """Square resize [N, 3, S, S] -> [N, 3, resolution, resolution] with a triangle filter as wide as the reduction.

    Bilinear with antialiasing, half-pixel centres: when S is k times the resolution every output pixel weighs 2k input pixels per axis,
    so nothing aliases (Parmar et al. 2022 show what aliasing does to such metrics); when S is smaller it is ordinary bilinear enlargement.
    """
    if images.shape[-1] == resolution and images.shape[-2] == resolution:
        return images
    return F.interpolate(images, size=(resolution, resolution), mode='bilinear', antialias=True, align_corners=False)


def initialise_(network: PhotoNetwork, seed: int) -> None:
    """He-normal weights drawn from a generator of their own; the global generator is not touched."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode='fan_out', nonlinearity='relu', generator=generator)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01, generator=generator)
            nn.init.zeros_(module.bias)
