"""In which order the items are seen: a pure function of (seed, images seen), so that nothing about it is ever saved."""

from __future__ import annotations

import numpy as np

from dnnlib.errors import DataError
from torch_utils import rng


def indices_at(seed: int, positions: np.ndarray, size: int) -> np.ndarray:
    """Items at these positions of the endless sequence `permutation of epoch 0, permutation of epoch 1, ...`.

    `positions` int64 [N], each >= 0; returns int64 [N] in [0, size). Each item occurs exactly once per epoch of `size` positions.
    Raises DataError for an empty set.
    """
    if size < 1:
        raise DataError('The data set is empty: there is nothing to put in order.')
    epochs, places = np.divmod(np.asarray(positions, dtype=np.int64), size)
    out = np.empty(epochs.shape, dtype=np.int64)
    for epoch in np.unique(epochs):
        chosen = epochs == epoch
        out[chosen] = rng.permutation(seed, int(epoch), size)[places[chosen]]
    return out
