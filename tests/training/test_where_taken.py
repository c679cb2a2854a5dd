"""Where was it taken? The table is the reader's answer for each picture, and the agreement sees offsets and mirrors for what they are."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from dnnlib.errors import DataError, UsageError
from training.cameras.orbit import angles_of
from training.cameras.rig import Rig
from training.data.synthetic import SyntheticImages
from training.networks.discriminator import Discriminator, DiscriminatorConfig
from training.networks.pose import PoseReaderConfig
from training.where_taken import BATCH, Whereabouts, agreement, where_taken

CHANNELS = ((4, 8), (8, 8), (16, 8))
GREY = DiscriminatorConfig(
    image_resolution=16, see='single', channels=CHANNELS,
    pose=PoseReaderConfig(sees='grey', channels=(4, 4), rig=Rig(pitch_min_deg=-5, pitch_max_deg=45)),
)  # fmt: skip
ORIGIN = (0.0, 0.0, 0.0)


@pytest.fixture(scope='module')
def cars() -> SyntheticImages:
    return SyntheticImages.from_spec('synthetic:car?resolution=16&count=40&seed=1')


def reader(config: DiscriminatorConfig) -> Discriminator:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Discriminator(config).eval().requires_grad_(False)


def true_angles_deg(data: SyntheticImages) -> tuple[np.ndarray, np.ndarray]:
    yaw, pitch, _ = angles_of(data.world.cameras(range(len(data))))
    return np.degrees(yaw.double().numpy()), np.degrees(pitch.double().numpy())


def test_the_table_is_what_the_reader_says_of_each_picture(cars) -> None:
    discriminator = reader(GREY)
    found = where_taken(discriminator, 16, cars)
    assert found.numbers.tolist() == list(range(40))
    image = torch.from_numpy(np.stack([cars[7].image])).float() / 127.5 - 1
    yaw, pitch = GREY.pose.rig.angles(discriminator.read_pose(image).double())
    table = found.table([f'{index}.png' for index in range(40)], cars)
    assert table['7.png'] == {'yaw_deg': pytest.approx(math.degrees(yaw), abs=0.06), 'pitch_deg': pytest.approx(math.degrees(pitch), abs=0.06)}
    assert len(table) == 40 and '40 pictures' in str(found) and (abs(found.pitch_deg - 20) <= 25).all()


def test_a_part_is_a_fair_sample_in_the_order_of_the_data(cars) -> None:
    whole, part = where_taken(reader(GREY), 16, cars), where_taken(reader(GREY), 16, cars, num=5)
    assert len(part.numbers) == 5 and (np.diff(part.numbers) > 0).all() and part.numbers.tolist() != list(range(5))
    np.testing.assert_allclose(part.yaw_deg, whole.yaw_deg[part.numbers], atol=1e-3)


def test_a_dual_discriminator_is_shown_both_pictures(cars) -> None:
    config = replace(GREY, see='dual', pose=PoseReaderConfig(hidden=8))
    discriminator = reader(config)
    found = where_taken(discriminator, 8, cars)
    image = torch.from_numpy(np.stack([cars[i].image for i in range(BATCH)])).float() / 127.5 - 1
    raw = torch.nn.functional.interpolate(image, (8, 8), mode='bilinear', antialias=True)
    yaw, _ = config.pose.rig.angles(discriminator.read_pose(image, raw).double())
    np.testing.assert_allclose(np.degrees(yaw.numpy()), found.yaw_deg[:BATCH], atol=0.1)


def test_published_angles_are_understood(cars) -> None:
    """pi / 2 and pi / 2 are the front at the horizon; what the network says is added to nothing."""
    config = replace(GREY, see='single', pose=PoseReaderConfig(law='PoF3D_2023', hidden=8))
    discriminator = reader(config)
    torch.nn.init.zeros_(discriminator.reader.out.weight)
    discriminator.reader.out.bias.copy_(torch.tensor([math.pi / 2 + 0.5, math.pi / 2]))
    found = where_taken(discriminator, 16, cars, num=20)
    np.testing.assert_allclose(found.yaw_deg, math.degrees(0.5), atol=1e-3)
    np.testing.assert_allclose(found.pitch_deg, 0, atol=1e-3)


@pytest.mark.parametrize('sign', [1, -1])
def test_agreement_is_up_to_one_rotation_and_tells_the_mirror(cars, sign: int) -> None:
    yaw, pitch = true_angles_deg(cars)
    noise = np.random.RandomState(0).uniform(-4, 4, len(yaw))
    read = (sign * (yaw + noise) + 70 + 180) % 360 - 180
    right = agreement(Whereabouts(np.arange(40), read, pitch + 3), cars, ORIGIN)
    small, large = (right.median_deg, right.mirrored_deg) if sign == 1 else (right.mirrored_deg, right.median_deg)
    assert small < 4 and min(large, right.shuffled_deg) > 15 and right.pitch_deg == pytest.approx(3, abs=1e-4)
    assert right.offset_deg == pytest.approx(sign * 70, abs=4) and 'median error' in str(right)
    assert set(right.to_json()) == {'median_deg', 'mirrored_deg', 'shuffled_deg', 'offset_deg', 'pitch_deg'}


def test_a_synthetic_set_is_known_whatever_its_labels_say(cars) -> None:
    shuffled = SyntheticImages.from_spec('synthetic:car?resolution=16&count=40&seed=1&cameras=shuffled')
    found = Whereabouts(np.arange(40), *true_angles_deg(cars))
    assert agreement(found, shuffled, ORIGIN) == agreement(found, cars, ORIGIN)
    assert agreement(Whereabouts(np.arange(5), *(angles[:5] for angles in true_angles_deg(cars))), cars, ORIGIN) is None


def test_what_cannot_be_asked_is_said(cars) -> None:
    with pytest.raises(UsageError, match='reads no poses'):
        where_taken(reader(replace(GREY, pose=None)), 16, cars)
    with pytest.raises(UsageError, match='poses of 41 pictures were asked for, car has 40'):
        where_taken(reader(GREY), 16, cars, num=41)
    large = SyntheticImages.from_spec('synthetic:car?resolution=32&count=3')
    with pytest.raises(DataError, match='--resolution 16x16'):
        where_taken(reader(GREY), 16, large)
