"""Classes and colour modes of generated images, as an oracle reads them: the right ones, all of them, in the right shares?

Everything here is counts of whole numbers, and as good as the oracle: an image that shows nothing still gets some class. Nothing is seen
within a class and mode. Divergences are in nats, KL(generated || reference), with half a count added to every bin (Krichevsky and Trofimov
1981), so that an empty bin is finite; between N and M samples of the same law with K bins they are not 0 but about (K - 1) / 2 (1 / N + 1 /
M). Resampled rows add as much again: bootstrap them centred. Cost: below 1 ms for 2000 images.
"""

from dataclasses import dataclass

import numpy as np

from metrics.measurable import NotMeasurable

PRESENT_SHARE = 0.02


@dataclass(frozen=True, slots=True)
class ClassHistogram:
    """kl >= 0 in nats; present: how many classes have more than 2 % of the images; share [K] of each class."""

    kl: float
    present: int
    share: np.ndarray


@dataclass(frozen=True, slots=True)
class ModeHistogram:
    """kl: mean over classes of the divergence of colour modes, weighted by the classes' shares of the generated images. present: how many
    (class, mode) pairs have more than 2 % of their class. judged: share of generated images whose class the reference has; the others take
    no part."""

    kl: float
    present: int
    judged: float


def class_agreement(predicted: np.ndarray, commanded: np.ndarray) -> float:
    """Conditional accuracy in [0, 1]: share of images whose class [N] is the one that was asked for [N].

    Chance is the chance that two draws of the law agree, 1 / K for K equal classes. One good image per class is enough for 1. Raises
    NotMeasurable without images.
    """
    predicted, commanded = _numbers('class', predicted), _numbers('class', commanded)
    assert predicted.shape == commanded.shape, (predicted.shape, commanded.shape)
    if len(predicted) == 0:
        raise NotMeasurable('class agreement needs at least one image')
    return float((predicted == commanded).mean())


def class_histogram(predicted: np.ndarray, num_classes: int, reference: np.ndarray) -> ClassHistogram:
    """Of classes [N] of generated and [M] of real images, both in 0 .. num_classes - 1.

    One of 8 equal classes missing: log(8/7) = .134; half of them: .69. Right shares of bad images pass. Raises NotMeasurable when either
    has no images.
    """
    counts, expected = (_counts('class', numbers, num_classes) for numbers in (predicted, reference))
    if counts.sum() == 0 or expected.sum() == 0:
        raise NotMeasurable(f'a class histogram needs images on both sides, found {counts.sum()} generated and {expected.sum()} real')
    share = counts / counts.sum()
    return ClassHistogram(_smoothed_kl(counts, expected), int((share > PRESENT_SHARE).sum()), share)


def mode_histogram(
    classes: np.ndarray, modes: np.ndarray, num_classes: int, num_modes: int, reference_classes: np.ndarray, reference_modes: np.ndarray
) -> ModeHistogram:
    """Of classes and colour modes within the class, [N] each of generated and [M] each of real images, from 0.

    The most frequent of three modes (.5, .3, .2) alone: log 2 = .69 (less what half counts take). A wrong share of a whole class is not
    seen here but in `class_histogram`. Raises NotMeasurable when no generated image has a class that the reference has.
    """
    generated = _pair_counts(classes, modes, num_classes, num_modes)
    real = _pair_counts(reference_classes, reference_modes, num_classes, num_modes)
    images, known = generated.sum(axis=1), real.sum(axis=1) > 0
    weight = np.where(known, images, 0)
    if weight.sum() == 0:
        raise NotMeasurable('a histogram of modes needs generated images of a class that the reference has')
    divergences = [_smoothed_kl(ours, theirs) for ours, theirs in zip(generated, real, strict=True)]
    share = generated / np.maximum(images, 1)[:, None]
    return ModeHistogram(
        kl=float(np.average(divergences, weights=weight)),
        present=int((share[known] > PRESENT_SHARE).sum()),
        judged=float(weight.sum() / images.sum()),
    )


def _numbers(what: str, values: np.ndarray) -> np.ndarray:
    numbers = np.asarray(values)
    whole = np.issubdtype(numbers.dtype, np.integer) or len(numbers) == 0
    assert numbers.ndim == 1 and whole, f'{what} numbers are one whole number an image, found {numbers.dtype} {numbers.shape}'
    return numbers.astype(np.int64)


def _counts(what: str, values: np.ndarray, bins: int) -> np.ndarray:
    numbers = _numbers(what, values)
    assert ((numbers >= 0) & (numbers < bins)).all(), f'{what} numbers beyond 0 .. {bins - 1}'
    return np.bincount(numbers, minlength=bins)


def _pair_counts(classes: np.ndarray, modes: np.ndarray, num_classes: int, num_modes: int) -> np.ndarray:
    """Images of every class and mode [num_classes, num_modes]."""
    classes, modes = _numbers('class', classes), _numbers('mode', modes)
    assert classes.shape == modes.shape, (classes.shape, modes.shape)
    assert ((modes >= 0) & (modes < num_modes)).all(), f'mode numbers beyond 0 .. {num_modes - 1}'
    return _counts('class and mode', classes * num_modes + modes, num_classes * num_modes).reshape(num_classes, num_modes)


def _smoothed_kl(counts: np.ndarray, reference: np.ndarray) -> float:
    p, q = ((bins + 0.5) / (bins.sum() + 0.5 * len(bins)) for bins in (counts, reference))
    return float((p * np.log(p / q)).sum())
