"""Equalised-learning-rate layers: weights are stored at unit variance and scaled when used (arXiv 1710.10196, section 4.1)."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.networks.convolution import convolve

LRELU_SLOPE = 0.2
LRELU_GAIN = math.sqrt(2)


def lrelu(x: Tensor, clamp: float | None = None) -> Tensor:
    """Leaky ReLU of slope 0.2 without its usual gain of sqrt(2), then a clamp to [-clamp, clamp]. Overwrites x, a temporary of the caller.

    The gain commutes with the activation (positive homogeneity), so the layers here multiply it into their weights, which are small,
    and not into their activations, which are large.
    """
    y = F.leaky_relu_(x, LRELU_SLOPE)
    return y if clamp is None else y.clamp(-clamp, clamp)


def normalise_second_moment(x: Tensor) -> Tensor:
    """[N, C] -> [N, C] with mean square 1 over C (pixel norm)."""
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


class Dense(nn.Module):
    """y = x (W m / sqrt(in))^T + b m, optionally followed by sqrt(2) lrelu; [N, in] -> [N, out].

    `lr_multiplier` (m) slows the layer down: W is drawn from N(0, 1/m^2), so that the initial function does not depend on m.
    """

    def __init__(self, in_features: int, out_features: int, *, lrelu: bool = False, lr_multiplier: float = 1.0, bias_init: float = 0.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_multiplier)
        self.bias = nn.Parameter(torch.full((out_features,), float(bias_init)))
        self.lrelu = lrelu
        self.weight_scale = lr_multiplier / math.sqrt(in_features)
        self.bias_scale = lr_multiplier

    def effective(self) -> tuple[Tensor, Tensor]:
        """The weight [out, in] and bias [out] that multiply and add, without the activation's gain."""
        return self.weight * self.weight_scale, self.bias * self.bias_scale

    def forward(self, x: Tensor) -> Tensor:
        gain = LRELU_GAIN if self.lrelu else 1.0
        y = F.linear(x, self.weight * (self.weight_scale * gain), self.bias * (self.bias_scale * gain))
        return lrelu(y) if self.lrelu else y

    def extra_repr(self) -> str:
        return f'{self.weight.shape[1]} -> {self.weight.shape[0]}'


class ClassEmbedding(nn.Module):
    """Class indexes int64 [N] -> [N, out]: a Dense layer on the one-hot vector, whose scale the normalisation after it removes."""

    def __init__(self, num_classes: int, out_features: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(num_classes, out_features))

    def forward(self, classes: Tensor) -> Tensor:
        return F.embedding(classes, self.weight)

    def extra_repr(self) -> str:
        return f'{self.weight.shape[0]} classes -> {self.weight.shape[1]}'


class Conv(nn.Module):
    """Equalised convolution, stride 1, same size, optionally followed by sqrt(2) lrelu and a clamp; [N, I, H, W] -> [N, O, H, W]."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, *, lrelu: bool = True, clamp: float | None = None):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.lrelu = lrelu
        self.clamp = clamp
        self.scale = 1 / math.sqrt(in_channels * kernel**2)

    def forward(self, x: Tensor) -> Tensor:
        gain = LRELU_GAIN if self.lrelu else 1.0
        y = convolve(x, self.weight * (self.scale * gain), self.bias * gain, padding=self.weight.shape[-1] // 2)
        return lrelu(y, self.clamp) if self.lrelu else y

    def extra_repr(self) -> str:
        return f'{self.weight.shape[1]} -> {self.weight.shape[0]}, {self.weight.shape[2]}x{self.weight.shape[3]}'
