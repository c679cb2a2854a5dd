"""What every data set is: square RGB images of one size with what is known about them."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from training.data.item import Item
from training.data.labels import Label


class ImageSet(ABC):
    """Square RGB images of one size, numbered from 0, with what is known about them.

    name: for people. resolution: pixels per side. num_classes: 0 if images have no class. class_names: () if unknown.
    """

    name: str
    resolution: int
    num_classes: int
    class_names: tuple[str, ...]
    has_cameras: bool

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Item:
        """Item `index`, 0 <= index < len. Raises DataError for a bad file, IndexError outside."""

    @abstractmethod
    def label(self, index: int) -> Label:
        """What is known about item `index`, without reading its image."""

    def classes(self) -> np.ndarray:
        """Class of every item, int64 [len]. Only for a set with classes."""
        return np.array([self.label(i).class_id for i in range(len(self))], dtype=np.int64)

    def cameras(self) -> np.ndarray:
        """Camera numbers of every item, float32 [len, 25]. Only for a set with cameras."""
        return np.stack([self.label(i).camera25 for i in range(len(self))]).astype(np.float32)

    def remarks(self) -> tuple[str, ...]:
        """What looks like a misunderstanding and is none that could be refused: sentences for the user."""
        return ()

    @abstractmethod
    def fingerprint(self) -> str:
        """Hex digest that tells this set from others; part of what a resumed run compares."""
