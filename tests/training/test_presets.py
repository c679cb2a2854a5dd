"""Presets: those that find cameras have all that it takes, at published sizes as in small."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dnnlib import config as configs
from dnnlib.errors import UsageError
from tests.training.tiny import WAYS, config_of, trainer_of
from torch_utils.distributed import World
from torch_utils.rng import Stream
from training.build import fit_to_data
from training.cameras.orbit import angles_of
from training.config import TrainingConfig
from training.data.archive import open_dataset
from training.presets import PRESETS, find_preset

FINDS_CAMERAS = ('demo-pof3d', 'demo-unposed', 'photos-unposed', 'unposed', 'pof3d-ffhq', 'pof3d-cats', 'pof3d-cars')


@pytest.mark.parametrize('name', PRESETS)
def test_a_preset_is_named_explained_and_free_of_contradictions(name: str) -> None:
    preset = PRESETS[name]
    assert preset.config.preset == name and len(preset.caption) < 110
    preset.config.refuse_contradictions()
    assert configs.from_dict(TrainingConfig, configs.to_dict(preset.config)) == preset.config


def test_an_unknown_preset_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match='demo-pof3d') as raised:
        find_preset('demo-pof3')
    assert all(name in str(raised.value) for name in PRESETS)


@pytest.mark.parametrize('name', FINDS_CAMERAS)
def test_whoever_finds_cameras_may_augment_and_turns_no_picture(name: str) -> None:
    config = configs.override(find_preset(name), ['ada.mode=ada'])
    config.refuse_contradictions()
    assert config.augment.xflip == config.augment.rotate90 == config.augment.rotate == 0


def test_unposed_begins_as_its_small_copies_do() -> None:
    large, small = find_preset('unposed').gan, find_preset('photos-unposed').gan
    assert large.blur_fade_kimg == small.blur_fade_kimg == 0, 'outlines do not tell a sense of rotation from the other'
    assert large.density_weight == small.density_weight
    large, small = find_preset('unposed').generator, find_preset('photos-unposed').generator
    assert large.radiance.core == small.radiance.core and large.rendering.density_scale == small.rendering.density_scale, 'the core is opaque'


@pytest.mark.parametrize('name', [name for name in FINDS_CAMERAS if find_preset(name).reading is not None])
def test_what_is_told_of_a_pitch_says_something(name: str) -> None:
    """Told pitches are jittered in parts of the range of the law, which must not be much wider than the law is."""
    config = find_preset(name)
    _, pitch_deg = config.cameras.angles_deg(Stream(0, 0, 'law', tuple(range(2000))))
    low, high = config.cameras.pitch_range_deg
    jitter_deg = math.radians(config.gan.pose_condition_jitter_deg) * (high - low) / 2
    assert jitter_deg <= pitch_deg.std()


@pytest.mark.parametrize('name', FINDS_CAMERAS)
def test_rigs_are_those_of_the_law(name: str) -> None:
    config = find_preset(name)
    data = open_dataset(f'synthetic:car?resolution={config.generator.image_resolution}&count=2')
    fitted = fit_to_data(config, data)
    law = config.cameras
    rigs = [part.pose.rig for part in (fitted.generator, fitted.discriminator) if part.pose is not None]
    assert rigs
    for rig in rigs:
        assert (rig.radius, rig.fov_x_deg, rig.target) == (law.radius, law.fov_x_deg, law.target)
        drawn = law.sample(Stream(0, 0, 'law', tuple(range(200))))
        again = rig.camera(rig.code_of(drawn))
        torch.testing.assert_close(again.world_from_camera, drawn.world_from_camera, rtol=0, atol=1e-4)
        torch.testing.assert_close(again.intrinsics, drawn.intrinsics)


@pytest.mark.parametrize('name', FINDS_CAMERAS)
def test_whoever_finds_cameras_is_told_none(name: str) -> None:
    config = find_preset(name)
    assert not config.generator.conditions_on_camera and not config.discriminator.conditions_on_camera
    assert config.discriminator.pose is not None and config.cameras is not None
    assert (config.generator.pose is not None) != (config.reading is not None)
    assert not config.data.mirror or config.generator.pose is None, 'mirrored pictures would halve the poses that can be learned'


def test_several_views_are_judged_where_the_preset_says_so() -> None:
    for name in ('demo-imagenet', 'imagenet'):
        config = find_preset(name)
        assert config.gan.views == config.gan.views_judged == 2 and config.data.use_classes and config.cameras is not None
        assert config.loop.batch % max(config.discriminator.mbstd_group, 1) == 0, 'groups of fakes are as large as those of real pictures'


@pytest.mark.parametrize('way', WAYS)
def test_pictures_and_metrics_see_what_training_sees(tmp_path: Path, way: str) -> None:
    """Conditions for metrics exist for every way, with cameras within the rig's pitches."""
    _, built = trainer_of(config_of(way), tmp_path, World())
    asked = built.conditions.sample(Stream(0, 0, 'metrics', tuple(range(64))), torch.device('cpu'))
    assert len(asked.camera.checked()) == 64 and (asked.classes is None) == (built.config.generator.num_classes == 0)
    pitch = torch.rad2deg(angles_of(asked.camera)[1])
    assert pitch.min() > -90.01 and pitch.max() < 90.01


def test_a_preset_is_a_value() -> None:
    config = find_preset('demo-unposed')
    assert replace(config, preset='other') != config and find_preset('demo-unposed') is config
