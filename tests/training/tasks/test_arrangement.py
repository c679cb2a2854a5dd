"""Photographs arranged by likeness: against the true cameras, under relabelling and mirroring, and where there is no ring to be found."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dnnlib.errors import DataError, UsageError
from metrics.pose_accuracy import pose_accuracy
from tests.training.tiny import config_of, trainer_of
from torch_utils.distributed import World
from torch_utils.rng import Stream
from training.build import build
from training.cameras.distributions import Gaussian, UniformBand
from training.cameras.orbit import angles_of
from training.cameras.rig import Rig, rig_of
from training.data.archive import open_dataset
from training.losses.pose import yaw_error
from training.rendering.ball import turned
from training.tasks.arrangement import SURE, arrange
from training.tasks.likeness import FEWEST, NEIGHBOURS, edges, ring_of
from training.tasks.readings import ReadingConfig

COUNT = 700
WITH_PHOTOGRAPHS = (
    f'data.path=synthetic:car,boat?poses=wide&background=white&resolution=8&count={4 * FEWEST}&seed=3', f'reading.arranged={FEWEST}',
    'gan.pose_arranged_weight=1', 'gan.pose_arranged_hold_kimg=0.032', 'gan.pose_arranged_fade_kimg=0.032',
)


@cache
def photographs(name: str, count: int = COUNT) -> tuple[Tensor, np.ndarray]:
    """(pictures, true yaws in radians)"""
    data = open_dataset(f'synthetic:{name}?poses=wide&background=white&resolution=32&count={count}&seed=5')
    image = torch.from_numpy(np.stack([data[i].image for i in range(count)])).float() / 127.5 - 1
    cameras = data.world.cameras(range(count))
    return image, angles_of(cameras)[0].double().numpy()


@cache
def arrangement(name: str) -> tuple[np.ndarray, float]:
    found = ring_of(photographs(name)[0], Rig())
    return found.yaw_rad.double().numpy(), found.sense_share


@pytest.mark.parametrize('name', ['car', 'plane', 'boat', 'chair', 'mug'])
def test_likeness_finds_the_way_around_a_thing_and_its_sense(name: str) -> None:
    """Up to one offset, without any camera: half of the pictures within 20 degrees, and the reversed sense is far off."""
    yaw, share = arrangement(name)
    true = photographs(name)[1]
    right, reversed_ = pose_accuracy(yaw, true), pose_accuracy(-yaw, true)
    assert right.median_deg < 20 and right.alignment > 0.85, right
    assert reversed_.alignment < 0.4, reversed_
    assert share > SURE


def test_a_shuffled_answer_would_not_pass() -> None:
    yaw, _ = arrangement('car')
    guessed = pose_accuracy(np.random.RandomState(0).permutation(yaw), photographs('car')[1])
    assert guessed.alignment < 0.6 and guessed.median_deg > 25


def test_mirrored_photographs_have_mirrored_yaws() -> None:
    """The same ring, gone round the other way: the law of these pictures is the mirror image, and so is the answer."""
    yaw, _ = arrangement('car')
    mirrored = ring_of(photographs('car')[0].flip(3), Rig()).yaw_rad.double().numpy()
    assert abs(np.exp(1j * (yaw + mirrored)).mean()) > 0.99


def test_the_order_of_photographs_means_nothing() -> None:
    image, _ = photographs('boat')
    order = torch.randperm(len(image), generator=torch.Generator().manual_seed(0))
    found = ring_of(image[order], Rig()).yaw_rad.double().numpy()
    assert abs(np.exp(1j * (found - arrangement('boat')[0][order.numpy()])).mean()) > 0.99


def test_colours_mean_nothing() -> None:
    image, _ = photographs('car')
    torch.testing.assert_close(edges(image[:20].flip(1)), edges(image[:20]))  # channels change places
    torch.testing.assert_close(edges(-image[:20]), edges(image[:20]), rtol=1e-3, atol=1e-4)


def test_large_pictures_are_looked_at_in_small() -> None:
    large = photographs('boat')[0].repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    assert np.allclose(ring_of(large, Rig()).yaw_rad, arrangement('boat')[0], atol=1e-4)


def test_few_photographs_and_photographs_without_sides_are_refused() -> None:
    image, _ = photographs('car')
    with pytest.raises(DataError, match='fewer than 200 photographs'):
        ring_of(image[:199], Rig())
    half = image[:300, :, :, :16]
    symmetric = torch.cat([half, half.flip(3)], dim=3)
    with pytest.raises(DataError, match='left and right'):
        ring_of(symmetric, Rig())


def test_what_is_near_moves_against_a_camera_that_goes_round() -> None:
    """A dot in the middle stands on the ball; as the camera goes to the right it is seen further left, and the rim of the picture stays."""
    image = torch.full((2, 3, 33, 33), -1.0)
    image[:, :, 16, 16] = 1
    image[:, :, 16, 1] = 0.5
    seen = turned(image, torch.tensor([0.5, -0.5]), torch.zeros(2), Rig(), 0.13)
    columns = (seen[:, 0, 16, 8:25] + 1) / (seen[:, 0, 16, 8:25] + 1).sum(dim=1, keepdim=True) @ torch.arange(8.0, 25.0)
    assert columns[0] < 15 and columns[1] > 18 and columns.sum() == pytest.approx(32, abs=1e-3)
    assert (seen[:, 0, 16, :8].argmax(dim=1) - 1).abs().max() <= 1
    assert torch.allclose(turned(image, torch.zeros(2), torch.full((2,), 0.4), Rig(), 0.13), image, atol=1e-3)


def test_classes_are_arranged_on_their_own_and_the_others_named() -> None:
    data = open_dataset(f'synthetic:car,boat?poses=wide&background=white&resolution=32&count={4 * FEWEST}&seed=3')
    found, said = arrange(data, True, FEWEST + 20, UniformBand(), seed=0)
    counts = torch.bincount(found.classes)
    assert len(found.codes) == len(found.images) == len(found.classes) and (counts <= FEWEST + 20).all() and (counts >= FEWEST).all()
    assert found.images.dtype == torch.uint8 and torch.allclose(found.codes[:, :2].norm(dim=1), torch.ones(len(found.codes)))
    few = open_dataset('synthetic:car?poses=wide&background=white&resolution=32&count=30&seed=3')
    assert arrange(few, False, FEWEST, UniformBand(), seed=0)[0] is None
    (line,) = arrange(few, False, FEWEST, UniformBand(), seed=0)[1]
    assert f'fewer than {FEWEST} photographs' in line and line.endswith(': photographs.')
    assert all('car' in line or 'boat' in line for line in said)


def test_what_is_unsure_is_said_once_for_all_classes_and_left_out_where_one_asks_for_more() -> None:
    data = open_dataset(f'synthetic:car,head,dog?poses=wide&background=white&resolution=32&count={4 * FEWEST}&seed=3')
    shares = [ring_of(torch.from_numpy(np.stack([data[int(i)].image for i in np.flatnonzero(data.classes() == number)])).float() / 127.5 - 1, Rig()).sense_share
              for number in range(3)]  # fmt: skip
    unsure = {name for name, share in zip(data.class_names, shares, strict=True) if share < SURE}
    assert unsure and max(shares) >= SURE, 'this test needs both kinds'
    for sure, left_out in ((0.5, set()), (SURE, unsure)):
        found, (line,) = arrange(data, True, 10**6, UniformBand(), 0, sure)
        assert {name for number, name in enumerate(data.class_names) if (found.classes == number).any()} == set(data.class_names) - left_out
        assert all(name in line for name in unsure) and ('reversed' in line) == (not left_out)


def test_whatever_is_left_out_is_named() -> None:
    data = open_dataset(f'synthetic:car?poses=wide&background=white&resolution=32&count={FEWEST}&seed=3')
    found, said = arrange(data, False, FEWEST, UniformBand(), 0, sure=1.0)
    assert found is None and len(said) == 1 and 'cameras are read without the lesson of likeness: photographs (' in said[0]


def test_a_picture_that_cannot_be_read_is_no_class_without_a_ring(monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(self: object, index: int) -> object:
        raise DataError('00251.png is damaged')

    data = open_dataset(f'synthetic:car?poses=wide&background=white&resolution=32&count={FEWEST}&seed=3')
    monkeypatch.setattr(type(data), '__getitem__', damaged)
    with pytest.raises(DataError, match='damaged'):
        arrange(data, False, FEWEST, UniformBand(), 0)


def test_what_likeness_does_not_say_is_taken_from_the_law() -> None:
    law = Gaussian(pitch_mean_deg=6, pitch_std_deg=3)
    found, _ = arrange(open_dataset(f'synthetic:car?poses=wide&background=white&resolution=32&count={FEWEST}&seed=3'), False, FEWEST, law, seed=0)
    yaw, pitch = rig_of(law).angles(found.codes)
    assert abs(torch.rad2deg(pitch).mean() - 6) < 1 and abs(torch.rad2deg(pitch).std() - 3) < 0.6
    assert yaw.std() > 1, 'the yaw is what likeness found'


def test_photographs_that_training_mirrors_are_seen_from_both_sides() -> None:
    """Half of the real pictures are then mirror images, so half of the cameras of generated ones are mirrored cameras."""
    data = open_dataset(f'synthetic:car,boat?poses=wide&background=white&resolution=32&count={4 * FEWEST}&seed=3')
    once, _ = arrange(data, True, FEWEST, UniformBand(), seed=0)
    both, _ = arrange(data, True, FEWEST, UniformBand(), seed=0, mirror=True)
    for number in (0, 1):
        yaws, mirrored = (found.codes[found.classes == number, :2] for found in (once, both))
        torch.testing.assert_close(mirrored, torch.cat([yaws, yaws * torch.tensor([-1.0, 1.0])]))
    assert torch.equal(both.images, once.images) and torch.equal(both.codes[both.rows, :2], once.codes[once.rows, :2])
    codes, _ = both.draw_code(Stream(0, 0, 'G', tuple(range(2000))), torch.zeros(2000, dtype=torch.int64), torch.device('cpu'))
    assert abs(codes[:, 0].mean()) < 0.05, 'no side is seen more often than the other'


def test_training_that_mirrors_knows_it() -> None:
    once, both = (build(config_of('poses read and arranged', f'data.mirror={mirror}')).task.arranged.codes for mirror in ('false', 'true'))
    assert len(both) == 2 * len(once)


def test_copies_of_one_photograph_are_no_obstacle() -> None:
    image, _ = photographs('car')
    image = image[:400]
    copies = torch.cat([image, image[:1].repeat(NEIGHBOURS + 4, 1, 1, 1), image[1:2]])
    found, expected = ring_of(copies, Rig()), ring_of(image, Rig())
    torch.testing.assert_close(found.yaw_rad, torch.cat([expected.yaw_rad, expected.yaw_rad[:1].repeat(NEIGHBOURS + 4), expected.yaw_rad[1:2]]))
    with pytest.raises(DataError, match='fewer than 200'):
        ring_of(image[:10].repeat(30, 1, 1, 1), Rig())


def test_the_lesson_fits_into_memory_and_keeps_its_codes() -> None:
    data = open_dataset(f'synthetic:car,boat?poses=wide&background=white&resolution=32&count={4 * FEWEST}&seed=3')
    whole, _ = arrange(data, True, FEWEST, UniformBand(), seed=0)
    part, _ = arrange(data, True, FEWEST, UniformBand(), seed=0, lesson_bytes=2 * 7 * 3 * 32 * 32)
    least, _ = arrange(data, True, FEWEST, UniformBand(), seed=0, lesson_bytes=0)
    assert torch.equal(whole.rows, torch.arange(2 * FEWEST)) and torch.equal(whole.codes, part.codes) and torch.equal(whole.classes, part.classes)
    assert len(part.images) == 14 and torch.equal(torch.bincount(part.classes[part.rows]), torch.tensor([7, 7])) and len(least.images) == 2
    assert torch.equal(part.images, whole.images[part.rows])
    image, direction = part.draw(Stream(0, 160, 'D', tuple(range(8))), torch.device('cpu'))
    for picture, sine_cosine in zip(image, direction, strict=True):
        row = (whole.images.float() / 127.5 - 1 - picture).abs().flatten(1).amax(dim=1).argmin()
        assert torch.equal(whole.codes[row, :2], sine_cosine)


def test_drawing_depends_on_rows_alone() -> None:
    found, _ = arrange(open_dataset(f'synthetic:boat?poses=wide&background=white&resolution=32&count={FEWEST}&seed=3'), False, FEWEST, UniformBand(), seed=0)
    stream = Stream(0, 160, 'D', tuple(range(8)))
    image, direction = found.draw(stream, torch.device('cpu'))
    half, theirs = found.draw(stream.for_rows(4, 8), torch.device('cpu'))
    assert torch.equal(image[4:], half) and torch.equal(direction[4:], theirs) and image.min() >= -1 and image.max() <= 1


def test_the_lesson_moves_the_reader_alone_and_ends(tmp_path: Path) -> None:
    trainer, built = trainer_of(config_of('poses read', *WITH_PHOTOGRAPHS), tmp_path, World())
    assert built.task.arranged is not None and (trainer.task.conditions.readings.written == FEWEST).all()
    trainer.iterate()
    assert trainer.statistics.reduce(World())['Loss/D/pose_arranged']['mean'] > 0
    error = trainer.task._arranged_error(built.task.arranged, torch.device('cpu'), trainer._moment('D', tuple(range(8))))
    assert error.shape == (8,)
    discriminator = trainer.task.discriminator.requires_grad_(True)
    moved = torch.autograd.grad(error.sum(), list(discriminator.parameters()), allow_unused=True)
    names = {name.partition('.')[0] for (name, _), gradient in zip(discriminator.named_parameters(), moved, strict=True) if gradient is not None}
    assert names == {'reader'}
    for _ in range(8):
        trainer.iterate()
    trainer.statistics.reset()
    trainer.iterate()
    assert 'Loss/D/pose_arranged' not in trainer.statistics.reduce(World())


def test_an_error_of_the_yaw_alone() -> None:
    numbers = torch.tensor([[0.0, 1.0, 9.0], [1.0, 0.0, 9.0]])
    assert yaw_error(numbers, torch.tensor([[0.0, 1.0], [-1.0, 0.0]])).tolist() == pytest.approx([0.0, 4 / 3])


def test_contradictions_are_refused() -> None:
    with pytest.raises(UsageError, match='cannot be negative'):
        ReadingConfig(arranged=-1)
    with pytest.raises(UsageError, match='reading is none'):
        build(config_of('poses learned', 'gan.pose_arranged_weight=1'))


def test_it_is_switched_off_by_one_setting_and_a_state_of_another_arrangement_is_refused(tmp_path: Path) -> None:
    without, _ = trainer_of(config_of('poses read', *WITH_PHOTOGRAPHS, 'reading.arranged=0'), tmp_path, World())
    assert without.task.arranged is None
    without.iterate()
    trainer, _ = trainer_of(config_of('poses read', *WITH_PHOTOGRAPHS), tmp_path, World())
    changed = trainer.task.state_dict()
    changed['arranged/codes'] = changed['arranged/codes'].roll(1, dims=0)
    trainer.task.load_state_dict(changed)
    assert torch.equal(trainer.task.arranged.codes, changed['arranged/codes'])
    with pytest.raises(DataError, match='other classes'):
        trainer.task.load_state_dict(without.task.state_dict())
    swapped = trainer.task.state_dict()
    swapped['arranged/classes'] = 1 - swapped['arranged/classes']
    with pytest.raises(DataError, match='other classes'):
        trainer.task.load_state_dict(swapped)
