"""Images for the metric tests, and what torchvision needs before the oracles of these tests can import it."""

import hashlib

import numpy as np
import pytest
import torch

from training.data.item import Item

if torch.version.cuda is None:
    # torchvision's wheel is linked against CUDA; without it two operators that its Python code registers fakes for do not exist.
    _TORCHVISION = torch.library.Library('torchvision', 'DEF')
    for _name in ('nms', 'qnms'):
        _TORCHVISION.define(f'{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')


class ImagesInMemory:
    """The part of an ImageSet that metrics use, around uint8 images [N, 3, R, R]; counts how often an item is read."""

    def __init__(self, images: torch.Tensor, name: str = 'memory') -> None:
        self.images, self.name, self.resolution, self.reads = images, name, images.shape[-1], 0

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Item:
        self.reads += 1
        return Item(self.images[index].numpy(), None, None)

    def fingerprint(self) -> str:
        return hashlib.sha256(self.images.numpy().tobytes()).hexdigest()


def shapes(count: int, seed: int, resolution: int = 32) -> torch.Tensor:
    """Discs of random place, size and colour before random two-colour gradients: uint8 [count, 3, R, R]."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[:resolution, :resolution] / resolution
    fore, left, right = draw.uniform(0, 1, (3, count, 3, 1, 1))
    centre_x, centre_y = draw.uniform(0.25, 0.75, (2, count, 1, 1))
    disc = (np.square(x - centre_x) + np.square(y - centre_y) < np.square(draw.uniform(0.1, 0.3, (count, 1, 1))))[:, None]
    images = np.where(disc, fore, left * (1 - x) + right * x)
    return torch.from_numpy((images * 255).round().astype(np.uint8))


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """No test reads or writes the user's cache."""
    monkeypatch.setenv('UNPOSED_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    return tmp_path / 'cache'


@pytest.fixture
def images_in_memory():
    return ImagesInMemory


@pytest.fixture(name='shapes', scope='session')
def _shapes():
    return shapes
