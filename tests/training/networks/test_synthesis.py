"""The backbone: widths, latents, extra blocks, noise."""

import pytest
import torch

from dnnlib.errors import UsageError
from torch_utils.rng import Stream
from training.networks.modulated import ModulatedConv
from training.networks.synthesis import Synthesis, SynthesisConfig

SMALL = {'plane_resolution': 16, 'plane_channels': 4, 'channel_base': 128, 'channel_max': 16}


def make(**changes) -> Synthesis:
    return Synthesis(8, 3, SynthesisConfig(**SMALL | changes))


@pytest.mark.parametrize(('resolution', 'num_ws'), [(4, 2), (16, 6), (64, 10), (256, 14)])
def test_the_number_of_latents(resolution, num_ws):
    config = SynthesisConfig(plane_resolution=resolution, plane_channels=2, channel_base=64, channel_max=8, noise=False)
    net = Synthesis(8, 3, config)
    assert net.num_ws == num_ws
    assert net(torch.randn(1, num_ws, 8)).shape == (1, 3, 2, resolution, resolution)


def test_widths():
    assert SynthesisConfig().widths() == {4: 512, 8: 512, 16: 512, 32: 512, 64: 512, 128: 256, 256: 128}
    assert SynthesisConfig(**SMALL, channels=((16, 48),)).widths() == {4: 16, 8: 16, 16: 48}


@pytest.mark.parametrize(
    'changes', [{'plane_resolution': 24}, {'plane_resolution': 2}, {'channels': ((32, 8),)}, {'extra_blocks': (32,)}, {'plane_channels': 0}]
)
def test_impossible_configurations(changes):
    with pytest.raises(UsageError):
        SynthesisConfig(**SMALL | changes)


def test_extra_blocks_change_nothing_before_the_first_step():
    plain, larger = make(), make(extra_blocks=(4, 8, 16, 16))
    missing, unexpected = larger.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected and all(name.startswith('extras.') for name in missing)
    ws = torch.randn(2, 6, 8)
    torch.testing.assert_close(larger(ws), plain(ws), rtol=0, atol=0)


def test_extra_blocks_learn_from_the_first_step_on():
    net = make(extra_blocks=(8, 16))
    net(torch.randn(2, 6, 8)).square().sum().backward()
    for extra in (net.extras['r8'][0], net.extras['r16'][0]):
        for parameter in (extra.to_image.weight, extra.to_image.bias):
            assert 0 < parameter.grad.abs().max() < 1e4
    # The residual of the last extra block shows only through its own picture, which is silent still; all others do already.
    assert 0 < net.extras['r8'][0].residual_scale.grad.abs().max() < 1e4


def test_every_latent_has_an_influence_and_only_above_where_it_enters():
    net, ws = make(), torch.randn(1, 6, 8)
    planes = net(ws)
    for i in range(6):
        changed = ws.clone()
        changed[:, i] += 1
        assert not torch.allclose(net(changed), planes)


def test_random_noise_of_a_row_does_not_depend_on_the_batch():
    net = make()
    for name, parameter in net.named_parameters():
        if name.endswith('noise_strength'):
            parameter.data.fill_(0.5)
    ws, stream = torch.randn(3, 6, 8), Stream(seed=1, step=0, rows=(4, 5, 6))
    whole = net(ws, 'random', stream)
    parts = torch.cat([net(ws[:1], 'random', stream.for_rows(0, 1)), net(ws[1:], 'random', stream.for_rows(1, 3))])
    torch.testing.assert_close(whole, parts, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(whole, net(ws, 'const'))


def test_an_image_does_not_depend_on_its_batch():
    net, ws = make(extra_blocks=(16,)), torch.randn(4, 6, 8)
    torch.testing.assert_close(net(ws)[2:3], net(ws[2:3]), rtol=1e-4, atol=1e-5)


def test_activations_keep_their_scale_through_the_blocks():
    net = Synthesis(64, 3, SynthesisConfig(plane_resolution=64, plane_channels=8, channel_base=4096, channel_max=64))
    seen = []
    for block in net.blocks.values():
        block.conv1.register_forward_hook(lambda _m, _i, y: seen.append(y.square().mean().item()))
    net(torch.randn(4, 1, 64).expand(-1, 10, -1))
    assert len(seen) == 4 and all(0.1 < power < 3 for power in seen)


def test_under_autocast_planes_are_float32_and_close():
    net, ws = make(extra_blocks=(16,)), torch.randn(2, 6, 8)
    with torch.autocast('cpu', torch.bfloat16):
        planes = net(ws)
    assert planes.dtype == torch.float32
    assert (planes - net(ws)).abs().max() < 0.05 * planes.abs().max()
    planes.square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize('noise', ['random', 'const', 'none'])
@pytest.mark.parametrize('resolution', [16, 64])
def test_channels_stay_innermost_forwards_and_backwards(resolution, noise):
    """One layer that answers in another layout makes every convolution after it copy."""
    net, layouts = make(plane_resolution=resolution, extra_blocks=(16,)), []

    def note(module, inputs, y):
        layouts.append(y.is_contiguous(memory_format=torch.channels_last))
        y.register_hook(lambda gradient: layouts.append(gradient.is_contiguous(memory_format=torch.channels_last)))

    for module in net.modules():
        if isinstance(module, ModulatedConv):
            module.register_forward_hook(note)
    net(torch.randn(2, net.num_ws, 8), noise, Stream(seed=1, step=0, rows=(0, 1))).square().sum().backward()
    assert len(layouts) == 2 * (net.num_ws - 1 + 2) and all(layouts)
