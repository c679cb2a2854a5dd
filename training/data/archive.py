"""Opening a data set by name: a zip or folder of images with dataset.json, or a synthetic set."""

import os

from training.data.image_set import ImageSet
from training.data.source import open_source
from training.data.stored import StoredImages
from training.data.synthetic import PREFIX, SyntheticImages


def open_dataset(path: str | os.PathLike) -> ImageSet:
    """The data set at `path`: a zip, a folder, or 'synthetic:...' (see training/data/synthetic.py).

    Raises MissingInputError if there is nothing, DataError with every problem if it cannot be used, UsageError for a bad synthetic name.
    """
    if str(path).startswith(PREFIX):
        return SyntheticImages.from_spec(str(path))
    return StoredImages(open_source(path))
