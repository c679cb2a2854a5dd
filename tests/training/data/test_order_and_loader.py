"""Laws of the data order and the loader: nothing is lost or repeated, the batch size does not matter, a mirror mirrors cameras too."""

import dataclasses

import numpy as np
import pytest
import torch

from dnnlib.errors import DataError
from tests.training.tiny import tiny_config
from training.build import build
from training.data.archive import open_dataset
from training.data.item import Batch, Item
from training.data.loader import Loader, LoaderConfig, make_batch
from training.data.order import indices_at
from training.data.toyworld.poses import Pose, camera25
from training.data.toyworld.world import Toyworld, ToyworldConfig, draw_image, view_of


@pytest.mark.parametrize(('size', 'batch'), [(1, 4), (7, 3), (64, 64), (100, 32)])
def test_every_item_once_per_epoch(size: int, batch: int) -> None:
    seen = np.concatenate([indices_at(3, np.arange(nimg, nimg + batch), size) for nimg in range(0, 12 * size, batch)])
    for epoch in range(11):
        assert sorted(seen[epoch * size : (epoch + 1) * size]) == list(range(size))


def test_order_does_not_depend_on_how_it_is_asked_for() -> None:
    whole = indices_at(0, np.arange(500), 37)
    assert np.array_equal(whole[123:160], indices_at(0, np.arange(123, 160), 37))
    assert not np.array_equal(whole[:37], whole[37:74])
    assert not np.array_equal(whole[:37], indices_at(1, np.arange(37), 37))


def test_empty_set_is_refused() -> None:
    with pytest.raises(DataError, match='empty'):
        indices_at(0, np.arange(4), 0)


def same(a, b) -> bool:
    return (
        torch.equal(a.images, b.images) and np.array_equal(a.indices, b.indices) and torch.equal(a.classes, b.classes)
        and torch.equal(a.camera.world_from_camera, b.camera.world_from_camera) and torch.equal(a.camera.intrinsics, b.camera.intrinsics)
    )


def cut(batch, rows: slice):
    return Batch(batch.images[rows], batch.classes[rows], batch.camera[rows], batch.indices[rows])


def test_batches_do_not_depend_on_ranks_batch_size_or_cache() -> None:
    dataset = open_dataset('synthetic:car,mug?resolution=8&count=20')
    one = Loader(dataset, 5, LoaderConfig(mirror=True))
    two = Loader(dataset, 5, LoaderConfig(mirror=True, cache_bytes=0))
    whole = one.batch(30, range(12))
    assert same(whole, one.batch(30, range(12)))
    assert same(cut(whole, slice(4, 9)), two.batch(30, range(4, 9)))
    assert same(cut(whole, slice(4, 12)), two.batch(34, range(8)))
    assert whole.images.dtype == torch.float32
    assert whole.images.min() >= -1
    assert whole.images.max() == 1
    assert whole.classes.dtype == torch.int64


def test_pictures_that_are_judged_together_are_of_one_class() -> None:
    """The first of a run of three is the one that stands there anyway, the others are other ones of its class; classes stay as frequent as they are."""
    dataset = open_dataset('synthetic:car,mug,boat?resolution=8&count=60')
    plain, runs = Loader(dataset, 5), Loader(dataset, 5, LoaderConfig(alike=3))
    batch = runs.batch(0, range(60 * 30))
    classes, indices = batch.classes.view(-1, 3), torch.from_numpy(batch.indices).view(-1, 3)
    assert (classes == classes[:, :1]).all() and torch.equal(batch.classes, torch.from_numpy(dataset.classes())[batch.indices])
    assert torch.equal(indices[:, 0], torch.from_numpy(plain.batch(0, range(60 * 30)).indices).view(-1, 3)[:, 0])
    assert (indices[:, 1:] != indices[:, :1]).all()
    assert len(indices[:, 1:].unique()) == 60 and (indices[:, 1] == indices[:, 2]).double().mean() < 0.1
    share = torch.bincount(batch.classes) / len(batch.classes)
    assert (share - torch.bincount(torch.from_numpy(dataset.classes())) / 60).abs().max() < 0.03
    assert same(cut(batch, slice(30, 60)), runs.batch(30, range(30)))
    without = open_dataset('synthetic:car?resolution=8&count=20')
    assert np.array_equal(Loader(without, 5, LoaderConfig(alike=3)).batch(0, range(40)).indices, Loader(without, 5).batch(0, range(40)).indices)


def turned(plain: Batch, mirrored: Batch) -> torch.Tensor:
    return (plain.camera.world_from_camera != mirrored.camera.world_from_camera).flatten(1).any(1)


def test_mirror_flips_half_of_the_images_with_their_cameras() -> None:
    dataset = open_dataset('synthetic:mug?resolution=8&count=64')
    plain, mirrored = (Loader(dataset, 1, LoaderConfig(mirror=m)).batch(0, range(256)) for m in (False, True))
    assert plain.classes is None
    flips = turned(plain, mirrored)
    assert 90 < flips.sum() < 166
    assert torch.equal(mirrored.images[flips], plain.images[flips].flip(3))
    assert torch.equal(mirrored.images[~flips], plain.images[~flips])
    assert torch.equal(mirrored.camera.world_from_camera[flips], plain.camera.mirrored().world_from_camera[flips])
    assert torch.equal(mirrored.camera.world_from_camera[~flips], plain.camera.world_from_camera[~flips])
    plain, mirrored = (Loader(dataset, 1, LoaderConfig(mirror=m)).batch(256, range(256)) for m in (False, True))
    assert not torch.equal(flips, turned(plain, mirrored))


@pytest.mark.parametrize('name', ['mug', 'house', 'car'])
def test_the_mirrored_camera_sees_the_mirrored_scene(name: str) -> None:
    scene = Toyworld(ToyworldConfig(classes=(name,), seed=4)).scene(0)
    maps = scene.parts.local_from_world.copy()
    maps[:, :, 0] *= -1
    mirror_scene = dataclasses.replace(
        scene, parts=dataclasses.replace(scene.parts, local_from_world=maps), light=(-scene.light[0], *scene.light[1:])
    )
    numbers = camera25(Pose(37.0, 14.0))
    image = draw_image(scene, view_of(numbers), 24)[0]
    batch = make_batch([Item(image, None, numbers)], np.array([0]), np.array([True]))
    camera = np.concatenate([batch.camera.world_from_camera.reshape(16), batch.camera.intrinsics.reshape(9)])
    again = draw_image(mirror_scene, view_of(camera), 24)[0]
    assert np.abs(again[:, :, ::-1].astype(int) - image).max() <= 1
    flipped = ((batch.images[0] + 1) * 127.5).round().to(torch.uint8).numpy()
    assert np.array_equal(flipped, image[:, :, ::-1])


def test_all_or_none_have_a_camera() -> None:
    image = np.zeros((3, 4, 4), np.uint8)
    with pytest.raises(DataError, match='1 of 2 items have no camera'):
        make_batch([Item(image, None, None), Item(image, None, camera25(Pose(0, 0)))], np.arange(2))
    with pytest.raises(DataError, match='1 of 2 items have no class'):
        make_batch([Item(image, 1, None), Item(image, None, None)], np.arange(2))


def test_ranks_of_one_machine_share_what_it_may_keep_of_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = build(tiny_config()).loader.config.cache_bytes
    for name, value in (('RANK', '9'), ('WORLD_SIZE', '16'), ('LOCAL_WORLD_SIZE', '8')):
        monkeypatch.setenv(name, value)
    assert build(tiny_config()).loader.config.cache_bytes == alone // 8
