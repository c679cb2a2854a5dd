"""A data set as subjects: what generated pictures are compared with, as far as the data know themselves."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dnnlib.errors import UsageError
from metrics.collecting import image_order
from metrics.evidence import Readers
from metrics.features import Device, PhotoFeatures
from metrics.oracle import OracleRecipe, load_oracle
from metrics.subject import Subject, Views
from metrics.toy_subject import counted_from, toy_subject
from training.cameras.convention import from_eg3d
from training.data.image_set import ImageSet
from training.data.item import from_uint8
from training.data.synthetic import SyntheticImages
from training.data.toyworld.catalogue import CATALOGUE

APART = 1_000_000  # scenes between those that were trained on, those compared with, those that give the floor, and those for memorising
MOST_REMEMBERED = 20_000  # training images that are looked at for memorising


@dataclass(frozen=True, slots=True)
class Reals:
    """held_out and other: two disjoint lots of real pictures; training and unseen: the `remembered` that were learned from, and as many that were not,
    where there are such."""

    held_out: Subject
    other: Subject
    training: Subject | None
    unseen: Subject | None
    remembered: int
    readers: Readers
    class_ids: Sequence[int] | None  # the oracle's numbers of the data's classes


def real_subjects(dataset: ImageSet, num: int, device: Device = 'cpu') -> Reals:
    """Synthetic sets go on for ever and know their truth: what is compared with was never learned from, and an oracle reads the pictures.

    Of stored pictures, num are compared with and num others give the floor; nobody reads their pose. Raises UsageError for fewer than 2 num.
    """
    if isinstance(dataset, SyntheticImages):
        training, held_out, other, unseen = (
            toy_subject(name, dataset.world, counted_from(place * (APART + len(dataset))), dataset.resolution)
            for place, name in enumerate(('training', 'held out', 'other real', 'never trained on'))
        )
        classes = [list(CATALOGUE).index(name) for name in dataset.config.classes]
        readers = Readers(PhotoFeatures(device=device), load_oracle(OracleRecipe(style=dataset.config.style)))
        return Reals(held_out, other, training, unseen, min(len(dataset), MOST_REMEMBERED), readers, classes)
    if len(dataset) < 2 * num:
        raise UsageError(f'{dataset.name} has {len(dataset):,} images; {2 * num:,} are needed, half of them for the floor. Give a smaller --num.')
    return Reals(pictures('real', dataset), pictures('other real', dataset, num), None, None, 0, Readers(PhotoFeatures(device=device)), None)


def pictures(name: str, source: ImageSet, first: int = 0) -> Subject:
    """Images first, first + 1, ... of `image_order`; with their cameras where the labels have them. They cannot be seen from elsewhere."""
    order = image_order(source)

    def sample(start: int, n: int) -> Views:
        items = [source[int(row)] for row in order[first + start : first + start + n]]
        image = torch.stack([from_uint8(torch.from_numpy(item.image)) for item in items])
        camera = from_eg3d(torch.stack([torch.from_numpy(item.camera25) for item in items])) if source.has_cameras else None
        return Views(image, camera=camera, classes=_classes([item.class_id for item in items]))

    return Subject(name, sample)


def _classes(numbers: list[int | None]) -> Tensor | None:
    return None if None in numbers else torch.tensor(numbers)
