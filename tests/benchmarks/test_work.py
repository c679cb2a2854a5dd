"""Operations counted by hand against operations counted while they run."""

from collections.abc import Sequence

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from benchmarks import work
from benchmarks.cases.case import KERNELS, NAIVE
from benchmarks.cases.catalogue import CAR
from benchmarks.cases.inference import InferenceCase
from benchmarks.cases.operations import OperationCase
from benchmarks.cases.rendering import RendererCase
from benchmarks.cases.steps import StepCase
from benchmarks.naive.discriminator import Discriminator
from benchmarks.timing import Part
from training.networks.discriminator import DiscriminatorConfig

CPU = torch.device('cpu')


class Counter(TorchDispatchMode):
    """Sees every operation that runs, those of second derivatives, too."""

    total = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        formula = flop_registry.get(function.overloadpacket)
        if formula is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=out)
        return out


class Formats(TorchDispatchMode):
    """Sees the formats of large tensors that operations write."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[torch.dtype] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        self.seen |= {t.dtype for t in (out if isinstance(out, tuple) else (out,)) if isinstance(t, torch.Tensor) and t.numel() > 2**12}
        return out


def counted(parts: Sequence[Part]) -> float:
    """Of matrix products and convolutions; interpolation, elementwise operations and sums are not seen."""
    total = 0.0
    for part in parts:
        with Counter() as counter:
            part.run()
        total += part.weight * counter.total
    return total


@pytest.mark.parametrize('backward', [False, True])
def test_renderer(backward: bool) -> None:
    case = RendererCase(8, images=2, coarse=5, fine=4, plane_side=16, backward=backward)
    points = 2 * 64 * 9
    # What the counter does not see: taps (24 per channel, once more to the planes) and the sum along the ray (2 per feature, 4 backward).
    unseen = points * (24 * 32 + 2 * 32) + backward * points * (24 * 32 + 4 * 32)
    # Left out of the work, in which it is nothing: the rotation of rays (three numbers of three), the projection of points (six of three).
    assert case.work().flops - unseen + 2 * 64 * 18 + points * 36 == counted(case.build(NAIVE, CPU))


def test_generator() -> None:
    case = InferenceCase('shapenet', 4, settings=('generator.synthesis.plane_resolution=32', 'generator.rendering.samples_coarse=4'))
    found, expected = case.work().flops, counted(case.build(NAIVE, CPU))
    assert found == pytest.approx(expected, rel=0.02)


def test_discriminator() -> None:
    config = DiscriminatorConfig(image_resolution=64, channel_base=2048, channel_max=128)
    image = torch.zeros(1, 3, 64, 64)
    with torch.no_grad(), Counter() as counter:
        Discriminator(config)(image, image, None, None)
    assert work.discriminator(config).flops == pytest.approx(counter.total, rel=0.01)


def test_training_step() -> None:
    settings = (
        'generator.synthesis.plane_resolution=16', 'generator.synthesis.channel_base=1024', 'generator.synthesis.channel_max=64',
        'discriminator.channel_base=1024', 'discriminator.channel_max=64', 'generator.render_resolution=8',
        'generator.superres.input_resolution=16', 'generator.superres.channels=(32,16)', 'gan.density_points=1',
        'generator.rendering.samples_coarse=2', 'generator.rendering.samples_fine=2',
    )
    case = StepCase('', 'ffhq', CAR, 32, 2, settings)
    assert case.work().flops == pytest.approx(counted(case.build(NAIVE, CPU)), rel=0.1)


@pytest.mark.parametrize('operation', ['upsample2d', 'downsample2d', 'filter'])
def test_filters(operation: str) -> None:
    """The naive one multiplies by the filter's taps wherever they fall, which at the edges is beside the picture."""
    found, expected = (f(OperationCase(operation, 2, 4, 64)) for f in (lambda c: c.work().flops, lambda c: counted(c.build(NAIVE, CPU))))
    assert found == pytest.approx(expected, rel=0.04)


def test_passes_over_memory() -> None:
    x, noise = 2 * 4 * 8**2, 2 * 8**2
    for operation, in_16_bits, expected in (
        ('bias_act', False, (2 * x, 4 * 2 * x)), ('bias_act', True, (2 * x, 2 * 2 * x)), ('synthesis_epilogue', False, (4 * x, 4 * (2 * x + noise))),
    ):  # fmt: skip
        for backward in (False, True):
            case = OperationCase(operation, 2, 4, 8, backward, in_16_bits=in_16_bits)
            assert case.work() == work.Work(*expected) * (1 + backward)


@pytest.mark.parametrize('contestant', [NAIVE, KERNELS])
@pytest.mark.parametrize('operation', ['bias_act', 'filter'])
def test_operations_in_16_bits_stay_there(operation: str, contestant: str) -> None:
    for backward in (False, True):
        (part,) = OperationCase(operation, 2, 16, 64, backward, in_16_bits=True).build(contestant, CPU)
        with Formats() as formats:
            part.run()
        assert torch.bfloat16 in formats.seen and torch.float32 not in formats.seen


def test_the_published_sizes() -> None:
    """GFLOP of EG3D's parts at 512 px, as counted elsewhere from the layer tables."""
    config = InferenceCase('ffhq', 128).config()
    assert work.backbone(config).flops == pytest.approx(93e9, rel=0.02)
    assert work.renderer(config, 128**2).flops == pytest.approx(14.3e9, rel=0.02)
    assert work.superres(config).flops == pytest.approx(196e9, rel=0.02)
    assert work.discriminator(DiscriminatorConfig(image_resolution=512)).flops == pytest.approx(123e9, rel=0.02)
