"""Published EG3D, number by number: random weights, and what the published code computed from them on a CPU in float32.

The values lie beside the repository, in shared/golden, and are not part of a clone. Without them the same file builds the published tensors
from their names, with random values, and asks for the same strict loading and for finite results of the right shapes.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from importers import eg3d
from training.cameras.convention import from_eg3d
from training.cameras.rays import rays
from training.networks.discriminator import Discriminator
from training.networks.generator3d import Generator3D

TOLERANCE = 1e-4  # relative to the largest value
PSI = 0.7  # truncation under which the golden latents were made


@dataclass
class Published:
    generator: dict[str, Tensor]
    discriminator: dict[str, Tensor]
    options: dict
    render_resolution: int
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]  # empty where nobody knows them


def read(path: Path) -> Published:
    tensors = load_file(path)
    with safe_open(path, 'pt') as file:
        header = file.metadata()

    def part(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}

    inputs = part('in.') | {f'seen.{name}': tensor for name, tensor in part('D_in.').items()}
    resolution = json.loads(header['config'])['nrr']
    return Published(part('G.'), part('D.'), json.loads(header['rendering']), resolution, inputs, part('out.') | part('D_out.'))


def imitation(shapes: tuple) -> Published:
    """Random values under the published names, at the scales at which they are stored."""
    generator_shapes, discriminator_shapes, superres, resolution = shapes
    source = torch.Generator().manual_seed(0)

    def values(table: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
        return {name: torch.randn(shape, generator=source) * (100 if '.fc' in f'.{name}' else 1) for name, shape in table.items()}

    options = {'depth_resolution': 8, 'depth_resolution_importance': 8, 'ray_start': 2.25, 'ray_end': 3.3, 'box_warp': 1}
    pose = torch.tensor([[1.0, 0, 0, 0, 0, -1, 0, 0, 0, 0, -1, 2.7, 0, 0, 0, 1, 4.26, 0, 0.5, 0, 4.26, 0.5, 0, 0, 1]])
    inputs = {
        'z': torch.randn(1, 64, generator=source),
        'c_camera': pose,
        'c_conditioning': pose,
        'points': torch.rand(1, 100, 3, generator=source) - 0.5,
        'seen.image': torch.randn(1, 3, 128, 128, generator=source),
        'seen.image_raw': torch.randn(1, 3, 32, 32, generator=source),
    }
    options['superresolution_module'] = superres
    return Published(values(generator_shapes), values(discriminator_shapes), options, resolution, inputs, {})


@pytest.fixture(scope='module')
def published(golden: Path, tiny: tuple) -> Published:
    path = golden / 'eg3d-tiny.safetensors'
    return read(path) if path.is_file() else imitation(tiny)


@pytest.fixture(scope='module')
def generator(published: Published) -> Generator3D:
    shapes = {name: tuple(tensor.shape) for name, tensor in published.generator.items()}
    net = Generator3D(eg3d.generator_config(shapes, published.options, published.render_resolution))
    net.load_state_dict(eg3d.generator_weights(published.generator, published.options))  # strict: every place filled, nothing left
    return net.requires_grad_(False)


@pytest.fixture(scope='module')
def planes(published: Published, generator: Generator3D) -> tuple[Tensor, Tensor]:
    """(ws, planes)."""
    ws = generator.mapping(published.inputs['z'], None, from_eg3d(published.inputs['c_conditioning']), truncation_psi=PSI)
    return ws, generator.planes(ws, noise='const')


def agree(published: Published, name: str, ours: Tensor, least_scale: float = 0.0) -> None:
    assert ours.isfinite().all(), name
    if published.outputs:
        theirs = published.outputs[name]
        assert ours.shape == theirs.shape, name
        error = (ours - theirs).abs().max() / max(theirs.abs().max().item(), least_scale)
        assert error <= TOLERANCE, f'{name}: off by {error:.1e} of the largest value'


def test_latents_and_planes(published, planes):
    ws, features = planes
    assert ws.shape == (1, 14, 512) and features.shape == (1, 3, 32, 256, 256)
    agree(published, 'ws', ws)
    agree(published, 'planes_every_8th_pixel', features.flatten(1, 2)[:, :, ::8, ::8])


def test_density_and_colour_at_points(published, generator, planes):
    raw, colours = generator.field(planes[1])(published.inputs['points'])
    agree(published, 'sigma', raw)
    agree(published, 'rgb', colours)


def test_rays(published):
    cast = rays(from_eg3d(published.inputs['c_camera']), published.render_resolution)
    agree(published, 'ray_origins', cast.origins)
    agree(published, 'ray_directions', cast.directions)


def test_pictures_and_depth(published, generator, planes):
    out = generator.render(planes[1], planes[0], from_eg3d(published.inputs['c_camera']))
    assert out.image.shape == (1, 3, 128, 128) and out.image_raw.shape == (1, 3, 32, 32)
    agree(published, 'image', out.image)
    agree(published, 'image_raw', out.image_raw)
    agree(published, 'image_depth', out.depth)


@torch.no_grad()
def test_the_discriminators_logits(published):
    """Conditioned on the camera that the picture was rendered with."""
    shapes = {name: tuple(tensor.shape) for name, tensor in published.discriminator.items()}
    net = Discriminator(eg3d.discriminator_config(shapes))
    net.load_state_dict(eg3d.discriminator_weights(published.discriminator))
    seen = published.inputs
    logits = net(seen['seen.image'], seen['seen.image_raw'], None, from_eg3d(seen['c_camera']))
    # A sum of 32 products that nearly cancel: 0.0008 is left of terms of up to 0.018, which set the scale of rounding.
    agree(published, 'logits', logits[:, None], least_scale=0.01)
