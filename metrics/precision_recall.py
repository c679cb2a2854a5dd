"""Precision, recall, density and coverage: do generated images lie among the real ones, and do they reach all of them?"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dnnlib.errors import UsageError

ROWS_AT_A_TIME = 1024


@dataclass(frozen=True, slots=True)
class PrecisionRecallConfig:
    """Neighbours that set the radius of a ball: for precision and recall, and for density and coverage."""

    neighbours: int = 3
    density_neighbours: int = 5


@dataclass(frozen=True, slots=True)
class PrecisionRecall:
    """precision, recall, coverage in [0, 1]; density >= 0, about 1 for real against real."""

    precision: float
    recall: float
    density: float
    coverage: float


def precision_recall(real: np.ndarray, generated: np.ndarray, config: PrecisionRecallConfig = PrecisionRecallConfig()) -> PrecisionRecall:
    """Of feature rows real [N, D] and generated [M, D].

    A ball around a row reaches to its k-th nearest other row of its own set. Precision: share of generated rows in some real ball; recall: share of
    real rows in some generated ball (Kynkaanniemi et al. 2019, eq. 1-3). Density: real balls that hold a generated row, on average, divided
    by k; coverage: share of real balls that hold a generated row (Naeem et al. 2020, eq. 3 and 4). Raises UsageError for k rows or fewer.
    """
    most = max(config.neighbours, config.density_neighbours)
    if min(len(real), len(generated)) <= most:
        raise UsageError(f'precision and recall need more than {most} images on either side, found {len(real)} real and {len(generated)} generated')
    real, generated = np.asarray(real, dtype=np.float64), np.asarray(generated, dtype=np.float64)
    centre = real.mean(axis=0)  # distances do not care; the digits of |a|^2 - 2ab + |b|^2 do
    real, generated = real - centre, generated - centre
    real_near, real_wide = _squared_radii(real, (config.neighbours, config.density_neighbours))
    (generated_near,) = _squared_radii(generated, (config.neighbours,))
    inside_real = np.zeros(len(generated), dtype=bool)
    held, covered, recalled = 0, 0, 0
    for rows, squared in _squared_distances(real, generated):
        inside_real |= (squared <= real_near[rows, None]).any(axis=0)
        recalled += int((squared <= generated_near[None]).any(axis=1).sum())
        inside_wide = squared <= real_wide[rows, None]
        held += int(inside_wide.sum())
        covered += int(inside_wide.any(axis=1).sum())
    return PrecisionRecall(
        precision=float(inside_real.mean()),
        recall=recalled / len(real),
        density=held / (config.density_neighbours * len(generated)),
        coverage=covered / len(real),
    )


def _squared_distances(a: np.ndarray, b: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """(rows of a, squared distances [rows, len(b)]) piece by piece: 50,000 x 50,000 at once would be 20 GB."""
    squares = np.square(b).sum(axis=1)
    for start in range(0, len(a), ROWS_AT_A_TIME):
        part = a[start : start + ROWS_AT_A_TIME]
        table = np.square(part).sum(axis=1)[:, None] - 2 * part @ b.T + squares[None]
        yield slice(start, start + len(part)), np.maximum(table, 0, out=table)


def _squared_radii(rows: np.ndarray, neighbours: tuple[int, ...]) -> list[np.ndarray]:
    """For every k the squared distance [N] of each row to its k-th nearest other row."""
    radii = [np.empty(len(rows)) for _ in neighbours]
    for part, squared in _squared_distances(rows, rows):
        own = np.arange(part.start, part.stop)
        squared[np.arange(len(own)), own] = -1.0  # a row is its own nearest: it goes to place 0, whatever else lies on top of it
        ordered = np.partition(squared, neighbours, axis=1)
        for radius, k in zip(radii, neighbours, strict=True):
            radius[part] = ordered[:, k]
    return radii
