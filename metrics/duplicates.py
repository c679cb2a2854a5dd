"""Repeated images, and how much the images of one class differ from one another.

Both use the cosine distance of features, 1 - cos, in [0, 2] (0 to 1 where features are not negative): exact copies are at 0, and the unit
does not depend on the set. A distance over the median distance of the same set would not do: when all images are nearly the same the median
shrinks with them. Nearest neighbours come closer as N grows: compare at equal N. Resampling rows makes copies: no bootstrap over rows
(metrics/intervals.py).
"""

from dataclasses import dataclass

import numpy as np

from metrics.measurable import NotMeasurable, measurable

ROWS_AT_A_TIME = 1024
DUPLICATE_DISTANCE = 1e-3


@dataclass(frozen=True, slots=True)
class ClassDiversity:
    """Mean cosine distance of an image to the nearest other one of its class, and of all pairs of the class; how many images that was
    measured on."""

    nearest: float
    pairwise: float
    count: int


@dataclass(frozen=True, slots=True)
class Diversity:
    """Plain averages over the classes in `per_class`; `unmeasured`: classes that have one image only, which the averages leave out."""

    nearest: float
    pairwise: float
    per_class: dict[int, ClassDiversity]
    unmeasured: tuple[int, ...]


def duplicate_fraction(features: np.ndarray, distance: float = DUPLICATE_DISTANCE) -> float:
    """Share in [0, 1] of feature rows [N, D] whose nearest other row has a cosine distance below `distance`.

    Copies with grey noise of sigma 1 of 255 are at 2e-4 and count; of 1000 different toy scenes of one class or of eight (photo features,
    32x32) no two are below 4e-3. Other features may need another limit: the share among real images must be 0. Images that occur twice all
    count. Cost for N = 2000, one thread: 0.05 s for 224 features, 0.2 s for 1024.

    It cannot see copies of training images (metrics/memorising.py), nor repeats that the features take for different ones (shifted,
    recoloured). Raises NotMeasurable for fewer than 2 rows, or a row that is zero or not finite.
    """
    unit = unit_rows('the duplicate fraction', features)
    return float((_nearest_cosine_distance(unit) < distance).mean())


def diversity(features: np.ndarray, classes: np.ndarray) -> Diversity:
    """Of feature rows [N, D] and their class numbers [N]: per class, and averaged over classes that have at least 2 images.

    Both distances are in [0, 2] and read beside those of real images with as many per class: less is collapse within the class, more may be
    diversity or noise. A missing class is not seen here (metrics/classes.py). Cost for N = 2000 in 8 classes, one thread: 0.01 s for 224
    features, 0.04 s for 1024. Raises NotMeasurable when no class has 2 images, or a row is zero or not finite.
    """
    unit = unit_rows('diversity', features)
    classes = np.asarray(classes)
    assert classes.shape == (len(unit),), classes.shape
    per_class, unmeasured = {}, []
    for number in np.unique(classes):
        rows = unit[classes == number]
        count = len(rows)
        if count < 2:
            unmeasured.append(int(number))
            continue
        cosines = np.square(rows.sum(axis=0)).sum() - count  # over ordered pairs of different rows
        pairwise = 1 - cosines / (count * (count - 1))
        per_class[int(number)] = ClassDiversity(float(_nearest_cosine_distance(rows).mean()), max(float(pairwise), 0.0), count)
    if not per_class:
        raise NotMeasurable('diversity within classes: no class has two images')
    return Diversity(
        nearest=float(np.mean([found.nearest for found in per_class.values()])),
        pairwise=float(np.mean([found.pairwise for found in per_class.values()])),
        per_class=per_class,
        unmeasured=tuple(unmeasured),
    )


def nearest_distance(rows: np.ndarray, others: np.ndarray | None = None) -> np.ndarray:
    """Euclidean distance [N] of each of rows [N, D] to the nearest of others [M, D], or to the nearest other row where others is None;
    float64.

    |a|^2 - 2ab + |b|^2 only picks the neighbour; its distance is then taken from the difference, so that equal rows are at exactly 0.
    """
    among = rows if others is None else others
    squares = np.square(among).sum(axis=1)
    found = np.empty(len(rows))
    for start in range(0, len(rows), ROWS_AT_A_TIME):
        part = rows[start : start + ROWS_AT_A_TIME]
        table = squares[None] - 2 * part @ among.T  # |a|^2 is the same for all candidates
        if others is None:
            own = np.arange(len(part))
            table[own, start + own] = np.inf
        found[start : start + len(part)] = np.linalg.norm(part - among[table.argmin(axis=1)], axis=1)
    return found


def unit_rows(what: str, features: np.ndarray) -> np.ndarray:
    """Feature rows [N, D] scaled to length 1, float64. Raises NotMeasurable for fewer than 2 rows, or a row that is zero (it has no cosine)
    or not finite."""
    (rows,) = measurable(what, features, least=2)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if not (lengths > 0).all():
        raise NotMeasurable(f'{what}: {int((lengths == 0).sum())} of {len(rows)} feature rows are all zero')
    return rows / lengths


def _nearest_cosine_distance(unit: np.ndarray) -> np.ndarray:
    """1 - cos = |u - v|^2 / 2 for unit rows."""
    return np.square(nearest_distance(unit)) / 2
