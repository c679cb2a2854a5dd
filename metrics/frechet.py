"""Frechet distance between two Gaussians, the formula behind FID."""

import numpy as np

from metrics.moments import Moments


def frechet_distance(a: Moments, b: Moments) -> float:
    """Squared 2-Wasserstein distance of N(mean_a, C_a) and N(mean_b, C_b), >= 0 up to rounding (Dowson and Landau 1982; Heusel et al. 2017, eq. 6).

    |mean_a - mean_b|^2 + tr C_a + tr C_b - 2 tr (C_a C_b)^{1/2}. The trace of the root is taken as the sum of the square roots of the eigenvalues
    of the symmetric C_a^{1/2} C_b C_a^{1/2}, which are those of C_a C_b: no complex matrix square root, nothing to regularise when a covariance
    is singular (fewer rows than features). Both need at least two rows.
    """
    root = _square_root(a.covariance)
    eigenvalues = np.linalg.eigvalsh(root @ b.covariance @ root)
    trace = np.trace(a.covariance) + np.trace(b.covariance) - 2 * np.sqrt(np.maximum(eigenvalues, 0)).sum()
    return float(np.square(a.mean - b.mean).sum() + trace)


def _square_root(symmetric: np.ndarray) -> np.ndarray:
    """Root of a positive semi-definite matrix [D, D]; eigenvalues that rounding made negative count as zero."""
    eigenvalues, vectors = np.linalg.eigh(symmetric)
    return (vectors * np.sqrt(np.maximum(eigenvalues, 0))) @ vectors.T
