"""Every convolution of every network has channels innermost, whatever the batch: one that answers otherwise slows down all that follow it."""

import pytest
import torch
from torch import nn

from torch_utils.rng import Stream
from training.networks.discriminator import Discriminator
from training.networks.generator3d import Generator3D
from training.networks.layers import Conv
from training.networks.modulated import ModulatedConv
from training.networks.pose import GreyReader, PoseReaderConfig


def strides_of_convolutions(network: nn.Module, *inputs) -> list[bool]:
    """Of each convolution that makes pictures of more than a pixel: whether its output's strides are those of channels last."""
    found = []

    def note(module, inputs, y):
        _, c, h, w = y.shape
        if h > 1:
            found.append(y.stride() == (c * h * w, 1, c * w, c))

    for module in network.modules():
        if isinstance(module, (Conv, ModulatedConv)):
            module.register_forward_hook(note)
    network(*inputs)
    return found


@pytest.mark.parametrize('n', [1, 3])
def test_generator(generator_config, cameras, n):
    found = strides_of_convolutions(Generator3D(generator_config), torch.randn(n, 12), torch.arange(n), cameras[:n])
    assert len(found) == 15 and all(found)


@pytest.mark.parametrize('n', [1, 3])
def test_discriminator(discriminator_config, cameras, n):
    pictures = torch.randn(n, 3, 16, 16), torch.randn(n, 3, 8, 8)
    found = strides_of_convolutions(Discriminator(discriminator_config), *pictures, torch.arange(n), cameras[:n])
    assert found and all(found)


@pytest.mark.parametrize('n', [1, 3])
def test_reader_of_grey_pictures(n):
    reader = GreyReader(16, PoseReaderConfig(sees='grey', channels=(4, 6, 8)))
    found = strides_of_convolutions(reader, torch.randn(n, 3, 16, 16), Stream(seed=1, step=0, rows=range(n)))
    assert len(found) == 5 and all(found)
