"""A picture behind the scene: it shows where light passes, moves with no camera, and changes nothing where it is not asked for."""

from dataclasses import replace

import pytest
import torch

from dnnlib.errors import UsageError
from training.networks.backdrop import Backdrop, BackdropConfig
from training.networks.generator3d import Generator3D


@pytest.fixture
def config(generator_config):
    raw = replace(generator_config, superres=None, image_resolution=8, radiance=replace(generator_config.radiance, features=3))
    return replace(raw, backdrop=BackdropConfig(resolution=8, channels=6))


def test_it_shows_where_light_passes_and_is_the_same_from_everywhere(config, cameras):
    net = Generator3D(config)
    bare = Generator3D(replace(config, backdrop=None))
    bare.load_state_dict({name: tensor for name, tensor in net.state_dict().items() if not name.startswith('backdrop.')})
    ws = torch.randn(1, net.num_ws, 16).expand(3, -1, -1)
    planes = net.planes(ws)
    seen, black = net.render(planes, ws, cameras), bare.render(planes, ws, cameras)
    assert torch.equal(seen.depth, black.depth) and torch.equal(seen.opacity, black.opacity) and 0.01 < seen.opacity.min() < seen.opacity.max() < 1
    behind = (seen.image - black.image) / (2 * (1 - seen.opacity))
    torch.testing.assert_close(behind[1:], behind[:1].expand(2, -1, -1, -1), rtol=0, atol=1e-5)
    torch.testing.assert_close(behind, net.backdrop(ws, 8), rtol=0, atol=1e-5)
    assert behind.min() >= -1e-5 and behind.max() <= 1 + 1e-5 and behind.std() > 0.01


def test_scene_and_backdrop_both_learn(config, cameras):
    net = Generator3D(config)
    net(torch.randn(3, 12), torch.tensor([4, 0, 2]), cameras).image.square().sum().backward()
    for part in (net.backdrop, net.synthesis, net.radiance):
        assert all(p.grad is not None and p.grad.isfinite().all() for p in part.parameters()) and any(p.grad.abs().max() > 0 for p in part.parameters())


def test_it_is_as_coarse_as_it_says():
    backdrop = Backdrop(16, 3, BackdropConfig(resolution=4, channels=5))
    shown = backdrop(torch.randn(2, 10, 16), 32)
    assert shown.shape == (2, 3, 32, 32) and backdrop.num_ws == 2
    assert (shown[:, :, :4] == shown[:, :, :1]).all(), 'beyond the outermost centres it is constant'
    line = shown[:, :, 4, 4:12]  # between two of them a straight line
    torch.testing.assert_close(line.diff(dim=-1), line.diff(dim=-1)[..., :1].expand(-1, -1, 7), rtol=0, atol=1e-5)


def test_what_it_cannot_stand_behind_is_refused(config):
    with pytest.raises(UsageError, match='background=black'):
        replace(config, rendering=replace(config.rendering, background='field'))
    with pytest.raises(UsageError, match='picture=rendered'):
        replace(config, picture='flat')
    with pytest.raises(UsageError, match=r'backdrop.resolution is 32'):
        replace(config, backdrop=BackdropConfig(resolution=32))
    for wrong in ({'resolution': 12}, {'resolution': 2}, {'channels': 0}):
        with pytest.raises(UsageError, match='resolution must be a power of two'):
            BackdropConfig(**wrong)
