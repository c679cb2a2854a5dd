"""When a metric cannot be measured: the exception that says why, and the check that nearly every metric starts with."""

import numpy as np

LEAST_POSES = 20  # rows of whatever is said of poses; of a handful it would be no number


class NotMeasurable(ValueError):
    """There is nothing wrong with the program, but these samples have no such value. Callers print `not measurable here: <message>`."""


def measurable(what: str, *arrays: np.ndarray, least: int = 1) -> tuple[np.ndarray, ...]:
    """The arrays, with equal first axes, as float64. Raises NotMeasurable below `least` rows or when a row holds a value that is not
    finite.

    A metric never drops such rows by itself: an image that could not be read would leave the denominator too, and the rest would look
    better than the whole. Who may leave rows out is the caller, who then says how many.
    """
    assert arrays and len({len(array) for array in arrays}) == 1, [np.shape(array) for array in arrays]
    count = len(arrays[0])
    if count < least:
        raise NotMeasurable(f'{what} needs at least {least} rows, found {count}')
    doubles = tuple(np.asarray(array, dtype=np.float64) for array in arrays)
    finite = np.logical_and.reduce([np.isfinite(array.reshape(count, -1)).all(axis=1) for array in doubles])
    if not finite.all():
        raise NotMeasurable(f'{what}: {count - int(finite.sum())} of {count} rows are not finite')
    return doubles
