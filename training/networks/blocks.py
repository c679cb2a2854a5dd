"""Blocks of the skip generator: convolutions with a picture read out after them (StyleGAN2, arXiv 1912.04958, figure 7b)."""

import torch
from torch import Tensor, nn

from torch_utils.layout import channels_last
from torch_utils.rng import Stream
from training.networks.modulated import ModulatedConv, Noise, ToImage
from training.networks.resample import upsample


class SynthesisBlock(nn.Module):
    """Two modulated convolutions, the first upsampling if `up`, and a picture added to the one below.

    forward(x [N, I, r, r], image [N, K, r, r] | None, (w0, w1, w2)) -> x [N, O, R, R], image [N, K, R, R] with R = 2r or r.
    """

    def __init__(
        self, in_channels: int, out_channels: int, image_channels: int, *, w_dim: int, resolution: int, up: bool, name: str,
        has_noise: bool, clamp: float | None,
    ):
        super().__init__()
        common = {'w_dim': w_dim, 'resolution': resolution, 'has_noise': has_noise, 'clamp': clamp}
        self.conv0 = ModulatedConv(in_channels, out_channels, up=up, name=f'{name}.conv0', **common)
        self.conv1 = ModulatedConv(out_channels, out_channels, name=f'{name}.conv1', **common)
        self.to_image = ToImage(out_channels, image_channels, w_dim=w_dim, clamp=clamp)
        self.up = up

    def forward(
        self, x: Tensor, image: Tensor | None, ws: tuple[Tensor, Tensor, Tensor], noise: Noise = 'const', stream: Stream | None = None
    ) -> tuple[Tensor, Tensor]:
        x = self.conv0(x, ws[0], noise, stream)
        x = self.conv1(x, ws[1], noise, stream)
        return x, add_image(upsample(image) if self.up and image is not None else image, self.to_image(x, ws[2]))


class ConstantBlock(nn.Module):
    """The learned 4x4 start: constant [C, 4, 4], one convolution, the first picture; forward((w0, w1)) -> x, image."""

    def __init__(self, channels: int, image_channels: int, *, w_dim: int, name: str, has_noise: bool, clamp: float | None):
        super().__init__()
        self.const = nn.Parameter(torch.randn(channels, 4, 4))
        self.conv1 = ModulatedConv(channels, channels, w_dim=w_dim, resolution=4, name=f'{name}.conv1', has_noise=has_noise, clamp=clamp)
        self.to_image = ToImage(channels, image_channels, w_dim=w_dim, clamp=clamp)

    def forward(self, ws: tuple[Tensor, Tensor], noise: Noise = 'const', stream: Stream | None = None) -> tuple[Tensor, Tensor]:
        # Channels last from here on: the convolutions of a narrow network are twice as fast in it, and nothing after this line copies.
        start = channels_last(self.const.expand(len(ws[0]), -1, -1, -1))
        x = self.conv1(start, ws[0], noise, stream)
        return x, self.to_image(x, ws[1])


class ExtraBlock(nn.Module):
    """Capacity without a new resolution: a residual of two modulated convolutions and a picture of their sum, both silent at first.

    `residual_scale` [C] and the weight of `to_image` start at zero, so that a network with extra blocks computes what the same network
    without them does, until training finds a use for them (geometry-aware ImageNet generator, arXiv 2402.00225; our reading of it).
    A zero weight inside a demodulated convolution would not do: its gradient would be divided by sqrt(1e-8).
    """

    def __init__(
        self, channels: int, image_channels: int, *, w_dim: int, resolution: int, name: str, has_noise: bool, clamp: float | None
    ):
        super().__init__()
        common = {'w_dim': w_dim, 'resolution': resolution, 'has_noise': has_noise, 'clamp': clamp}
        self.conv0 = ModulatedConv(channels, channels, name=f'{name}.conv0', **common)
        self.conv1 = ModulatedConv(channels, channels, name=f'{name}.conv1', **common)
        self.residual_scale = nn.Parameter(torch.zeros(channels))
        self.to_image = ToImage(channels, image_channels, w_dim=w_dim, clamp=clamp)
        nn.init.zeros_(self.to_image.weight)

    def forward(
        self, x: Tensor, image: Tensor, ws: tuple[Tensor, Tensor], noise: Noise = 'const', stream: Stream | None = None
    ) -> tuple[Tensor, Tensor]:
        """x [N, C, r, r], image [N, K, r, r], (w for the convolutions, w for the picture) -> the same shapes."""
        residual = self.conv1(self.conv0(x, ws[0], noise, stream), ws[0], noise, stream)
        x = torch.addcmul(x, residual, self.residual_scale.to(x.dtype)[:, None, None])
        return x, add_image(image, self.to_image(x, ws[1]))


def add_image(below: Tensor | None, image: Tensor) -> Tensor:
    """The sum of the pictures of all blocks so far, in float32 whatever the precision of the block."""
    return image.float() if below is None else below + image.float()
