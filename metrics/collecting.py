"""Features of many images: gathered in fixed batches, and kept in a cache for images that do not change."""

import hashlib
import json
import os
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from dnnlib.atomic import atomic_write
from dnnlib.errors import DataError, UnposedError
from metrics.features import FeatureExtractor
from metrics.moments import Moments
from torch_utils.rng import permutation
from training.data.image_set import ImageSet
from training.data.item import from_uint8, to_uint8

ORDER_SEED = 0
CACHE_LAYOUT = 1

Sample = Callable[[int, int], Tensor]  # (start, n) -> images [n, 3, S, S] float in [-1, 1]; image i is the same whatever the start and n


@dataclass(frozen=True, slots=True)
class FeatureSet:
    """features [K, D] float32 of the first K images; moments of all `moments.count` >= K images."""

    features: np.ndarray
    moments: Moments

    def __len__(self) -> int:
        """Images seen."""
        return self.moments.count

    def rows(self, start: int, stop: int) -> 'FeatureSet':
        """Of images start .. stop - 1, which must be among the K."""
        assert 0 <= start < stop <= len(self.features), (start, stop, len(self.features))
        if (start, stop) == (0, len(self)):
            return self
        part = self.features[start:stop]
        return FeatureSet(part, Moments.of(part))


class Gatherer:
    """Feeds an extractor exactly `extractor.batch` images at a time, however they arrive, so that the features do not depend on how they did.

    (Convolution libraries choose their algorithm by the batch, and with it the last digits.)
    """

    def __init__(self, extractor: FeatureExtractor, count: int, keep: int) -> None:
        """Takes the first `count` images that it is given and keeps the features of the first `keep`."""
        self._extractor, self._count, self._keep = extractor, count, min(keep, count)
        self._waiting: list[Tensor] = []
        self._num_waiting = 0
        self._taken = 0
        self._features: list[np.ndarray] = []
        self._moments = Moments.empty(extractor.num_features)

    def add(self, images: Tensor) -> None:
        """uint8 images [n, 3, S, S]."""
        images = images[: self._count - self._taken]
        self._taken += len(images)
        self._waiting.append(images)
        self._num_waiting += len(images)
        while self._num_waiting >= self._extractor.batch:
            self._feed(self._extractor.batch)

    def finish(self) -> FeatureSet:
        """The result; fewer than `count` images are an error of the caller."""
        assert self._taken == self._count, (self._taken, self._count)
        if self._num_waiting:
            self._feed(self._num_waiting)
        kept = np.concatenate(self._features) if self._features else np.empty((0, self._extractor.num_features), np.float32)
        return FeatureSet(kept, self._moments)

    def _feed(self, number: int) -> None:
        waiting = torch.cat(self._waiting)
        self._waiting, self._num_waiting = [waiting[number:]], len(waiting) - number
        features = self._extractor(from_uint8(waiting[:number])).numpy()
        if not np.isfinite(features).all():
            raise DataError(f'{self._extractor.name} features are not finite; the file with its weights must be damaged')
        wanted = self._keep - sum(map(len, self._features))
        if wanted > 0:
            self._features.append(features[:wanted])
        self._moments.add(features)


def gather(batches: Iterable[Tensor], gatherers: list[Gatherer]) -> list[FeatureSet]:
    """One pass over uint8 batches for all gatherers."""
    for images in batches:
        for gatherer in gatherers:
            gatherer.add(images)
    return [gatherer.finish() for gatherer in gatherers]


def image_order(dataset: ImageSet) -> np.ndarray:
    """A fixed shuffled order of a data set (a folder's own order is by class), so that any first N are a fair sample: int64 [len]."""
    return permutation(ORDER_SEED, 0, len(dataset))


def dataset_batches(dataset: ImageSet, count: int, batch: int, quiet: bool) -> Iterator[Tensor]:
    """The first `count` images of `image_order` as uint8 [n, 3, R, R]."""
    order = image_order(dataset)[:count]
    with tqdm(total=count, desc=f'{dataset.name}', unit='img', disable=quiet, leave=False) as bar:
        for start in range(0, count, batch):
            rows = order[start : start + batch]
            yield torch.from_numpy(np.stack([dataset[int(row)].image for row in rows]))
            bar.update(len(rows))


def real_features(dataset: ImageSet, extractor: FeatureExtractor, count: int, keep: int, cache: Path | None, quiet: bool = True) -> FeatureSet:
    """Features of the first `count` images of a data set, read from `cache` when they are there, else computed and written there.

    A cache that cannot be read or written costs time, never the result; it is said on stderr.
    """
    keep = min(keep, count)
    path = None if cache is None else cache / f'{_cache_key(dataset, extractor, count)}.npz'
    found = None if path is None else _read_cache(path)
    if found is not None and len(found.features) >= keep:
        return FeatureSet(found.features[:keep], found.moments)
    (result,) = gather(dataset_batches(dataset, count, extractor.batch, quiet), [Gatherer(extractor, count, keep)])
    if path is not None:
        _write_cache(path, result)
    return result


def cache_folder() -> Path:
    """$UNPOSED_CACHE or ~/.cache/unposed, and in it `metrics`."""
    root = os.environ.get('UNPOSED_CACHE')
    return (Path(root) if root else Path.home() / '.cache' / 'unposed') / 'metrics'


def _cache_key(dataset: ImageSet, extractor: FeatureExtractor, count: int) -> str:
    address = json.dumps([CACHE_LAYOUT, dataset.fingerprint(), extractor.name, extractor.sha256, ORDER_SEED, count])
    return f'{extractor.name}-{count}-{hashlib.sha256(address.encode()).hexdigest()[:24]}'


def _read_cache(path: Path) -> FeatureSet | None:
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            return FeatureSet(file['features'], Moments(int(file['count']), file['mean'], file['scatter']))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        print(f'warning: {path} is damaged and will be made anew: {error}', file=sys.stderr)
        return None


def _write_cache(path: Path, result: FeatureSet) -> None:
    moments = result.moments
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            np.savez(file, features=result.features, count=moments.count, mean=moments.mean, scatter=moments.scatter)
    except (OSError, UnposedError) as error:
        print(f'warning: real features were not kept for next time: {error}', file=sys.stderr)


def image_batches(sample: Sample, count: int, batch: int, quiet: bool) -> Iterator[Tensor]:
    """Generated images start = 0 .. count - 1 as uint8 [n, 3, S, S], `batch` at a time."""
    with tqdm(total=count, desc='generated', unit='img', disable=quiet, leave=False) as bar:
        for start in range(0, count, batch):
            number = min(batch, count - start)
            images = sample(start, number)
            assert images.ndim == 4 and images.shape[:2] == (number, 3), images.shape
            yield to_uint8(images).cpu()
            bar.update(number)
