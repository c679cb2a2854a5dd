"""The baseline computes what the networks do that it is compared with: the same numbers from the same weights."""

from dataclasses import replace
from typing import get_args

import pytest
import torch
from torch import Tensor

from benchmarks.cases import operations
from benchmarks.cases.operations import Operation, OperationCase
from benchmarks.naive import rendering
from benchmarks.naive.discriminator import Discriminator as NaiveDiscriminator
from benchmarks.naive.generator import Generator as NaiveGenerator
from torch_utils.rng import Stream
from training.cameras.camera import Camera
from training.cameras.orbit import orbit
from training.cameras.rays import rays
from training.losses.gradient_penalty import gradient_penalty
from training.networks.discriminator import Discriminator, DiscriminatorConfig
from training.networks.generator3d import Generator3D, GeneratorConfig
from training.networks.mapping import MappingConfig
from training.networks.radiance import CorePrior, OutsidePrior, RadianceConfig
from training.networks.superres import SuperresConfig
from training.networks.synthesis import SynthesisConfig
from training.rendering.planes import PLANE_AXES
from training.rendering.renderer import RenderingConfig, render

TWO_PASSES = RenderingConfig(samples_coarse=7, samples_fine=5, near=1.2, far=2.6, box_side=1.2)
RENDERINGS = {
    'two passes': TWO_PASSES,
    'box, white, cells': replace(TWO_PASSES, near='box', far='box', background='white', quadrature='cells', density_scale=4.0),
    'one pass, own background': replace(TWO_PASSES, samples_fine=0, background='field', evaluation_factor=2),
}


@pytest.fixture(autouse=True)
def _seed() -> None:
    with torch.random.fork_rng():
        torch.random.manual_seed(0)
        yield


def cameras() -> Camera:
    return orbit(torch.tensor([0.1, 0.8]), torch.tensor([0.2, -0.3]), 1.9, focal=1.6)


def generators(rendering_config: RenderingConfig = TWO_PASSES, **changes) -> tuple[Generator3D, NaiveGenerator]:
    """A small generator with noise and everything else switched on, and its twin with the same weights."""
    config = GeneratorConfig(
        z_dim=12, w_dim=16, num_classes=5, conditions_on_camera=True, image_resolution=16, render_resolution=8,
        synthesis=SynthesisConfig(plane_resolution=16, plane_channels=4, channel_base=128, channel_max=16, clamp=2.0),
        radiance=RadianceConfig(hidden=(12, 9), features=6, outside=OutsidePrior(), core=CorePrior()),
        rendering=rendering_config,
        superres=SuperresConfig(channels=(8, 6)),
    )
    ours = Generator3D(replace(config, **changes))
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            if name.endswith(('noise_strength', 'bias')):
                parameter.add_(torch.randn_like(parameter) * 0.2)
    naive = NaiveGenerator(ours.config)
    naive.load_state_dict(ours.state_dict())
    return ours.eval(), naive.eval()


def gradients(outputs: tuple[Tensor, ...], inputs: list[Tensor]) -> list[Tensor]:
    """Under a fixed weighting that treats no two outputs alike."""
    total = sum((t * torch.linspace(-1, 1, t.numel()).reshape(t.shape)).sum() for t in outputs)
    return list(torch.autograd.grad(total, inputs))


def assert_all_close(found: list[Tensor], expected: list[Tensor], tolerance: float) -> None:
    for a, b in zip(found, expected, strict=True):
        assert (a - b).abs().max() <= tolerance * max(b.abs().max().item(), 1e-3), ((a - b).abs().max(), b.abs().max())


@pytest.mark.parametrize('config', RENDERINGS.values(), ids=RENDERINGS)
@pytest.mark.parametrize('jittered', [False, True])
def test_renderer(config: RenderingConfig, jittered: bool) -> None:
    ours, naive = generators(config)
    planes = torch.randn(2, 3, 4, 16, 16)
    seen, stream = rays(cameras(), 8), Stream(3, 5, rows=range(2)) if jittered else None
    u = None
    if stream is not None:
        u = tuple(stream.uniform(f'render/{name}', 64, count) for name, count in (('coarse', 7), ('fine', config.samples_fine)))
    results = []
    for network, run in (
        (ours, lambda p: render(ours.field(p), seen, config, stream)),
        (naive, lambda p: rendering.render(lambda x: naive.query(p, x), seen, config, u)),
    ):
        leaf = planes.clone().requires_grad_()
        out = run(leaf)
        out = out if isinstance(out, tuple) else (out.features, out.depth, out.opacity)
        results.append((list(out), gradients(out, [leaf, *network.radiance.parameters()])))
    (values, slopes), (naive_values, naive_slopes) = results
    assert values[0].std() > 0.05 and 0.05 < values[2].mean() <= 1, 'nothing is seen, so nothing is compared'
    assert_all_close(naive_values, values, 2e-5)
    assert_all_close(naive_slopes, slopes, 2e-4)


@pytest.mark.parametrize('changes', [{}, {'num_classes': 0, 'conditions_on_camera': False, 'superres': None, 'image_resolution': 8}])
def test_generator(changes: dict) -> None:
    ours, naive = generators(**changes)
    z, classes = torch.randn(2, 12), torch.tensor([1, 4]) if ours.config.num_classes else None
    out, naive_out = ours(z, classes, cameras()), naive(z, classes, cameras())
    parts, naive_parts = ([o.image, o.image_raw, o.depth, o.opacity] for o in (out, naive_out))
    assert_all_close(naive_parts, parts, 1e-4)
    names = [name for name, _ in ours.named_parameters()]
    slopes, naive_slopes = (
        gradients((o.image, o.depth), [dict(network.named_parameters())[name] for name in names])
        for o, network in ((out, ours), (naive_out, naive))
    )
    assert_all_close(naive_slopes, slopes, 2e-3)


@pytest.mark.parametrize('changes', [{}, {'see': 'single', 'num_classes': 0, 'conditions_on_camera': False, 'mbstd_group': 0}])
def test_discriminator_and_its_penalty(changes: dict) -> None:
    config = DiscriminatorConfig(
        image_resolution=16, num_classes=5, conditions_on_camera=True, channel_base=128, channel_max=16, unconditional_term=True,
        clamp=3.0, mbstd_group=2, mapping=MappingConfig(layers=2),
    )
    ours = Discriminator(replace(config, **changes))
    naive = NaiveDiscriminator(ours.config)
    naive.load_state_dict(ours.state_dict())
    image, raw, classes = torch.randn(4, 3, 16, 16), torch.randn(4, 3, 8, 8), torch.tensor([1, 4, 0, 2])
    camera = Camera(*(t.repeat(2, 1, 1) for t in (cameras().world_from_camera, cameras().intrinsics)))
    results = []
    for network in (ours, naive):
        leaf = image.clone().requires_grad_()
        logits = network(leaf, raw, classes, camera)
        penalty = gradient_penalty(logits, [leaf])
        slopes = torch.autograd.grad(penalty.sum() + logits.sum(), dict(network.named_parameters()).values(), materialize_grads=True)
        results.append(([logits, penalty], dict(zip(dict(network.named_parameters()), slopes, strict=True))))
    (values, slopes), (naive_values, naive_slopes) = results
    assert_all_close(naive_values, values, 1e-4)
    assert_all_close([naive_slopes[name] for name in slopes], list(slopes.values()), 1e-3)


@pytest.mark.parametrize('clamp', [None, 0.7])
@pytest.mark.parametrize('operation', get_args(Operation))
def test_operations(operation: str, clamp: float | None) -> None:
    """The two functions that are timed against each other are one function."""
    case = OperationCase(operation, 2, 4, 8, plane_side=16)
    x = torch.randn(2, 3, 4, 16, 16) if operation == 'decode_planes' else torch.randn(2, 4, 8, 8)
    points, axes, noise = torch.rand(2, 20, 3) * 2 - 1, PLANE_AXES['three_planes'], torch.randn(2, 1, 8, 8)
    learned = [torch.randn(shape) for shape in case._learned_shapes()]
    inputs = [t.requires_grad_() for t in (x, *learned)]
    naive, ours = (make(operation, points, axes, noise, clamp)(x, learned) for make in (operations._naive, operations._ours))
    assert_all_close([ours], [naive], 1e-5)
    assert_all_close(gradients((ours,), inputs), gradients((naive,), inputs), 1e-4)
