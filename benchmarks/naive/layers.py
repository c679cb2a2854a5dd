"""StyleGAN2's layers as its text and appendix B describe them. Parameters have the names and shapes of training.networks."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TAPS = (1.0, 3.0, 3.0, 1.0)


def bias_act(x: Tensor, bias: Tensor, *, lrelu: bool = True, gain: float = 1.0, clamp: float | None = None) -> Tensor:
    """Bias along dimension 1, leaky ReLU of slope 0.2 times sqrt(2), a further gain, a clamp to +-clamp: one pass over memory each."""
    x = x + bias.view(-1, *[1] * (x.ndim - 2))
    if lrelu:
        x = F.leaky_relu(x, 0.2)
        x = x * (math.sqrt(2) * gain)
    if clamp is not None:
        x = x.clamp(-clamp, clamp)
    return x


def fir(channels: int, like: Tensor, gain: float = 1.0) -> Tensor:
    """The 4x4 filter [1, 3, 3, 1] x [1, 3, 3, 1] of sum `gain`, once per channel: [channels, 1, 4, 4]."""
    taps = torch.tensor(TAPS, device=like.device, dtype=like.dtype)
    kernel = torch.outer(taps, taps)
    return (kernel * (gain / kernel.sum())).repeat(channels, 1, 1, 1)


def filtered(x: Tensor, padding: int, *, down: int = 1, gain: float = 1.0) -> Tensor:
    """[N, C, H, W] padded on all sides, filtered by a depthwise convolution, every down-th pixel kept."""
    return F.conv2d(x, fir(x.shape[1], x, gain), padding=padding, stride=down, groups=x.shape[1])


def upsample(x: Tensor) -> Tensor:
    """[N, C, H, W] -> [N, C, 2H, 2W]: zeros between the pixels and the filter at gain 4, which is a depthwise transposed convolution."""
    return F.conv_transpose2d(x, fir(x.shape[1], x, gain=4.0), stride=2, padding=1, groups=x.shape[1])


def normalised(x: Tensor) -> Tensor:
    """[N, C] with mean square 1 over C."""
    return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + 1e-8)


class Dense(nn.Module):
    """Equalised linear layer, optionally with leaky ReLU; [..., in] -> [..., out]."""

    def __init__(self, in_features: int, out_features: int, *, lrelu: bool = False, lr_multiplier: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_multiplier)
        self.bias = nn.Parameter(torch.zeros(out_features))
        self.lrelu, self.lr_multiplier = lrelu, lr_multiplier

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight * (self.lr_multiplier / math.sqrt(x.shape[-1]))
        x = F.linear(x, weight, self.bias * self.lr_multiplier)
        return F.leaky_relu(x, 0.2) * math.sqrt(2) if self.lrelu else x


class Conv(nn.Module):
    """Equalised convolution of the discriminator, after the filter where it goes `down`; [N, I, H, W] -> [N, O, H or H/2, W or W/2]."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, *, down: bool = False, act: bool = True, gain: float = 1.0,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if act else None
        self.down, self.gain = down, gain
        self.clamp = None if clamp is None else clamp * gain

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.weight.shape[-1]
        weight = self.weight / math.sqrt(self.weight[0].numel())
        if self.down and kernel == 1:
            x = F.conv2d(filtered(x, 1, down=2), weight)
        elif self.down:
            x = F.conv2d(filtered(x, 2), weight, stride=2)
        else:
            x = F.conv2d(x, weight, padding=kernel // 2)
        return x * self.gain if self.bias is None else bias_act(x, self.bias, gain=self.gain, clamp=self.clamp)


class ModulatedConv(nn.Module):
    """3x3 convolution with weights per sample, by the grouped convolution of StyleGAN2's appendix B: each sample sees one group.

    x [N, I, H, W], w [N, w_dim], noise [N or 1, 1, R, R] or None -> [N, O, R, R], R = 2H with `up`.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, w_dim: int, resolution: int, up: bool = False, has_noise: bool, clamp: float | None
    ) -> None:
        super().__init__()
        self.affine = Dense(w_dim, in_channels)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.noise_strength = nn.Parameter(torch.zeros(())) if has_noise else None
        if has_noise:
            self.register_buffer('noise_const', torch.randn(resolution, resolution))
        self.resolution, self.up, self.clamp = resolution, up, clamp

    def forward(self, x: Tensor, w: Tensor, generator: torch.Generator | None) -> Tensor:
        n, channels, height, width = x.shape
        weight = self.weight[None] * self.affine(w)[:, None, :, None, None]
        weight = weight * torch.rsqrt(weight.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8)
        x = x.reshape(1, n * channels, height, width)
        if self.up:
            x = F.conv_transpose2d(x, weight.transpose(1, 2).flatten(0, 1), stride=2, groups=n)
            x = filtered(x.unflatten(1, (n, -1)).squeeze(0), 1, gain=4.0)
        else:
            x = F.conv2d(x, weight.flatten(0, 1), padding=1, groups=n).unflatten(1, (n, -1)).squeeze(0)
        if self.noise_strength is not None:
            x = x + self._noise(x, generator) * self.noise_strength
        return bias_act(x, self.bias, clamp=self.clamp)

    def _noise(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """Fresh noise while training (a generator is there), the stored one else."""
        if generator is None:
            return self.noise_const
        return torch.randn(len(x), 1, *x.shape[2:], device=x.device, generator=generator)


class ToImage(nn.Module):
    """Modulated 1x1 convolution without demodulation: weights per sample and one group per sample again."""

    def __init__(self, in_channels: int, out_channels: int, *, w_dim: int, clamp: float | None) -> None:
        super().__init__()
        self.affine = Dense(w_dim, in_channels)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.clamp = clamp

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        n, channels, height, width = x.shape
        weight = self.weight[None] * (self.affine(w) / math.sqrt(channels))[:, None, :, None, None]
        x = F.conv2d(x.reshape(1, n * channels, height, width), weight.flatten(0, 1), groups=n).unflatten(1, (n, -1)).squeeze(0)
        return bias_act(x, self.bias, lrelu=False, clamp=self.clamp)
