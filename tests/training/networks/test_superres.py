"""Super-resolution: any factor, the published layouts, and the published change of image_raw behind its name."""

import pytest
import torch

from dnnlib.errors import UsageError
from training.networks.superres import Superres, SuperresConfig


@pytest.mark.parametrize(
    ('config', 'sides', 'expected'),
    [
        (SuperresConfig((128, 64), 64), (64, 128), (64, [(128, False), (64, True)])),  # 2X
        (SuperresConfig((128, 64), 128), (64, 256), (128, [(128, False), (64, True)])),  # 4X
        (SuperresConfig((256, 128), 128), (64, 512), (128, [(256, True), (128, True)])),  # 8XDC
        (SuperresConfig(), (64, 512), (64, [(128, True), (64, True), (32, True)])),
        (SuperresConfig(), (32, 64), (32, [(128, False), (64, True)])),
        (SuperresConfig((16,)), (32, 32), (32, [(16, False)])),
    ],
)
def test_layouts(config, sides, expected):
    assert config.layout(*sides) == expected


@pytest.mark.parametrize(
    ('config', 'sides'), [(SuperresConfig(), (48, 64)), (SuperresConfig(), (64, 32)), (SuperresConfig((8,)), (16, 64))]
)
def test_impossible_layouts(config, sides):
    with pytest.raises(UsageError):
        config.layout(*sides)


@pytest.mark.parametrize('resolution', [8, 12, 16])
def test_any_render_resolution_goes_in(resolution):
    net = Superres(6, 7, 8, 32, SuperresConfig(channels=(5, 4, 3)))
    features = torch.rand(2, 6, resolution, resolution)
    image, raw = net(features[:, :3], features, torch.randn(2, 7))
    assert image.shape == (2, 3, 32, 32) and torch.equal(raw, features[:, :3])


def test_without_its_latent_and_weights_it_only_enlarges():
    net = Superres(6, 7, 8, 16, SuperresConfig(channels=(5, 4)))
    for block in net.blocks:
        block.to_image.weight.data.zero_()
    features = torch.full((1, 6, 8, 8), 0.5)
    image, _ = net(features[:, :3], features, torch.randn(1, 7))
    torch.testing.assert_close(image[..., 2:-2, 2:-2], torch.full((1, 3, 12, 12), 0.5))


@pytest.mark.parametrize(('side', 'changes'), [(8, True), (4, False)])
def test_the_published_raw_picture_includes_the_first_block_if_nothing_is_resized(side, changes):
    new = Superres(6, 7, 8, 16, SuperresConfig(channels=(5, 4)))
    old = Superres(6, 7, 8, 16, SuperresConfig(channels=(5, 4), raw_includes_first_block=True))
    old.load_state_dict(new.state_dict())
    features, w = torch.rand(2, 6, side, side), torch.randn(2, 7)
    image_new, raw_new = new(features[:, :3], features, w)
    image_old, raw_old = old(features[:, :3], features, w)
    torch.testing.assert_close(image_new, image_old)
    assert torch.equal(raw_new, features[:, :3])
    assert torch.equal(raw_old, raw_new) != changes
    if changes:
        _, first = old.blocks[0](features, features[:, :3], (w, w, w), 'none')
        torch.testing.assert_close(raw_old, first)


def test_in_sixteen_bits_the_picture_is_still_summed_up_in_float32():
    exact = Superres(6, 7, 8, 32, SuperresConfig(channels=(8, 8)))
    rounded = Superres(6, 7, 8, 32, SuperresConfig(channels=(8, 8), precision='bf16'))
    rounded.load_state_dict(exact.state_dict())
    features, w = torch.rand(2, 6, 8, 8), torch.randn(2, 7)
    widths = []
    rounded.blocks[1].conv1.register_forward_hook(lambda _module, _inputs, y: widths.append(y.dtype))
    (image, raw), (expected, _) = (net(features[:, :3], features, w) for net in (rounded, exact))
    assert widths == [torch.bfloat16] and image.dtype == raw.dtype == torch.float32
    assert 1e-5 < (image - expected).abs().max() < 0.02 * expected.abs().max()
    image.square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in rounded.parameters())
