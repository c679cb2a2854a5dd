"""Mapping: what it is conditioned on, in which order, and truncation."""

import pytest
import torch

from dnnlib.errors import UsageError
from training.cameras.condition import camera_condition
from training.cameras.convention import EG3D_NUMBERS
from training.networks.layers import normalise_second_moment
from training.networks.mapping import Mapping, MappingConfig


def make(num_classes: int = 0, camera: bool = False, z_dim: int = 12, layers: int = 2) -> Mapping:
    return Mapping(
        z_dim=z_dim, num_classes=num_classes, conditions_on_camera=camera, out_features=16, config=MappingConfig(layers=layers)
    )


def test_latent_camera_and_class_are_normalised_apart_and_joined_in_this_order(cameras):
    net, z, classes = make(5, True), torch.randn(3, 12), torch.tensor([4, 0, 2])
    parts = [z, net.embed_camera(camera_condition(cameras)), net.embed_class(classes)]
    x = torch.cat([normalise_second_moment(p) for p in parts], dim=1)
    for layer in net.layers:
        x = layer(x)
    torch.testing.assert_close(net(z, classes, cameras), x)


@pytest.mark.parametrize(('num_classes', 'camera'), [(0, False), (5, False), (0, True), (5, True)])
def test_only_the_conditions_asked_for_have_an_influence(cameras, num_classes, camera):
    net, z = make(num_classes, camera), torch.randn(3, 12)
    first = net(z, torch.tensor([0, 1, 2]), cameras)
    assert torch.allclose(net(z, torch.tensor([3, 3, 3]), cameras), first) == (num_classes == 0)
    assert torch.allclose(net(z, torch.tensor([0, 1, 2]), cameras[[1, 2, 0]]), first) == (not camera)


def test_no_camera_is_25_zeros(cameras):
    assert camera_condition(cameras).shape == (3, EG3D_NUMBERS)
    net, z = make(camera=True), torch.randn(3, 12)
    bias = normalise_second_moment(net.embed_camera.bias[None]).expand(3, -1)
    x = torch.cat([normalise_second_moment(z), bias], dim=1)
    for layer in net.layers:
        x = layer(x)
    torch.testing.assert_close(net(z), x)


def test_a_missing_class_is_the_users_error():
    with pytest.raises(UsageError, match='5 classes'):
        make(num_classes=5)(torch.randn(3, 12))


def test_the_output_has_unit_scale_at_initialisation():
    net = Mapping(z_dim=64, num_classes=0, conditions_on_camera=False, out_features=256, config=MappingConfig(layers=8))
    assert net(torch.randn(256, 64) * 30).square().mean().item() == pytest.approx(1.04, rel=0.5)


def test_a_double_latent_is_accepted():
    net, z = make(), torch.randn(3, 12, dtype=torch.float64)
    torch.testing.assert_close(net(z), net(z.float()))


def test_truncation_draws_the_first_entries_towards_the_mean():
    net, ws = make(), torch.randn(3, 6, 16)
    net.w_avg.normal_()
    torch.testing.assert_close(net.truncate(ws, 0.0, None), net.w_avg.expand(3, 6, 16))
    torch.testing.assert_close(net.truncate(ws, 0.7, None), net.w_avg + 0.7 * (ws - net.w_avg))
    part = net.truncate(ws, 0.7, 2)
    torch.testing.assert_close(part[:, :2], net.w_avg + 0.7 * (ws - net.w_avg)[:, :2])
    assert torch.equal(part[:, 2:], ws[:, 2:])
    assert torch.equal(net.truncate(ws, 1.0, None), ws)


def test_the_mean_moves_only_when_told_to():
    net, z = make(), torch.randn(8, 12)
    w = net(z)
    assert torch.equal(net.w_avg, torch.zeros(16))
    net.track_(w[:, None].expand(-1, 6, -1), 0.9)
    torch.testing.assert_close(net.w_avg, 0.1 * w.mean(0).detach())
    before = net.w_avg.clone()
    net.track_(w.mean(0), 0.9)
    torch.testing.assert_close(net.w_avg, 0.9 * before + 0.1 * w.mean(0).detach())


def test_impossible_configurations():
    with pytest.raises(UsageError):
        MappingConfig(layers=0)
    with pytest.raises(UsageError):
        MappingConfig(lr_multiplier=0.0)
