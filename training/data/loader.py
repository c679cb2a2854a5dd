"""Batches of tensors from a set of images: which items, mirrored or not, is a pure function of (seed, position)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from dnnlib.errors import DataError
from torch_utils.rng import Stream
from training.cameras.camera import Camera
from training.cameras.convention import from_eg3d
from training.data.image_set import ImageSet
from training.data.item import Batch, Item, from_uint8
from training.data.order import indices_at


@dataclass(frozen=True, slots=True)
class LoaderConfig:
    """`mirror`: flip each image, with its camera, with probability 1/2. `cache_bytes`: sets whose pixels fit are kept decoded in memory.

    `alike`: in every run of so many positions the images after the first are others of its class, drawn independently, for a discriminator that
    answers for all of them together; each class stays as frequent as it is. Without classes, and with 1, each image is its own; the only image
    of a class is repeated.
    """

    mirror: bool = False
    cache_bytes: int = 2 << 30
    alike: int = 1


def make_batch(items: Sequence[Item], indices: np.ndarray, flips: np.ndarray | None = None) -> Batch:
    """Items as tensors; where `flips` (bool [N]) is true, the image is flipped left-right and its camera mirrored.

    Raises DataError if some of the items have a class or a camera and others do not.
    """
    flips = np.zeros(len(items), dtype=bool) if flips is None else np.asarray(flips, dtype=bool)
    pixels = np.stack([item.image[:, :, ::-1] if flip else item.image for item, flip in zip(items, flips, strict=True)])
    images = from_uint8(torch.from_numpy(pixels))
    return Batch(images=images, classes=_classes(items), camera=_camera(items, flips), indices=np.asarray(indices, dtype=np.int64))


def _classes(items: Sequence[Item]) -> torch.Tensor | None:
    known = [item.class_id for item in items if item.class_id is not None]
    if len(known) not in (0, len(items)):
        raise _incomplete(len(items) - len(known), len(items), 'class')
    return torch.tensor(known, dtype=torch.int64) if known else None


def _incomplete(lacking: int, total: int, what: str) -> DataError:
    return DataError(f'{lacking} of {total} items have no {what} while the others have one; check the set with dataset_tool.py --check.')


def _camera(items: Sequence[Item], flips: np.ndarray) -> Camera | None:
    known = [item.camera25 for item in items if item.camera25 is not None]
    if len(known) not in (0, len(items)):
        raise _incomplete(len(items) - len(known), len(items), 'camera')
    if not known:
        return None
    camera = from_eg3d(torch.from_numpy(np.stack(known).astype(np.float32)))
    return Camera.where(torch.from_numpy(flips), camera.mirrored(), camera)


class Loader:
    """Training batches. Position p of the run shows item `indices_at(seed, p)`, whatever the batch size, the ranks or the interruptions.

    dataset: what `open_dataset` returns; seed: the seed of the run.
    """

    def __init__(self, dataset: ImageSet, seed: int, config: LoaderConfig = LoaderConfig()) -> None:
        if len(dataset) == 0:
            raise DataError(f'{dataset.name} holds no images.')
        self.dataset = dataset
        self.seed = seed
        self.config = config
        # One block for all pixels: images kept one by one would settle between the large tensors of the training steps and fragment the heap.
        fits = len(dataset) * 3 * dataset.resolution**2 <= config.cache_bytes
        self._pixels = np.empty((len(dataset), 3, dataset.resolution, dataset.resolution), np.uint8) if fits else None
        self._decoded = np.zeros(len(dataset), dtype=bool)
        self._classes = dataset.classes() if dataset.num_classes else None
        self._cameras = dataset.cameras() if dataset.has_cameras else None
        if self._classes is not None and config.alike > 1:
            self._by_class = np.argsort(self._classes, kind='stable')
            self._sorted = self._classes[self._by_class]
            self._place = np.argsort(self._by_class)

    def item(self, index: int) -> Item:
        """Item `index` of the set; its pixels stay in memory after the first time if those of the whole set fit."""
        if self._pixels is None:
            return self.dataset[index]
        if not self._decoded[index]:
            self._pixels[index] = self.dataset[index].image
            self._decoded[index] = True
        return Item(
            self._pixels[index],
            None if self._classes is None else int(self._classes[index]),
            None if self._cameras is None else self._cameras[index],
        )

    def batch(self, nimg: int, rows: Sequence[int]) -> Batch:
        """Rows `rows` (global row numbers) of the batch that is seen after `nimg` images.

        A rank asks for its own rows; together the ranks see what one rank alone would see.
        """
        positions = nimg + np.asarray(rows, dtype=np.int64)
        indices = self._indices(positions)
        return make_batch([self.item(int(i)) for i in indices], indices, self._flips(positions))

    def _indices(self, positions: np.ndarray) -> np.ndarray:
        alike = self.config.alike
        if self._classes is None or alike == 1:
            return indices_at(self.seed, positions, len(self.dataset))
        first = indices_at(self.seed, positions // alike * alike, len(self.dataset))
        start, end = (np.searchsorted(self._sorted, self._classes[first], side=side) for side in ('left', 'right'))
        stream = Stream(seed=self.seed, step=0, phase='data', rows=tuple(int(p) for p in positions))
        others = np.maximum(end - start - 1, 0)
        steps = np.minimum(1 + (stream.uniform('alike').cpu().numpy() * others).astype(np.int64), others)
        another = self._by_class[start + (self._place[first] - start + steps) % (end - start)]
        return np.where(positions % alike == 0, first, another)

    def _flips(self, positions: np.ndarray) -> np.ndarray | None:
        if not self.config.mirror:
            return None
        # Addressed by the position alone, so that another batch size draws the same flips.
        stream = Stream(seed=self.seed, step=0, phase='data', rows=tuple(int(p) for p in positions))
        return stream.bernoulli('mirror', 0.5).cpu().numpy()
