"""Quality of views away from the poses that were trained on: a Frechet distance per angle, to real images of those very poses."""

from collections.abc import Iterator, Mapping

import numpy as np
from torch import Tensor

from metrics.frechet import frechet_distance
from metrics.measurable import NotMeasurable
from metrics.moments import Moments

Rows = np.ndarray | Tensor
ByAngle = Mapping[float, tuple[Rows, Rows]]


def novel_view_distances(features_by_angle: ByAngle) -> dict[float, float]:
    """Frechet distance per |angle| (degrees that the camera was turned by), in order of the angle; `novel_view_floors` belongs beside it.

    features_by_angle: angle -> (generated features [n, D], features [m, D] of real images of those poses, m >= 2n where they can be had).
    Both signs of an angle are pooled. Of each angle k = min(n, m // 2) rows of either side take part, the first k, so that the distance
    and its floor are made from the same numbers of images: the distance has a bias of about 1 / k and may only be compared at equal k.
    Source: ours, with the distance of Heusel et al. 2017, eq. 6. Range: >= 0 up to rounding, smaller is better.

    Sees pictures that fall apart off the training poses. Without real images of the same poses it would measure the poses instead. It sees
    only single pictures: a generator that ignores the camera is caught where the poses move the features, one that draws another object
    for every camera is not, and wrong geometry may score well. The rows of the real side must be different scenes.

    Raises NotMeasurable for no angle, or an angle that leaves fewer than 2 rows. Cost for 500 + 1000 rows of D = 192 at each of 3 angles
    on one thread: .02 s, and the features.
    """
    return {angle: frechet_distance(Moments.of(generated), Moments.of(real)) for angle, generated, real, _ in _pooled(features_by_angle)}


def novel_view_floors(features_by_angle: ByAngle) -> dict[float, float]:
    """The same distances for real against real: rows k .. 2k - 1 of the real side in place of the generated ones."""
    return {angle: frechet_distance(Moments.of(other), Moments.of(real)) for angle, _, real, other in _pooled(features_by_angle)}


def _pooled(features_by_angle: ByAngle) -> Iterator[tuple[float, np.ndarray, np.ndarray, np.ndarray]]:
    """(|angle|, generated, real, other real) rows, equally many of each."""
    if not features_by_angle:
        raise NotMeasurable('novel views need features at one angle at least; there are none')
    for size in sorted({abs(angle) for angle in features_by_angle}):
        parts = [_parts(*rows) for angle, rows in features_by_angle.items() if abs(angle) == size]
        generated, real, other = (np.concatenate(side) for side in zip(*parts, strict=True))
        if len(real) < 2:
            raise NotMeasurable(f'novel views at {size:g} degrees need 2 generated and 4 real images at least; there are fewer')
        yield float(size), generated, real, other


def _parts(generated: Rows, real: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    count = min(len(generated), len(real) // 2)
    generated, real = np.asarray(generated), np.asarray(real)
    return generated[:count], real[:count], real[count : 2 * count]
