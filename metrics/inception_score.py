"""Inception score: how sure a classifier is of each image, and how varied its answers are (Salimans et al. 2016)."""

import itertools

import numpy as np

from dnnlib.errors import UsageError


def inception_score(logits: np.ndarray, splits: int = 10) -> tuple[float, float]:
    """exp(mean KL(p(class | image) || p(class))) of logits [N, K]: (mean, standard deviation) over `splits` consecutive parts.

    Between 1 and K. It looks at generated images only, and it grows with N: compare at equal N. Raises UsageError for fewer rows than parts.
    """
    if len(logits) < splits:
        raise UsageError(f'the inception score in {splits} parts needs at least {splits} images, found {len(logits)}')
    logits = np.asarray(logits, dtype=np.float64)
    log_p = logits - logits.max(axis=1, keepdims=True)
    log_p -= np.log(np.exp(log_p).sum(axis=1, keepdims=True))
    bounds = [index * len(log_p) // splits for index in range(splits + 1)]
    scores = [_score(log_p[start:stop]) for start, stop in itertools.pairwise(bounds)]
    return float(np.mean(scores)), float(np.std(scores))


def _score(log_p: np.ndarray) -> float:
    p = np.exp(log_p)
    divergence = (p * (log_p - np.log(p.mean(axis=0)))).sum(axis=1)
    return float(np.exp(divergence.mean()))
