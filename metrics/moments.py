"""Mean and covariance of features that arrive in pieces, in float64."""

from dataclasses import dataclass

import numpy as np


@dataclass(slots=True)
class Moments:
    """count: rows seen; mean [D]; scatter [D, D]: sum of outer products of the deviations from the mean. All float64."""

    count: int
    mean: np.ndarray
    scatter: np.ndarray

    @classmethod
    def empty(cls, num_features: int) -> 'Moments':
        """Of no rows yet."""
        return cls(0, np.zeros(num_features), np.zeros((num_features, num_features)))

    @classmethod
    def of(cls, features: np.ndarray) -> 'Moments':
        """Of the rows of features [N, D]."""
        moments = cls.empty(features.shape[1])
        moments.add(features)
        return moments

    def add(self, features: np.ndarray) -> None:
        """Takes in rows [n, D] (Chan, Golub and LeVeque 1979: updating the deviations loses no digits, a sum of raw products does)."""
        rows = len(features)
        if rows == 0:
            return
        features = np.asarray(features, dtype=np.float64)
        mean = features.mean(axis=0)
        centred = features - mean
        shift = mean - self.mean
        total = self.count + rows
        self.scatter += centred.T @ centred + np.outer(shift, shift) * (self.count * rows / total)
        self.mean = self.mean + shift * (rows / total)
        self.count = total

    @property
    def covariance(self) -> np.ndarray:
        """Unbiased covariance [D, D]; needs at least two rows."""
        assert self.count >= 2, self.count
        return self.scatter / (self.count - 1)
