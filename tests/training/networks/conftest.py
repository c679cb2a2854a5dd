"""Small networks for the tests of this room."""

import pytest
import torch

from training.cameras.camera import Camera
from training.cameras.orbit import orbit
from training.networks.discriminator import DiscriminatorConfig
from training.networks.generator3d import GeneratorConfig
from training.networks.mapping import MappingConfig
from training.networks.radiance import RadianceConfig
from training.networks.superres import SuperresConfig
from training.networks.synthesis import SynthesisConfig
from training.rendering.renderer import RenderingConfig


@pytest.fixture(autouse=True)
def _seed() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.fixture
def cameras() -> Camera:
    return orbit(torch.tensor([0.0, 0.7, -2.0]), torch.tensor([0.1, 0.3, -0.2]), 1.7, focal=1.0254)


@pytest.fixture
def generator_config() -> GeneratorConfig:
    """Conditioned on 5 classes and the camera; 8 px render, 16 px picture."""
    return GeneratorConfig(
        z_dim=12,
        w_dim=16,
        num_classes=5,
        conditions_on_camera=True,
        image_resolution=16,
        render_resolution=8,
        mapping=MappingConfig(layers=2, lr_multiplier=0.01),
        synthesis=SynthesisConfig(plane_resolution=16, plane_channels=4, channel_base=128, channel_max=16, extra_blocks=(8, 16, 16)),
        radiance=RadianceConfig(hidden=(12, 12), features=6),
        rendering=RenderingConfig(samples_coarse=6, samples_fine=4, near=0.9, far=2.5, box_side=1.6),
        superres=SuperresConfig(channels=(8, 8), noise='random'),
    )


@pytest.fixture
def discriminator_config() -> DiscriminatorConfig:
    return DiscriminatorConfig(
        image_resolution=16, see='dual', num_classes=5, conditions_on_camera=True, channel_base=128, channel_max=16,
        mapping=MappingConfig(layers=2),
    )
