"""Convolutions modulated by a latent: style scales the input, demodulation restores unit variance (arXiv 1912.04958, eq. 1-3)."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from custom_ops import synthesis_epilogue
from torch_utils.precision import autocast
from torch_utils.rng import Stream
from training.networks.convolution import convolve
from training.networks.layers import Dense
from training.networks.resample import conv_up

Noise = Literal['random', 'const', 'none']


def demodulation(weight: Tensor, style: Tensor) -> Tensor:
    """weight [O, I, k, k], style [N, I] -> [N, O]: 1 / sqrt(sum over i, k of (W s)^2), as one small matrix product."""
    return (style.square() @ weight.square().sum(dim=(2, 3)).t() + 1e-8).rsqrt()


class ModulatedConv(nn.Module):
    """Modulated, demodulated 3x3 convolution, noise, bias, sqrt(2) lrelu, clamp.

    x [N, I, H, W], w [N, w_dim] -> [N, O, H, W], or [N, O, 2H, 2W] with `up`. `resolution` is the side of the output.
    `name` is the address of the random noise in a stream.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, w_dim: int, resolution: int, name: str, up: bool = False,
        has_noise: bool = True, clamp: float | None = None,
    ):
        super().__init__()
        self.affine = Dense(w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.noise_strength = nn.Parameter(torch.zeros(())) if has_noise else None
        if has_noise:
            self.register_buffer('noise_const', torch.randn(resolution, resolution))
        self.resolution = resolution
        self.name = name
        self.up = up
        self.clamp = clamp

    def forward(self, x: Tensor, w: Tensor, noise: Noise = 'const', stream: Stream | None = None) -> Tensor:
        with autocast('fp32', x.device):  # a few numbers that scale everything: they keep all digits
            style = self.affine(w)
            scale = demodulation(self.weight, style)
        x = x * style.to(x.dtype)[:, :, None, None]
        y = conv_up(x, self.weight) if self.up else convolve(x, self.weight, padding=1)
        grain, strength = None, None
        if noise != 'none' and self.noise_strength is not None:
            grain, strength = self._noise(x, noise, stream), self.noise_strength
        return synthesis_epilogue(y, scale, self.bias, grain, strength, clamp=self.clamp)

    def _noise(self, x: Tensor, noise: Noise, stream: Stream | None) -> Tensor:
        if noise == 'const':
            return self.noise_const
        assert stream is not None, "noise='random' needs a stream"
        return stream.normal(f'{self.name}.noise', 1, self.resolution, self.resolution, device=x.device)

    def extra_repr(self) -> str:
        return f'{self.weight.shape[1]} -> {self.weight.shape[0]}, {self.resolution}x{self.resolution}' + (', up' if self.up else '')


class ToImage(nn.Module):
    """Modulated 1x1 convolution without demodulation or activation; x [N, I, H, W], w [N, w_dim] -> [N, O, H, W]."""

    def __init__(self, in_channels: int, out_channels: int, *, w_dim: int, clamp: float | None = None):
        super().__init__()
        self.affine = Dense(w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.scale = 1 / math.sqrt(in_channels)
        self.clamp = clamp

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        # One small matrix per sample instead of scaled activations; on channels-last tensors every step but the product is a view.
        with autocast('fp32', x.device):  # styles say how bright a whole scene is
            kernels = self.weight[:, :, 0, 0] * (self.affine(w) * self.scale)[:, None]
        pixels = x.permute(0, 2, 3, 1).flatten(1, 2)
        y = torch.baddbmm(self.bias, pixels, kernels.transpose(1, 2)).unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)
        return y if self.clamp is None else y.clamp(-self.clamp, self.clamp)

    def extra_repr(self) -> str:
        return f'{self.weight.shape[1]} -> {self.weight.shape[0]}'
