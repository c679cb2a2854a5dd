"""The EG3D key map: every published tensor has one place in our networks, every place is filled, shapes agree."""

import json

import pytest
import torch

from dnnlib.errors import DataError
from importers import eg3d
from training.networks.discriminator import Discriminator
from training.networks.generator3d import Generator3D
from training.networks.mapping import Mapping, MappingConfig
from training.networks.superres import SuperresConfig

OPTIONS = {
    'depth_resolution': 8,
    'depth_resolution_importance': 8,
    'ray_start': 2.25,
    'ray_end': 3.3,
    'box_warp': 1,
    'superresolution_noise_mode': 'const',
}


def options(superres: str, **changes) -> dict:
    return OPTIONS | {'superresolution_module': superres} | changes


def shapes_of(module: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def test_the_generators_names_map_one_to_one_onto_ours(checkpoint):
    _, shapes, _, superres, resolution = checkpoint
    config = eg3d.generator_config(shapes, options(superres), resolution)
    with torch.device('meta'):
        ours = shapes_of(Generator3D(config))
    mapped = [(eg3d.generator_name(name), shape) for name, shape in shapes.items()]
    mapped = [(name, shape) for name, shape in mapped if name is not None]
    assert len(dict(mapped)) == len(mapped), 'two published tensors have one place'
    assert dict(mapped) == ours


def test_the_discriminators_names_map_one_to_one_onto_ours(checkpoint):
    _, _, shapes, _, _ = checkpoint
    config = eg3d.discriminator_config(shapes)
    with torch.device('meta'):
        ours = shapes_of(Discriminator(config))
    mapped = [(eg3d.discriminator_name(name), shape) for name, shape in shapes.items()]
    mapped = [(name, shape) for name, shape in mapped if name is not None]
    assert len(dict(mapped)) == len(mapped)
    assert dict(mapped) == ours


def test_only_constants_and_bookkeeping_are_left_out(checkpoint):
    _, generator, discriminator, _, _ = checkpoint
    left_out = {n for n in generator if eg3d.generator_name(n) is None} | {n for n in discriminator if eg3d.discriminator_name(n) is None}
    assert all(name.endswith(('resample_filter', 'dataset_label_std')) for name in left_out)


def test_the_rules_build_the_lists_of_the_released_files(checkpoint, golden):
    """Where the lists lie beside the repository, the names built here are exactly those; elsewhere the rules stand for themselves."""
    name, generator, discriminator, _, _ = checkpoint
    for letter, built in (('G', generator), ('D', discriminator)):
        table = golden / 'tables' / f'{name}.{letter}.txt'
        if table.is_file():
            rows = (line.split(maxsplit=2) for line in table.read_text().splitlines())
            listed = {row[1]: tuple(json.loads(row[2])) for row in rows}
            # The training loop's statistic is in some files only.
            assert built | {'dataset_label_std': (25,)} == listed | {'dataset_label_std': (25,)}


@pytest.mark.parametrize('name', ['backbone.synthesis.b8.conv2.weight', 'decoder.net.1.weight', 'affine_layer1.weight', ''])
def test_a_name_that_eg3d_does_not_have_is_an_error(name):
    with pytest.raises(DataError, match='not the name'):
        eg3d.generator_name(name)


def test_configuration_of_the_published_layouts(checkpoint):
    name, shapes, discriminator, superres, resolution = checkpoint
    config = eg3d.generator_config(shapes, options(superres, white_back=name.startswith('shapenet')), resolution)
    expected = {
        'tiny': (64, 128, (128, 64), 64),
        'shapenet128-64': (512, 128, (128, 64), 64),
        'ffhq512-128': (512, 512, (256, 128), 128),
    }[name]
    assert (config.z_dim, config.image_resolution, config.superres.channels, config.superres.input_resolution) == expected
    assert config.rendering.axes == config.rendering.rule == 'EG3D_2022'
    assert (config.rendering.background == 'white') == name.startswith('shapenet')
    assert config.superres.raw_includes_first_block and SuperresConfig().raw_includes_first_block is False
    assert eg3d.discriminator_config(discriminator).image_resolution == config.image_resolution


@pytest.mark.parametrize(('change', 'message'), [
    ({'superresolution_module': 'training.superresolution.Other'}, 'Other'),
    ({'disparity_space_sampling': True}, 'disparity'),
    ({'clamp_mode': 'relu'}, 'clamp_mode'),
])
def test_unknown_options_are_errors(checkpoint, change, message):
    _, shapes, _, superres, resolution = checkpoint
    with pytest.raises(DataError, match=message):
        eg3d.generator_config(shapes, options(superres) | change, resolution)


def test_a_missing_option_is_an_error(checkpoint):
    _, shapes, _, superres, resolution = checkpoint
    incomplete = options(superres)
    del incomplete['box_warp']
    with pytest.raises(DataError, match='box_warp'):
        eg3d.generator_config(shapes, incomplete, resolution)


@pytest.fixture
def mapping_weights() -> dict[str, torch.Tensor]:
    """The mapping network of a published generator with z 6 and w 8."""
    shapes = {'embed.weight': (8, 25), 'embed.bias': (8,), 'fc0.weight': (8, 14), 'fc0.bias': (8,), 'fc1.weight': (8, 8), 'fc1.bias': (8,)}
    generator = torch.Generator().manual_seed(0)
    scale = {'fc0.weight': 100.0, 'fc1.weight': 100.0}
    return {f'backbone.mapping.{k}': torch.randn(v, generator=generator) * scale.get(k, 1.0) for k, v in shapes.items()}


@torch.no_grad()
def test_a_generator_that_is_never_shown_a_camera_loses_that_input(mapping_weights):
    """Zeros for a camera are a constant: the imported mapping without a camera equals the published one with zeros."""
    prefix = 'mapping_network.'
    nets = []
    for zeros in (False, True):
        weights = eg3d.generator_weights(mapping_weights, {'c_gen_conditioning_zero': zeros})
        net = Mapping(z_dim=6, num_classes=0, conditions_on_camera=not zeros, out_features=8, config=MappingConfig())
        net.load_state_dict({k.removeprefix(prefix): v for k, v in weights.items()} | {'w_avg': torch.zeros(8)})
        nets.append(net)
    z = torch.randn(5, 6, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(nets[1](z), nets[0](z, camera=None))


@torch.no_grad()
def test_a_factor_on_the_camera_goes_into_its_weights(mapping_weights):
    plain, scaled = (eg3d.generator_weights(mapping_weights, {'c_scale': c})['mapping_network.embed_camera.weight'] for c in (1, 0.5))
    torch.testing.assert_close(scaled, plain / 2)
