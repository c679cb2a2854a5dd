"""The definition of sample_planes and decode_planes in plain PyTorch."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    'softplus': F.softplus,
    'relu': F.relu,
    'lrelu': lambda x: F.leaky_relu(x, 0.2),
    'silu': F.silu,
}


def check_points(planes: Tensor, points: Tensor, axes: Tensor) -> None:
    """Raises ValueError unless planes are [N, P, C, H, W], points [N, M, 3] and axes [P, 2, 3]."""
    if planes.ndim != 5 or points.ndim != 3 or points.shape[2] != 3 or points.shape[0] != planes.shape[0]:
        raise ValueError(f'planes must be [N, P, C, H, W] and points [N, M, 3]; found {tuple(planes.shape)} and {tuple(points.shape)}')
    if axes.shape != (planes.shape[1], 2, 3):
        p = planes.shape[1]
        raise ValueError(f'axes of shape {tuple(axes.shape)} do not fit {p} planes; they must be [{p}, 2, 3]')


def check_decoder(channels: int, weights: Sequence[Tensor], biases: Sequence[Tensor], activation: str) -> None:
    """Raises ValueError unless every layer takes what the one before gives, with one bias per layer and a known activation between."""
    if activation not in ACTIVATIONS:
        raise ValueError(f'no activation is called {activation!r}; there are: {", ".join(ACTIVATIONS)}')
    if len(weights) != len(biases) or not weights:
        raise ValueError(f'{len(weights)} weights and {len(biases)} biases were given; there must be one bias per weight, and at least one')
    for weight, bias in zip(weights, biases, strict=True):
        if weight.ndim != 2 or weight.shape[1] != channels or bias.shape != weight.shape[:1]:
            raise ValueError(
                f'a layer on {channels} channels needs a weight [out, {channels}] and a bias [out]; found {tuple(weight.shape)} and '
                f'{tuple(bias.shape)}'
            )
        channels = weight.shape[0]


def sample_planes_reference(planes: Tensor, points: Tensor, axes: Tensor) -> Tensor:
    """See custom_ops.sample_planes."""
    return _sampled(planes, points, axes).transpose(1, 2)


def _sampled(planes: Tensor, points: Tensor, axes: Tensor) -> Tensor:
    """The mean of the planes at the points as grid_sample leaves it: [N, C, M], float32 at least, as the kernels have it."""
    check_points(planes, points, axes)
    # grid_sample wants positions in the type of the planes, and one in 16 bits would jump from texel to texel.
    planes, points = _widened(planes), _widened(points)
    n, p = planes.shape[:2]
    m = points.shape[1]
    with torch.autocast(points.device.type, enabled=False):
        projected = points @ axes.to(points.dtype).reshape(p * 2, 3).t()
    # The points are the columns of one row: grid_sample runs its vectors along rows, and would be five times slower on a column.
    grid = projected.view(n, 1, m, p, 2).to(planes.dtype)
    # A plane at a time: all planes as rows of one batch would have to be copied first, since in memory those of a texel lie side by side.
    sampled = [
        F.grid_sample(plane, grid[..., i, :], mode='bilinear', padding_mode='zeros', align_corners=False).squeeze(2)
        for i, plane in enumerate(planes.unbind(1))
    ]
    return sum(sampled[1:], sampled[0]) / p


def _widened(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def decode_planes_reference(
    planes: Tensor, points: Tensor, axes: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor], activation: str = 'softplus'
) -> Tensor:
    """See custom_ops.decode_planes."""
    check_points(planes, points, axes)
    check_decoder(planes.shape[2], weights, biases, activation)
    function = ACTIVATIONS[activation]
    # Points stay innermost in memory, as the sampler leaves them: for narrow layers a quarter faster than one row per point, on a CPU.
    x = _sampled(planes, points, axes)
    for index, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        if index:
            x = function(x)
        weight, bias = weight.to(x.dtype), bias.to(x.dtype)
        x = torch.baddbmm(bias[None, :, None], weight[None].expand(len(x), -1, -1), x)
    return x.transpose(1, 2)
