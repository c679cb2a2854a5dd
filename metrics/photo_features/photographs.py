"""The two sets of photographs that the photo network learns from: read from their zips, reduced to 32x32, split into training and held-out."""

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dnnlib.errors import DataError, MissingInputError
from metrics.photo_features.network import resize_to

HELD_OUT_EVERY = 10


@dataclass(frozen=True, slots=True)
class Photographs:
    """images uint8 [N, 3, R, R]; labels int64 [N] in the rows [first, first + num_classes) of the joint output; held_out bool [N]."""

    name: str
    images: Tensor
    labels: Tensor
    held_out: Tensor
    first: int
    num_classes: int

    def rows(self, held_out: bool) -> Tensor:
        """Indexes int64 of the held-out or of the training photographs."""
        return torch.nonzero(self.held_out == held_out).squeeze(1)


def read_photographs(path: Path, resolution: int, first: int) -> Photographs:
    """Reads a zip with one folder of JPEG or PNG files per class; every tenth file of a class (in name order) is held out.

    Raises MissingInputError when there is no such file, DataError when it is no zip or holds no class folders.
    """
    if not path.is_file():
        raise MissingInputError(f'{path}: no such file; a zip with one folder of photographs per class is needed')
    if not zipfile.is_zipfile(path):
        raise DataError(f'{path}: not a zip file; a zip with one folder of photographs per class is needed')
    with zipfile.ZipFile(path) as archive:
        names = sorted(n for n in archive.namelist() if n.count('/') == 1 and n.lower().endswith(('.jpg', '.jpeg', '.png')))
        classes = sorted({name.split('/')[0] for name in names})
        if len(classes) < 2:
            raise DataError(f'{path}: found {len(names)} images in {len(classes)} class folders; at least 2 classes are needed')
        images = torch.empty(len(names), 3, resolution, resolution, dtype=torch.uint8)
        for row, name in enumerate(names):
            with Image.open(io.BytesIO(archive.read(name))) as picture:
                pixels = torch.from_numpy(np.array(picture.convert('RGB'))).permute(2, 0, 1)[None].float()
            images[row] = resize_to(pixels, resolution)[0].round().clamp(0, 255).to(torch.uint8)
    labels = torch.tensor([classes.index(name.split('/')[0]) for name in names])
    position = torch.zeros_like(labels)
    for label in range(len(classes)):
        members = labels == label
        position[members] = torch.arange(int(members.sum()))
    held_out = position % HELD_OUT_EVERY == 0
    return Photographs(path.stem, images, labels + first, held_out, first, len(classes))
