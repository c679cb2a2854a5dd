"""What cannot be measured is refused with the reason, and nothing is dropped in silence."""

import numpy as np
import pytest

from metrics.measurable import NotMeasurable, measurable


def test_arrays_come_back_in_double_precision():
    single, whole = measurable('x', np.float32([0.1, 0.2]), np.array([[1], [2]]))
    assert single.dtype == whole.dtype == np.float64 and single[0] == np.float32(0.1) and whole.shape == (2, 1)


def test_few_rows_and_rows_that_are_not_finite_are_refused_with_their_number():
    with pytest.raises(NotMeasurable, match='spread needs at least 3 rows, found 2'):
        measurable('spread', np.zeros(2), least=3)
    first, second = np.zeros((5, 2)), np.zeros(5)
    first[1, 1], second[1], second[4] = np.nan, np.inf, -np.inf
    with pytest.raises(NotMeasurable, match='spread: 2 of 5 rows are not finite'):
        measurable('spread', first, second)
    assert issubclass(NotMeasurable, ValueError)
