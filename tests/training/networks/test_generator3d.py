"""The generator as a whole: shapes, determinism, conditions, gradients, and that it remembers nothing."""

from dataclasses import replace

import pytest
import torch

from dnnlib.errors import UsageError
from torch_utils.rng import Stream
from training.networks.generator3d import Generator3D
from training.networks.radiance import CorePrior, OutsidePrior
from training.networks.superres import SuperresConfig


@pytest.fixture
def latents():
    return torch.randn(3, 12), torch.tensor([4, 0, 2])


def test_shapes(generator_config, latents, cameras):
    net = Generator3D(generator_config)
    z, classes = latents
    ws = net.mapping(z, classes, cameras)
    planes = net.planes(ws)
    assert ws.shape == (3, net.num_ws, 16) and planes.shape == (3, 3, 4, 16, 16)
    for resolution in (None, 8, 12):
        out = net.render(planes, ws, cameras, resolution)
        r = resolution or 8
        assert out.image.shape == (3, 3, 16, 16) and out.image_raw.shape == (3, 3, r, r)
        assert out.depth.shape == out.opacity.shape == (3, 1, r, r)
        assert out.depth.min() >= 0.9 and out.depth.max() <= 2.5 and 0 <= out.opacity.min() <= out.opacity.max() <= 1


def test_forward_is_its_three_parts(generator_config, latents, cameras):
    net = Generator3D(generator_config)
    z, classes = latents
    ws = net.mapping(z, classes, cameras[[2, 0, 1]], truncation_psi=0.5)
    parts = net.render(net.planes(ws), ws, cameras)
    whole = net(z, classes, cameras, conditioning_camera=cameras[[2, 0, 1]], truncation_psi=0.5)
    assert torch.equal(whole.image, parts.image)


def test_without_super_resolution_the_picture_is_the_render(generator_config, latents, cameras):
    with pytest.raises(UsageError):
        replace(generator_config, superres=None)
    config = replace(generator_config, superres=None, image_resolution=8, radiance=replace(generator_config.radiance, features=3))
    out = Generator3D(config)(*latents, cameras)
    assert torch.equal(out.image, out.image_raw) and out.image.shape == (3, 3, 8, 8)


@torch.no_grad()
def test_evaluation_is_deterministic_and_a_picture_does_not_depend_on_its_batch(generator_config, latents, cameras):
    net = Generator3D(generator_config)
    z, classes = latents
    whole = net(z, classes, cameras)
    assert torch.equal(net(z, classes, cameras).image, whole.image)
    for i in range(3):
        alone = net(z[i : i + 1], classes[i : i + 1], cameras[i : i + 1])
        for name in ('image', 'image_raw', 'depth', 'opacity'):
            torch.testing.assert_close(getattr(alone, name), getattr(whole, name)[i : i + 1], rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_training_randomness_comes_from_the_stream_only(generator_config, latents, cameras):
    net = Generator3D(generator_config)
    stream = Stream(seed=0, step=0, rows=(0, 1, 2))
    first = net(*latents, cameras, noise='random', stream=stream).image
    state = torch.get_rng_state()
    assert torch.equal(net(*latents, cameras, noise='random', stream=stream).image, first)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.allclose(net(*latents, cameras, noise='random', stream=stream.at(1)).image, first)


@torch.no_grad()
def test_classes_and_conditioning_cameras_matter(generator_config, latents, cameras):
    net = Generator3D(generator_config)
    z, classes = latents
    ws = net.mapping(z, classes, cameras)
    assert not torch.allclose(net.mapping(z, (classes + 1) % 5, cameras), ws)
    assert not torch.allclose(net.mapping(z, classes, cameras[[1, 2, 0]]), ws)
    assert not torch.allclose(net.mapping(z, classes, None), ws)
    with pytest.raises(UsageError, match='class'):
        net.mapping(z, None, cameras)
    with pytest.raises(UsageError, match='camera'):
        net(z, classes, None)


def test_gradients_reach_every_parameter(generator_config, latents, cameras):
    net = Generator3D(generator_config)
    for name, parameter in net.named_parameters():
        if 'extras.' in name and name.endswith(('residual_scale', 'to_image.weight')):
            parameter.data.normal_()
    stream = Stream(seed=0, step=0, rows=(0, 1, 2))
    out = net(*latents, cameras, noise='random', stream=stream)
    (out.image.square().sum() + out.image_raw.square().sum()).backward()
    silent = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert silent == []
    assert all(p.grad.isfinite().all() for p in net.parameters())


def test_forward_remembers_nothing(generator_config, latents, cameras):
    net = Generator3D(generator_config)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    attributes = {name: set(vars(module)) for name, module in net.named_modules()}
    net(*latents, cameras)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert attributes == {name: set(vars(module)) for name, module in net.named_modules()}
    net.track_w(net.mapping(*latents, cameras), 0.9)
    assert not torch.equal(net.w_avg, torch.zeros(16))


@torch.no_grad()
def test_the_field_has_its_density_and_widened_colours(generator_config, latents, cameras):
    net = Generator3D(generator_config)
    planes = net.planes(net.mapping(*latents, cameras)) * 100
    points = torch.rand(3, 50, 3) - 0.5
    raw, features = net.field(planes)(points)
    assert raw.shape == (3, 50, 1) and features.shape == (3, 50, 6)
    assert -0.001 <= features.min() < 0.5 < features.max() <= 1.001 + 1e-6
    assert torch.equal(net.density(planes, points), raw)


@torch.no_grad()
def test_the_outside_prior_lowers_the_density_beyond_its_radius(generator_config, latents, cameras):
    plain = Generator3D(generator_config)
    config = replace(generator_config, radiance=replace(generator_config.radiance, outside=OutsidePrior(strength=6.0, radius=0.5)))
    net = Generator3D(config)
    net.load_state_dict(plain.state_dict())
    planes = net.planes(net.mapping(*latents, cameras))
    points = torch.zeros(3, 3, 3)
    points[:, 1, 0], points[:, 2, 1] = 0.4, -0.7
    difference = net.density(planes, points) - plain.density(planes, points)
    torch.testing.assert_close(difference[0, :, 0], torch.tensor([0.0, 0.0, -6 * 0.2]), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_core_prior_raises_the_density_within_its_radius(generator_config, latents, cameras):
    plain = Generator3D(generator_config)
    net = Generator3D(replace(generator_config, radiance=replace(generator_config.radiance, core=CorePrior(strength=20.0, radius=0.3))))
    net.load_state_dict(plain.state_dict())
    planes = net.planes(net.mapping(*latents, cameras))
    points = torch.zeros(3, 3, 3)
    points[:, 1, 0], points[:, 2, 1] = 0.2, -0.4
    difference = net.density(planes, points) - plain.density(planes, points)
    torch.testing.assert_close(difference[0, :, 0], torch.tensor([6.0, 2.0, 0.0]), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_planes_span_the_box(generator_config):
    """A plane that is 1 in its last column is felt at x = box_side / 2 (pixel centres: half a pixel inside) and not in the middle."""
    net = Generator3D(generator_config)
    planes = torch.zeros(1, 3, 4, 16, 16)
    planes[:, 0, :, :, -1] = 1.0
    edge = 0.8 * (1 - 1 / 16)
    points = torch.tensor([[[edge, 0.0, 0.0], [0.0, 0.0, 0.0], [edge, 0.3, 0.5]]])
    raw = net.density(planes, points)[0, :, 0]
    assert raw[0] == pytest.approx(raw[2].item(), abs=1e-6) and raw[0] != pytest.approx(raw[1].item(), abs=1e-3)


def test_impossible_configurations(generator_config):
    with pytest.raises(UsageError):
        replace(generator_config, image_resolution=24)
    with pytest.raises(UsageError):
        replace(generator_config, superres=SuperresConfig(channels=(4,)), image_resolution=64)
