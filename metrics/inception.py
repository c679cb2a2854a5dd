"""The Inception-v3 network of 2015-12-05 that FID is defined by, for weights that the user has.

The architecture is Szegedy et al. 2016 (arXiv 1512.00567) as TensorFlow's graph of that date has it: 1008 outputs, average pools that do not count
the padding, a maximum pool in the last block, batch norm with epsilon 1e-3. Parameters are named as in `pt_inception-2015-12-05-6726825d.pth`.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

INPUT_RESOLUTION = 299
NUM_FEATURES = 2048
NUM_OUTPUTS = 1008

Pool = Literal['none', 'average', 'maximum', 'halving']


@dataclass(frozen=True, slots=True)
class Step:
    """One convolution. Stride 1 keeps the size of the image ('same' padding), stride 2 pads nothing."""

    name: str
    channels: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1


@dataclass(frozen=True, slots=True)
class Path:
    """pool, then steps one after the other, then the ends side by side (their outputs joined)."""

    steps: tuple[Step, ...] = ()
    ends: tuple[Step, ...] = ()
    pool: Pool = 'none'


def _block_35(pooled: int) -> tuple[Path, ...]:
    return (
        Path((Step('branch1x1', 64),)),
        Path((Step('branch5x5_1', 48), Step('branch5x5_2', 64, (5, 5)))),
        Path((Step('branch3x3dbl_1', 64), Step('branch3x3dbl_2', 96, (3, 3)), Step('branch3x3dbl_3', 96, (3, 3)))),
        Path((Step('branch_pool', pooled),), pool='average'),
    )


def _block_17(inner: int) -> tuple[Path, ...]:
    long_way = (
        Step('branch7x7dbl_1', inner),
        Step('branch7x7dbl_2', inner, (7, 1)),
        Step('branch7x7dbl_3', inner, (1, 7)),
        Step('branch7x7dbl_4', inner, (7, 1)),
        Step('branch7x7dbl_5', 192, (1, 7)),
    )
    return (
        Path((Step('branch1x1', 192),)),
        Path((Step('branch7x7_1', inner), Step('branch7x7_2', inner, (1, 7)), Step('branch7x7_3', 192, (7, 1)))),
        Path(long_way),
        Path((Step('branch_pool', 192),), pool='average'),
    )


def _block_8(pool: Pool) -> tuple[Path, ...]:
    return (
        Path((Step('branch1x1', 320),)),
        Path((Step('branch3x3_1', 384),), (Step('branch3x3_2a', 384, (1, 3)), Step('branch3x3_2b', 384, (3, 1)))),
        Path(
            (Step('branch3x3dbl_1', 448), Step('branch3x3dbl_2', 384, (3, 3))),
            (Step('branch3x3dbl_3a', 384, (1, 3)), Step('branch3x3dbl_3b', 384, (3, 1))),
        ),
        Path((Step('branch_pool', 192),), pool=pool),
    )


_TO_17 = (
    Path((Step('branch3x3', 384, (3, 3), 2),)),
    Path((Step('branch3x3dbl_1', 64), Step('branch3x3dbl_2', 96, (3, 3)), Step('branch3x3dbl_3', 96, (3, 3), 2))),
    Path(pool='halving'),
)
_TO_8 = (
    Path((Step('branch3x3_1', 192), Step('branch3x3_2', 320, (3, 3), 2))),
    Path(
        (Step('branch7x7x3_1', 192), Step('branch7x7x3_2', 192, (1, 7)), Step('branch7x7x3_3', 192, (7, 1)), Step('branch7x7x3_4', 192, (3, 3), 2))
    ),
    Path(pool='halving'),
)

# name, channels in, paths; at 35, 17 and 8 pixels.
MIXED: tuple[tuple[str, int, tuple[Path, ...]], ...] = (
    ('Mixed_5b', 192, _block_35(32)),
    ('Mixed_5c', 256, _block_35(64)),
    ('Mixed_5d', 288, _block_35(64)),
    ('Mixed_6a', 288, _TO_17),
    ('Mixed_6b', 768, _block_17(128)),
    ('Mixed_6c', 768, _block_17(160)),
    ('Mixed_6d', 768, _block_17(160)),
    ('Mixed_6e', 768, _block_17(192)),
    ('Mixed_7a', 768, _TO_8),
    ('Mixed_7b', 1280, _block_8('average')),
    ('Mixed_7c', 2048, _block_8('maximum')),
)


class NormedConvolution(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, in_channels: int, channels: int, kernel: tuple[int, int], stride: int, padding: tuple[int, int]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(channels, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        """[N, in, H, W] -> [N, channels, H', W']."""
        return F.relu(self.bn(self.conv(x)), inplace=True)


class Mixed(nn.Module):
    """Several paths from the same input, their outputs joined along the channels."""

    def __init__(self, in_channels: int, paths: tuple[Path, ...]) -> None:
        super().__init__()
        self.paths = paths
        for path in paths:
            channels = in_channels
            for step in path.steps:
                self.add_module(step.name, _convolution(step, channels))
                channels = step.channels
            for end in path.ends:
                self.add_module(end.name, _convolution(end, channels))

    def forward(self, x: Tensor) -> Tensor:
        """[N, in, H, W] -> [N, sum of the paths, H', W']."""
        outputs: list[Tensor] = []
        for path in self.paths:
            y = _pooled(x, path.pool)
            for step in path.steps:
                y = self.get_submodule(step.name)(y)
            outputs += [self.get_submodule(end.name)(y) for end in path.ends] if path.ends else [y]
        return torch.cat(outputs, dim=1)


class InceptionV3(nn.Module):
    """images [N, 3, S, S] in [-1, 1] on the grid of uint8 -> pooled features [N, 2048]; `logits` turns those into [N, 1008]."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = NormedConvolution(3, 32, (3, 3), 2, (0, 0))
        self.Conv2d_2a_3x3 = NormedConvolution(32, 32, (3, 3), 1, (0, 0))
        self.Conv2d_2b_3x3 = NormedConvolution(32, 64, (3, 3), 1, (1, 1))
        self.Conv2d_3b_1x1 = NormedConvolution(64, 80, (1, 1), 1, (0, 0))
        self.Conv2d_4a_3x3 = NormedConvolution(80, 192, (3, 3), 1, (0, 0))
        for name, in_channels, paths in MIXED:
            self.add_module(name, Mixed(in_channels, paths))
        self.fc = nn.Linear(NUM_FEATURES, NUM_OUTPUTS)

    def forward(self, images: Tensor) -> Tensor:
        """images [N, 3, S, S] in [-1, 1] -> features [N, 2048]."""
        values = ((images + 1) * 127.5).round()
        x = (resize_like_tensorflow1(values, INPUT_RESOLUTION) - 128) / 128  # the graph's own scaling: [-1, 0.992]
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = F.max_pool2d(x, 3, stride=2)
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x))
        x = F.max_pool2d(x, 3, stride=2)
        for name, _, _ in MIXED:
            x = self.get_submodule(name)(x)
        return x.mean(dim=(2, 3))

    def logits(self, features: Tensor) -> Tensor:
        """features [N, 2048] -> [N, 1008] without the bias of the last layer: what the published inception scores are computed from."""
        return features @ self.fc.weight.T


def resize_like_tensorflow1(images: Tensor, resolution: int) -> Tensor:
    """Bilinear resize [N, C, H, W] -> [N, C, resolution, resolution] as TensorFlow 1 did it: pixel i is read at i * H / resolution.

    No half-pixel centres and no antialiasing: a known flaw, and part of the definition of FID.
    """
    height, width = images.shape[-2:]
    above, below, down = _taps(height, resolution, images)
    left, right, across = _taps(width, resolution, images)
    top, bottom = images[..., above, :], images[..., below, :]
    top = top[..., left] + (top[..., right] - top[..., left]) * across
    bottom = bottom[..., left] + (bottom[..., right] - bottom[..., left]) * across
    return top + (bottom - top) * down[:, None]


def _taps(size: int, resolution: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For each output pixel the two input pixels it lies between (int64) and its way from the first to the second, in [0, 1)."""
    place = torch.arange(resolution, dtype=torch.float32, device=like.device) * torch.tensor(size / resolution, dtype=torch.float32)
    first = place.floor().long()
    return first, (first + 1).clamp(max=size - 1), (place - first).to(like.dtype)


def _convolution(step: Step, in_channels: int) -> NormedConvolution:
    padding = (step.kernel[0] // 2, step.kernel[1] // 2) if step.stride == 1 else (0, 0)
    return NormedConvolution(in_channels, step.channels, step.kernel, step.stride, padding)


def _pooled(x: Tensor, pool: Pool) -> Tensor:
    if pool == 'average':
        return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
    if pool == 'maximum':
        return F.max_pool2d(x, 3, stride=1, padding=1)
    return F.max_pool2d(x, 3, stride=2) if pool == 'halving' else x
