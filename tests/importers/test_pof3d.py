"""The PoF3D key map: every published tensor has one place in our networks, every place is filled, shapes agree; its poses behind a name."""

import json
import math

import pytest
import torch

from dnnlib.errors import DataError
from importers import eg3d, pof3d
from training.networks.discriminator import Discriminator
from training.networks.generator3d import Generator3D
from training.networks.pose import PoseLearnerConfig, PoseReaderConfig

OPTIONS = {
    'depth_resolution': 8,
    'depth_resolution_importance': 8,
    'ray_start': 2.25,
    'ray_end': 3.3,
    'box_warp': 1,
    'superresolution_noise_mode': 'const',
    'superresolution_module': 'training.superresolution.SuperresolutionHybrid4X',
    'avg_camera_radius': 2.7,
    'avg_camera_pivot': [0, 0, 0.2],
    'h_mean': math.pi / 2,
    'wrong': True,
}
FOCAL = 4.2634


def shapes_of(module: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def mapped(shapes: dict, name_of) -> dict[str, tuple[int, ...]]:
    pairs = [(name_of(name), shape) for name, shape in shapes.items()]
    pairs = [(name, shape) for name, shape in pairs if name is not None]
    assert len(dict(pairs)) == len(pairs), 'two published tensors have one place'
    return dict(pairs)


def test_names_map_one_to_one_onto_ours(pof3d_checkpoint):
    _, generator, discriminator, _, resolution = pof3d_checkpoint
    with torch.device('meta'):
        ours = Generator3D(pof3d.generator_config(generator, OPTIONS, resolution, focal=FOCAL))
        judge = Discriminator(pof3d.discriminator_config(discriminator))
    assert mapped(generator, pof3d.generator_name) == shapes_of(ours)
    assert mapped(discriminator, pof3d.discriminator_name) == shapes_of(judge)


def test_weights_go_where_the_names_say_with_their_values(pof3d_checkpoint):
    _, generator, discriminator, _, _ = pof3d_checkpoint
    for shapes, weights, name_of in (
        (generator, lambda t: pof3d.generator_weights(t, OPTIONS), pof3d.generator_name),
        (discriminator, pof3d.discriminator_weights, pof3d.discriminator_name),
    ):
        tensors = {name: torch.empty(0) for name in shapes}
        found = weights(tensors)
        assert all(found.pop(name_of(name)) is tensor for name, tensor in tensors.items() if name_of(name))
        assert not found


def test_only_constants_are_left_out(pof3d_checkpoint):
    _, generator, discriminator, _, _ = pof3d_checkpoint
    left_out = {n for n in generator if pof3d.generator_name(n) is None} | {n for n in discriminator if pof3d.discriminator_name(n) is None}
    assert all(name.endswith('resample_filter') for name in left_out)


def test_the_rules_build_the_lists_of_the_released_code(pof3d_checkpoint, golden):
    """Where the lists lie beside the repository, the names built here are exactly those; elsewhere the rules stand for themselves."""
    name, generator, discriminator, _, _ = pof3d_checkpoint
    for letter, built in (('G', generator), ('D', discriminator)):
        table = golden / 'tables' / f'{name}.{letter}.txt'
        if table.is_file():
            rows = (line.split(maxsplit=2) for line in table.read_text().splitlines())
            listed = {row[1]: tuple(json.loads(row[2])) for row in rows}
            listed.pop('dataset_label_std', None)  # the training loop's statistic, which is in some files only
            assert built == listed


def test_configuration_of_the_published_layouts(pof3d_checkpoint):
    _, generator, discriminator, _, resolution = pof3d_checkpoint
    config = pof3d.generator_config(generator, OPTIONS | {'clamp_h': [0, 2 * math.pi], 'clamp_v': [0, math.pi]}, resolution, focal=FOCAL)
    assert config.image_resolution == 256 and config.render_resolution == resolution and not config.conditions_on_camera
    assert config.rendering.axes == config.rendering.rule == 'EG3D_2022'
    assert config.pose.law == 'PoF3D_2023' and config.pose.yaw_mean_rad == math.pi / 2
    assert config.pose.yaw_clip_rad == (0, 2 * math.pi) and config.pose.pitch_clip_rad == (0, math.pi)
    assert (config.pose.rig.radius, config.pose.rig.target) == (2.7, (0, 0, 0.2))
    free = pof3d.generator_config(generator, OPTIONS | {'wrong': False}, resolution, focal=FOCAL)
    assert free.rendering.axes == 'three_planes' and free.pose.yaw_clip_rad is free.pose.pitch_clip_rad is None
    judge = pof3d.discriminator_config(discriminator, rig=config.pose.rig)
    assert judge.conditions_on_pose and not judge.conditions_on_camera and judge.pose.rig == config.pose.rig
    assert judge.pose.hidden == 8 * dict(judge.channels)[4]


def test_nothing_that_is_only_published_is_a_default():
    assert PoseLearnerConfig().law == PoseReaderConfig().law == 'bounded'


def test_names_that_pof3d_does_not_have_are_errors():
    for name in ('backbone.mapping.affine_layer.weight', 'backbone.mapping.affine_layer1.noise', 'backbone.bg_nerf.fc0.weight'):
        with pytest.raises(DataError, match='not the name'):
            pof3d.generator_name(name)
    with pytest.raises(DataError, match='not the name'):
        pof3d.discriminator_name('b4.cam_out.weight')


@pytest.mark.parametrize('name', ['h_mean', 'wrong', 'avg_camera_radius', 'avg_camera_pivot', 'box_warp'])
def test_a_missing_option_is_an_error(pof3d_small, name):
    with pytest.raises(DataError, match=name):
        pof3d.generator_config(pof3d_small[0], {k: v for k, v in OPTIONS.items() if k != name}, 32, focal=FOCAL)


def test_other_poses_and_other_methods_are_errors(pof3d_small, tiny):
    generator, discriminator, _, _ = pof3d_small
    with pytest.raises(DataError, match='3 numbers'):
        pof3d.generator_config(generator | {'backbone.mapping.affine_layer2.weight': (3, 512)}, OPTIONS, 32, focal=FOCAL)
    with pytest.raises(DataError, match='3 numbers'):
        pof3d.discriminator_config(discriminator | {'b4.cam_out2.weight': (3, 256)})
    with pytest.raises(DataError, match='not from PoF3D'):
        pof3d.generator_config(tiny[0], OPTIONS, 32, focal=FOCAL)
    with pytest.raises(DataError, match='not from PoF3D'):
        pof3d.discriminator_config(tiny[1])
    with pytest.raises(DataError, match='affine_layer1'):
        eg3d.generator_weights({'backbone.mapping.affine_layer1.weight': torch.empty(0)}, OPTIONS)
