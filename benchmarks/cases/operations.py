"""Single operations of custom_ops beside the operations that stand for them in the baseline, at sizes of a training step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import work
from benchmarks.cases.case import COMPILED, KERNELS, NAIVE, REFERENCE, as_contestant, compiled
from benchmarks.cases.rendering import random_planes
from benchmarks.naive import layers, rendering
from benchmarks.timing import Part
from custom_ops import bias_act, decode_planes, downsample2d, setup_filter, upfirdn2d, upsample2d
from custom_ops.synthesis_epilogue import synthesis_epilogue
from training.networks.radiance import RadianceConfig
from training.rendering.planes import PLANE_AXES

Operation = Literal['bias_act', 'synthesis_epilogue', 'upsample2d', 'downsample2d', 'filter', 'decode_planes']
Function = Callable[[Tensor, Sequence[Tensor]], Tensor]
"""(images or planes, learned tensors) -> the result."""

DECODER = RadianceConfig()
CLAMP = 256.0  # of layers in 16 bits, as in StyleGAN2-ADA


@dataclass(frozen=True, slots=True)
class OperationCase:
    """One operation on [images, channels, side, side]; for decode_planes, `side`^2 points of each image in planes of `plane_side`^2 texels.

    in_16_bits  bfloat16 in and out, of filters and of bias_act, which then clamps
    """

    operation: Operation
    images: int
    channels: int
    side: int
    backward: bool = False
    plane_side: int = 256
    in_16_bits: bool = False

    measures_memory = False
    contestants = (NAIVE, REFERENCE, COMPILED, KERNELS)
    targets = ()

    @property
    def name(self) -> str:
        direction = 'forward + backward' if self.backward else 'forward'
        if self.operation == 'decode_planes':
            return f'`decode_planes`, {direction}, {self.images} x {self.side**2} points, planes {self.plane_side}^2'
        return f'`{self.operation}`{" in bf16" if self.in_16_bits else ""}, {direction}, [{self.images}, {self.channels}, {self.side}, {self.side}]'

    def work(self) -> work.Work:
        size = self.images * self.channels * self.side**2
        if self.operation == 'decode_planes':
            points = self.images * self.side**2
            taps, decoder = 2 * 4 * 3 * self.channels, work.decoder_flops(self.channels, DECODER)
            texels = self.images * 3 * self.channels * self.plane_side**2
            forward = work.Work(points * (taps + decoder), work.FLOAT * (texels + points * (3 + 1 + DECODER.features)))
            return forward + work.Work(points * (taps + 2 * decoder), 2 * forward.bytes) if self.backward else forward
        # Outputs per input, operations per output: the zeros of an enlarged image are not multiplied. Backward is as much again.
        outputs, flops = {
            'bias_act': (1, 2), 'synthesis_epilogue': (1, 4), 'upsample2d': (4, work.FIR / 4), 'downsample2d': (1 / 4, work.FIR), 'filter': (1, work.FIR),
        }[self.operation]
        noise = self.images * self.side**2 if self.operation == 'synthesis_epilogue' else 0
        number = work.SHORT if self.in_16_bits else work.FLOAT
        forward = work.Work(size * outputs * flops, number * (size + size * outputs + noise))
        return forward * 2 if self.backward else forward

    def small(self) -> 'OperationCase':
        return replace(self, side=8, plane_side=16)

    def build(self, contestant: str, device: torch.device) -> tuple[Part, ...]:
        random = torch.Generator().manual_seed(0)
        points = (torch.rand(self.images, self.side**2, 3, generator=random) * 2 - 1).to(device)
        axes = PLANE_AXES['three_planes'].to(device)
        dtype = torch.bfloat16 if self.in_16_bits else torch.float32
        if self.operation == 'decode_planes':
            x = random_planes(self.images, self.channels, self.plane_side, random)
        else:
            x = torch.randn(self.images, self.side, self.side, self.channels, generator=random).permute(0, 3, 1, 2)
        # Channels are innermost in our networks, outermost in the baseline's.
        x = (x.contiguous() if contestant == NAIVE else x).to(device, dtype)
        learned = [torch.randn(shape, generator=random).to(device, dtype) for shape in self._learned_shapes()]
        noise = torch.randn(self.images, 1, self.side, self.side, generator=random).to(device, dtype)
        clamp = CLAMP if self.in_16_bits else None
        naive, ours = (make(self.operation, points, axes, noise, clamp) for make in (_naive, _ours))
        with torch.no_grad():
            cotangent = torch.randn(naive(x, learned).shape, generator=random).to(device, dtype)
        if contestant != NAIVE and cotangent.ndim == 4:
            cotangent = cotangent.contiguous(memory_format=torch.channels_last)
        function = naive if contestant == NAIVE else compiled(contestant, ours)
        inputs = [x, *learned]

        def forward() -> None:
            with torch.no_grad():
                function(x, learned)

        def forward_and_backward() -> None:
            torch.autograd.grad(function(x, learned), inputs, cotangent)

        for tensor in inputs:
            tensor.requires_grad_(self.backward)
        run = forward_and_backward if self.backward else forward
        return (Part(self.operation, as_contestant(contestant, run)),)

    def _learned_shapes(self) -> list[tuple[int, ...]]:
        (hidden,), out = DECODER.hidden, 1 + DECODER.features
        decoder = [(hidden, self.channels), (hidden,), (out, hidden), (out,)]
        epilogue = [(self.images, self.channels), (self.channels,), ()]
        return {'bias_act': [(self.channels,)], 'synthesis_epilogue': epilogue, 'decode_planes': decoder}.get(self.operation, [])


def _naive(operation: Operation, points: Tensor, axes: Tensor, noise: Tensor, clamp: float | None) -> Function:
    """One pass over memory for each multiplication and addition."""

    def epilogue(x: Tensor, learned: Sequence[Tensor]) -> Tensor:
        scale, bias, strength = learned
        return layers.bias_act(x * scale[:, :, None, None] + noise * strength, bias, clamp=clamp)

    def decode(planes: Tensor, learned: Sequence[Tensor]) -> Tensor:
        weight, bias, second_weight, second_bias = learned
        x = rendering.sample_planes(planes, points, axes)
        return F.linear(F.softplus(F.linear(x, weight, bias)), second_weight, second_bias)

    return {
        'bias_act': lambda x, learned: layers.bias_act(x, *learned, clamp=clamp),
        'synthesis_epilogue': epilogue,
        'upsample2d': lambda x, learned: layers.upsample(x),
        'downsample2d': lambda x, learned: layers.filtered(x, 1, down=2),
        'filter': lambda x, learned: layers.filtered(x, 2),
        'decode_planes': decode,
    }[operation]


def _ours(operation: Operation, points: Tensor, axes: Tensor, noise: Tensor, clamp: float | None) -> Function:
    taps = setup_filter(layers.TAPS).to(points.device)
    return {
        'bias_act': lambda x, learned: bias_act(x, *learned, 'lrelu', clamp=clamp),
        'synthesis_epilogue': lambda x, learned: synthesis_epilogue(x, *learned[:2], noise, learned[2], clamp=clamp),
        'upsample2d': lambda x, learned: upsample2d(x, taps),
        'downsample2d': lambda x, learned: downsample2d(x, taps),
        'filter': lambda x, learned: upfirdn2d(x, taps, padding=2),
        'decode_planes': lambda planes, learned: decode_planes(planes, points, axes, learned[::2], learned[1::2]),
    }[operation]
