"""Alignment within classes: does one turn about the vertical, for all images of a class, bring what they show onto what was asked for?"""

from collections.abc import Callable, Iterator

import numpy as np

from metrics.measurable import LEAST_POSES, NotMeasurable, measurable
from metrics.pose_accuracy import pose_accuracy

LEAST_OF_A_CLASS = 5


def class_alignment(
    read_azimuth: np.ndarray, asked_azimuth: np.ndarray, classes: np.ndarray, *, reversed_sense: bool = False
) -> float:
    """Mean over classes of R = |mean exp i (read - asked)|, in [0, 1]: how tightly the cameras of a class hang together with its pictures.

    Angles [N] in radians, classes int [N] that were asked for. A method without camera labels is free to call any side of a class its front,
    so each class has a turn of its own. It is not free to turn the wrong way: `reversed_sense` asks for exp i (read + asked), which is high
    where scenes turn against their camera, as hollow ones do, and it is the same sense for all classes.

    Source: mean resultant length (Mardia and Jupp 2000, section 2.3). Limits: of n poses at random R is about .89 / sqrt(n) per class; a
    generator that ignores the camera has the R of the law of asked cameras (.67 for `wide`, in either sense, 0 for uniform cameras), so read
    it beside the slope. Cost: 0.1 ms.

    Raises NotMeasurable below 20 images or 5 of a class, or for angles that are not finite.
    """
    sign = 1 if reversed_sense else -1

    def length(read: np.ndarray, asked: np.ndarray) -> float:
        return min(float(abs(np.exp(1j * (read + sign * asked)).mean())), 1.0)

    return _mean_over_classes('alignment', length, read_azimuth, asked_azimuth, classes)


def reader_error_deg(read_azimuth: np.ndarray, true_azimuth: np.ndarray, classes: np.ndarray) -> float:
    """Median azimuth error in degrees, 0 to 180, of a model's own reading of real pictures: mean over classes, in the better sense of two.

    Angles [N] in radians; each class has one offset (metrics/pose_accuracy.py), and all classes the same sense, for a model that learned
    without cameras cannot know either. Readings that say nothing about the picture have the error of the law, 28 degrees for `wide` where
    all readings are equal. Cost for N = 2000: 1 ms.

    Raises NotMeasurable below 20 images of a class, or for angles that are not finite.
    """

    def median(read: np.ndarray, true: np.ndarray) -> float:
        return pose_accuracy(read, true).median_deg

    straight, turned = (_mean_over_classes("the reader's error", median, sense * np.asarray(read_azimuth), true_azimuth, classes) for sense in (1, -1))
    return min(straight, turned)


def _mean_over_classes(
    what: str, measure: Callable[[np.ndarray, np.ndarray], float], read: np.ndarray, asked: np.ndarray, classes: np.ndarray
) -> float:
    read, asked = measurable(what, read, asked, least=LEAST_POSES)
    return float(np.mean([measure(read[rows], asked[rows]) for rows in _rows_of_classes(what, np.asarray(classes))]))


def _rows_of_classes(what: str, classes: np.ndarray) -> Iterator[np.ndarray]:
    for number in np.unique(classes):
        rows = np.flatnonzero(classes == number)
        if len(rows) < LEAST_OF_A_CLASS:
            raise NotMeasurable(f'{what} needs at least {LEAST_OF_A_CLASS} images of each class, found {len(rows)} of class {number}')
        yield rows
