"""Kernel distance: squared maximum mean discrepancy under a polynomial kernel, the formula behind KID (Binkowski et al. 2018)."""

from dataclasses import dataclass

import numpy as np

from dnnlib.errors import UsageError


@dataclass(frozen=True, slots=True)
class KernelConfig:
    """The kernel is (x.y / D + 1)^degree; the estimate is averaged over `subsets` random subsets of `subset_size` rows of either side."""

    subsets: int = 100
    subset_size: int = 1000
    degree: int = 3
    seed: int = 0


@dataclass(frozen=True, slots=True)
class KernelDistance:
    """value: mean over the subsets (an unbiased estimate: may be negative). standard_error: of that mean, as if the subsets were independent.

    Subsets are drawn from the same N rows and overlap, so the standard error is a lower bound.
    """

    value: float
    standard_error: float


def kernel_distance(real: np.ndarray, generated: np.ndarray, config: KernelConfig = KernelConfig()) -> KernelDistance:
    """Squared MMD between feature rows [N, D] and [M, D].

    A subset holds at most half of the smaller side, so that few rows still give subsets that differ. Raises UsageError for fewer than 4 rows.
    """
    smaller = min(len(real), len(generated))
    if smaller < 4:
        raise UsageError(f'a kernel distance needs at least 4 images on either side, found {len(real)} real and {len(generated)} generated')
    size = min(config.subset_size, smaller // 2)
    draw = np.random.default_rng(config.seed)
    values = np.empty(config.subsets)
    for index in range(config.subsets):
        x = real[draw.choice(len(real), size, replace=False)]
        y = generated[draw.choice(len(generated), size, replace=False)]
        values[index] = unbiased_mmd2(x, y, config.degree)
    spread = values.std(ddof=1) / np.sqrt(config.subsets) if config.subsets > 1 else 0.0
    return KernelDistance(float(values.mean()), float(spread))


def unbiased_mmd2(x: np.ndarray, y: np.ndarray, degree: int = 3) -> float:
    """Unbiased estimate of MMD^2 from x [N, D] and y [M, D] (Gretton et al. 2012, eq. 3): pairs of a row with itself are left out."""
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    n, m = len(x), len(y)

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a @ b.T / a.shape[1] + 1) ** degree

    def mean_of_pairs(a: np.ndarray, rows: int) -> float:
        table = kernel(a, a)
        return (table.sum() - np.trace(table)) / (rows * (rows - 1))

    return float(mean_of_pairs(x, n) + mean_of_pairs(y, m) - 2 * kernel(x, y).mean())
