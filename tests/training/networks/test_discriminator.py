"""The discriminator: what it sees, its parts against their definitions, its conditions, and the gradient penalty through it."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from dnnlib.errors import UsageError
from training.networks.discriminator import Discriminator, DiscriminatorConfig, ResidualBlock, minibatch_deviation
from training.networks.mapping import MappingConfig
from training.networks.resample import conv_down, downsample


@pytest.fixture
def pictures():
    return torch.randn(3, 3, 16, 16), torch.randn(3, 3, 8, 8)


CLASSES = torch.tensor([0, 1, 2])


def test_logits_have_one_number_per_picture(discriminator_config, pictures, cameras):
    assert Discriminator(discriminator_config)(*pictures, CLASSES, cameras).shape == (3,)
    single = replace(discriminator_config, see='single', num_classes=0, conditions_on_camera=False)
    assert Discriminator(single)(pictures[0]).shape == (3,)


def test_a_dual_discriminator_sees_both_pictures_at_one_size(discriminator_config, pictures, cameras):
    net = Discriminator(discriminator_config)
    image, raw = pictures
    seen = net.see(image, raw)
    assert torch.equal(seen[:, :3], image)
    torch.testing.assert_close(seen[:, 3:], F.interpolate(raw, (16, 16), mode='bilinear', antialias=True))
    assert not torch.allclose(net(image, raw, CLASSES, cameras), net(image, -raw, CLASSES, cameras))
    with pytest.raises(UsageError, match='image_raw'):
        net(image, None, CLASSES, cameras)


@pytest.mark.parametrize(('num_classes', 'camera'), [(5, True), (5, False), (0, True), (0, False)])
def test_it_reacts_to_the_conditions_that_it_has(discriminator_config, pictures, cameras, num_classes, camera):
    net = Discriminator(replace(discriminator_config, num_classes=num_classes, conditions_on_camera=camera))
    logits = net(*pictures, CLASSES, cameras)
    assert torch.allclose(net(*pictures, CLASSES + 2, cameras), logits) == (num_classes == 0)
    assert torch.allclose(net(*pictures, CLASSES, cameras[[1, 2, 0]]), logits) == (not camera)


def test_a_residual_block_is_its_formula():
    block = ResidualBlock(4, 6, clamp=0.7).double()
    block.conv0.bias.data.normal_()
    block.conv1.bias.data.normal_()
    x = torch.randn(2, 4, 8, 8, dtype=torch.float64)
    y = F.leaky_relu(F.conv2d(x, block.conv0.weight / 6, block.conv0.bias, padding=1), 0.2) * math.sqrt(2)
    y = F.leaky_relu(conv_down(y.clamp(-0.7, 0.7), block.conv1.weight / 6, block.conv1.bias), 0.2) * math.sqrt(2) * math.sqrt(0.5)
    skip = F.conv2d(downsample(x), block.skip.weight / 2) * math.sqrt(0.5)
    torch.testing.assert_close(block(x), skip + y.clamp(-0.7 * math.sqrt(0.5), 0.7 * math.sqrt(0.5)))


def test_the_residual_trunk_keeps_its_scale():
    config = DiscriminatorConfig(image_resolution=64, see='single', channel_base=2048, channel_max=64, mbstd_group=0)
    net = Discriminator(config)
    # Smooth pictures: white noise would lose its power to the filters.
    x = net.trunk.from_image(torch.randn(8, 3, 1, 1).expand(-1, -1, 64, 64).contiguous())
    for block in net.trunk.blocks.values():
        x = block(x)
        assert 0.2 < x[:, :, 1:-1, 1:-1].square().mean() < 5


@pytest.mark.parametrize(('rows', 'group', 'grouping', 'groups'), [
    (8, 4, 'strided', [[0, 2, 4, 6], [1, 3, 5, 7]]),
    (8, 4, 'consecutive', [[0, 1, 2, 3], [4, 5, 6, 7]]),
    (6, 4, 'strided', [[0, 2, 4], [1, 3, 5]]),
    (3, 4, 'strided', [[0, 1, 2]]),
    (1, 4, 'consecutive', [[0]]),
])
def test_minibatch_deviation_by_hand(rows, group, grouping, groups):
    x = torch.randn(rows, 5, 4, 4, dtype=torch.float64)
    expected = torch.empty(rows, 1, 4, 4, dtype=torch.float64)
    for members in groups:
        expected[members] = (x[members].var(dim=0, unbiased=False) + 1e-8).sqrt().mean()
    torch.testing.assert_close(minibatch_deviation(x, group, grouping), expected)


def test_without_minibatch_deviation_a_logit_does_not_depend_on_its_batch(discriminator_config, pictures, cameras):
    image, raw = pictures
    with torch.no_grad():
        net = Discriminator(replace(discriminator_config, mbstd_group=0))
        whole = net(image, raw, CLASSES, cameras)
        torch.testing.assert_close(net(image[1:2], raw[1:2], CLASSES[1:2], cameras[1:2]), whole[1:2], rtol=1e-4, atol=1e-5)


def test_gradients_reach_every_parameter_also_those_of_the_gradient_penalty(discriminator_config, pictures, cameras):
    net = Discriminator(discriminator_config)
    image, raw = (p.requires_grad_() for p in pictures)
    logits = net(image, raw, CLASSES, cameras)
    gradients = torch.autograd.grad(logits.sum(), [image, raw], create_graph=True)
    assert all(g.abs().max() > 0 for g in gradients)
    (logits.square().sum() + sum(g.square().sum() for g in gradients)).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().max() > 0] == []


def test_the_gradient_penalty_is_a_true_derivative():
    config = DiscriminatorConfig(
        image_resolution=8, see='single', channel_base=32, channel_max=4, mbstd_group=2, mapping=MappingConfig(layers=1)
    )
    net = Discriminator(config).double()
    image = torch.randn(2, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    gradient = torch.autograd.grad(net(image).sum(), image)[0]
    direction = torch.randn_like(image)
    with torch.no_grad():
        step = 1e-6
        slope = (net(image + step * direction).sum() - net(image - step * direction).sum()) / (2 * step)
    assert (gradient * direction).sum().item() == pytest.approx(slope.item(), rel=1e-4)


def test_under_autocast_logits_and_the_gradient_penalty_stay_close():
    config = DiscriminatorConfig(image_resolution=16, see='single', channel_base=128, channel_max=16)
    net, image = Discriminator(config), torch.randn(4, 3, 16, 16, requires_grad=True)
    with torch.autocast('cpu', torch.bfloat16):
        logits = net(image)
    assert logits.dtype == torch.float32, 'the head keeps all digits'
    torch.testing.assert_close(logits, net(image), rtol=0.1, atol=0.1)
    gradient = torch.autograd.grad(logits.sum(), image, create_graph=True)[0]
    gradient.square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())


def test_impossible_configurations():
    with pytest.raises(UsageError):
        DiscriminatorConfig(image_resolution=48)
    with pytest.raises(UsageError):
        DiscriminatorConfig(mbstd_group=-1)


def test_the_unconditional_term_is_the_same_for_every_class() -> None:
    config = DiscriminatorConfig(
        image_resolution=8, see='single', num_classes=3, channel_base=64, channel_max=8, mbstd_group=0, mapping=MappingConfig(layers=1),
        unconditional_term=True,
    )  # fmt: skip
    net = Discriminator(config)
    image = torch.randn(1, 3, 8, 8).expand(3, -1, -1, -1)
    both = net(image, classes=torch.arange(3))
    hidden = net.realness.dense(net.trunk(image))
    shared, net.realness.unconditional = net.realness.unconditional(hidden)[:, 0], None
    alone = net(image, classes=torch.arange(3))
    torch.testing.assert_close(both - alone, shared)
    assert alone.std() > 0, 'the projection tells classes apart'
