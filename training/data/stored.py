"""Data sets on disk: a zip or folder of images with dataset.json."""

from __future__ import annotations

import hashlib
import io

import numpy as np
from PIL import Image, UnidentifiedImageError

from dnnlib.errors import DataError
from training.data.image_set import ImageSet
from training.data.item import Item
from training.data.labels import FILE, Label, Labels, parse_labels
from training.data.pixels import DECODING_ERRORS, FORMATS
from training.data.problems import refuse
from training.data.source import Source, UnreadableFile

ADVICE = 'Convert the set with dataset_tool.py, or look at it with dataset_tool.py --check.'


class StoredImages(ImageSet):
    """A zip or folder as dataset_tool.py writes it (or StyleGAN's tools do): images in the order of their names."""

    def __init__(self, source: Source) -> None:
        self.name = source.path.stem
        self._source = source
        self._names = source.names
        if not self._names:
            raise DataError(f'{source.path} holds no images. {ADVICE}')
        labels, problems = self._read_labels()
        refuse(str(source.path), source.problems + problems, ADVICE)
        self._labels = [labels.by_name.get(name, Label()) for name in self._names]
        self.num_classes = labels.num_classes
        self.class_names = labels.class_names or ()
        self.has_cameras = labels.has_cameras
        self.resolution = self._size_of_first()

    def _read_labels(self) -> tuple[Labels, list]:
        if FILE not in self._source.json_names:
            return Labels(), []
        try:
            return parse_labels(self._source.read(FILE), self._names)
        except UnreadableFile as error:
            return Labels(), [error.problem]

    def _open(self, index: int) -> Image.Image:
        name = self._names[index]
        try:
            return Image.open(io.BytesIO(self._source.read(name)), formats=FORMATS)
        except UnreadableFile as error:
            raise DataError(f'{self._source.path}: {name} {error.problem.reason}. {ADVICE}') from error
        except DECODING_ERRORS as error:
            why = 'of no format that is read' if isinstance(error, UnidentifiedImageError) else str(error)
            raise DataError(f'{self._source.path}: {name} is not an image ({why}). {ADVICE}') from error

    def _size_of_first(self) -> int:
        width, height = self._open(0).size
        if width != height:
            raise DataError(
                f'{self._source.path}: {self._names[0]} is {width}x{height}; training needs square images of one size. {ADVICE}'
            )
        return width

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Item:
        if not 0 <= index < len(self):
            raise IndexError(f'item {index} of {len(self)}')
        image = self._open(index)
        if image.size != (self.resolution, self.resolution) or image.mode != 'RGB':
            raise DataError(
                f'{self._source.path}: {self._names[index]} is {image.mode} {image.width}x{image.height}, '
                f'but the set holds RGB {self.resolution}x{self.resolution} images. {ADVICE}'
            )
        try:
            pixels = np.asarray(image)
        except DECODING_ERRORS as error:
            raise DataError(f'{self._source.path}: {self._names[index]} cannot be decoded ({error}). {ADVICE}') from error
        label = self.label(index)
        return Item(np.ascontiguousarray(pixels.transpose(2, 0, 1)), label.class_id, label.camera25)

    def label(self, index: int) -> Label:
        return self._labels[index]

    def remarks(self) -> tuple[str, ...]:
        # Numbered folders mean nothing: that is how StyleGAN's tools keep a folder small.
        folders = {top for top, slash, _ in (name.partition('/') for name in self._names) if slash and not top.isdigit()}
        if FILE in self._source.json_names or len(folders) < 2:
            return ()
        mixed = f'The images of {self._source.path} lie in {len(folders)} folders, and without {FILE} nothing says what these mean: all are mixed.'
        return (f'{mixed} If they are classes, let dataset_tool.py make a data set of them.',)

    def fingerprint(self) -> str:
        return hashlib.sha256(f'stored/{self._source.fingerprint()}'.encode()).hexdigest()
