"""Intervals: how far a number may be trusted, over samples and over training seeds, and whether two arms differ.

Percentile bootstrap (Efron and Tibshirani 1993, chapter 13), hierarchical where there are several seeds (Davison and Hinkley 1997, section
3.8): seeds are drawn with replacement, then rows within every drawn seed.

Limits. With S seeds the bootstrap sees only (S - 1) / S of the variance between them: where that dominates, 3 seeds give a nominal 95 %
interval that holds the truth about 75 times in 100 (5 seeds: 80, 10: 85), and p counts how the networks that were trained differ, not whether
others would: where seeds scatter ten times as much as rows do, one pair in six of equal arms has an interval without 0 and three seeds that
agree. Hence an order is claimed only if Student's test over the seeds alone says so, too. A resampled set holds every row several times, so a
statistic that looks for copies or for nearest neighbours (duplicates, diversity, coverage, recall) must not be resampled: take `seed_interval`
of its values per seed. The statistic is called draws x seeds times (twice that for a paired difference); the resampling itself costs 0.05 s of one thread for 2000 rows, 3 seeds and 1000 draws.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from dnnlib.errors import UsageError
from metrics.measurable import NotMeasurable

Statistic = Callable[..., float]
"""statistic(*arrays) -> float: of the arrays of one seed, whose rows belong together. NaN or NotMeasurable where it has no value."""

Group = tuple[np.ndarray, ...]
"""The arrays of one training seed: equal first axes, one row a sample."""

MOST_FAILURES = 0.05  # of the draws; more than that, and the interval would describe only the draws that went well


@dataclass(frozen=True, slots=True)
class Interval:
    """A value and the ends of its interval, in the value's own unit. low and high are NaN where only the value is known."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """`0.71 [0.64, 0.77]`: two digits of the width, at least two decimals below a width of 10."""
        width = self.high - self.low
        decimals = 2 if not 0 < width < 0.1 else min(2 + math.floor(-math.log10(width)), 9)
        if 10 <= width < math.inf:
            decimals = 0
        return f'{self.value:.{decimals}f} [{self.low:.{decimals}f}, {self.high:.{decimals}f}]'


@dataclass(frozen=True, slots=True)
class Difference:
    """First arm minus second. agrees: the differences of all seeds have the same sign, none is 0 (with one seed: is not 0).

    p: two-sided, in (0, 1], of the bootstrap. p_seeds: `student_p` of the seeds alone.
    """

    interval: Interval
    agrees: bool
    p: float
    p_seeds: float = math.nan


def bootstrap(
    statistic: Statistic, groups: Sequence[Group], *, draws: int = 1000, seed: int = 0, level: float = 0.95, centred: bool = False
) -> Interval:
    """Mean over seeds of statistic(*arrays of that seed), with its hierarchical percentile interval at `level`; one group = rows alone are
    resampled.

    centred: for a statistic that resampling biases (repeated rows shrink covariances: Frechet distances rise in every draw, and the plain
    interval may lie wholly above the value), the interval is shifted so that the median of the draws sits on the value. The median, not the
    mean: it lies between the percentiles whatever the skew, so the value always lies in its interval. The width is not corrected, nor is
    the bias of the value itself.

    Raises NotMeasurable when the value does not exist, a group has fewer than 2 rows, or more than 5 % of the draws fail (a draw fails when
    the statistic of one of its seeds is not finite or raises NotMeasurable; fewer are left out), UsageError for no groups or arrays that do
    not fit.
    """
    sizes = _sizes(groups)
    value = float(np.mean([_value(statistic, group) for group in groups]))
    random = np.random.default_rng(seed)

    def draw() -> float:
        found = []
        for index in random.integers(len(groups), size=len(groups)):
            rows = random.integers(sizes[index], size=sizes[index])
            found.append(_attempt(statistic, groups[index], rows))
        return float(np.mean(found))

    return _interval(value, _collect(draw, draws, value, centred), level)


def paired_difference(
    statistic: Statistic,
    first: Sequence[Group],
    second: Sequence[Group],
    *,
    draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    centred: bool = False,
) -> Difference:
    """Mean over seeds of statistic(first) - statistic(second); the arms have the same seeds in the same order.

    Every draw takes the same seeds from both arms, and the same rows where a seed has equally many in both (row i must then be the same
    scene, latent and camera in both, or merely exchangeable). p is two-sided, 2 min(share of draws <= 0, share >= 0) with one draw added to
    either side (Davison and Hinkley 1997, section 4.2), so at least 2 / (draws + 1) and never 0. centred and errors as in `bootstrap`;
    UsageError when the numbers of seeds differ.
    """
    if len(first) != len(second):
        raise UsageError(f'a paired difference needs the same seeds in both arms, found {len(first)} and {len(second)}')
    sizes = list(zip(_sizes(first), _sizes(second), strict=True))
    differences = [_value(statistic, a) - _value(statistic, b) for a, b in zip(first, second, strict=True)]
    value = float(np.mean(differences))
    random = np.random.default_rng(seed)

    def draw() -> float:
        found = []
        for index in random.integers(len(first), size=len(first)):
            ours, theirs = sizes[index]
            rows = random.integers(ours, size=ours)
            other_rows = rows if ours == theirs else random.integers(theirs, size=theirs)
            found.append(_attempt(statistic, first[index], rows) - _attempt(statistic, second[index], other_rows))
        return float(np.mean(found))

    found = _collect(draw, draws, value, centred)
    rarer = min(int((found <= 0).sum()), int((found >= 0).sum()))
    signs = np.sign(differences)
    return Difference(
        interval=_interval(value, found, level),
        agrees=bool(signs[0] != 0 and (signs == signs[0]).all()),
        p=min(1.0, 2 * (rarer + 1) / (len(found) + 1)),
        p_seeds=student_p(differences),
    )


def student_p(differences: Sequence[float]) -> float:
    """Two-sided p of Student's paired test, of one difference per seed (Student 1908); 1 where all are 0.

    NaN where there is no spread to judge by: with one seed, or where all differ by the same to the last digit, as coarse numbers do by chance.
    """
    numbers = np.asarray(differences, dtype=np.float64)
    if len(numbers) == 1:
        return math.nan
    mean, error = float(numbers.mean()), float(numbers.std(ddof=1)) / math.sqrt(len(numbers))
    if error <= 1e-9 * abs(mean):
        return 1.0 if mean == 0 else math.nan
    return float(2 * stdtr(len(numbers) - 1, -abs(mean) / error))


def seed_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Mean of one value per seed and Student's interval, mean +- t(S - 1) s / sqrt(S) (Student 1908): exact for normal values.

    For statistics that are dear or that cannot be resampled. With 2 or 3 seeds it is wide (t = 12.7, 4.3), and honestly so; with one seed
    low and high are NaN: one value says nothing about its spread. Raises NotMeasurable without values or when one is not finite.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if len(numbers) == 0 or not np.isfinite(numbers).all():
        raise NotMeasurable(f'an interval over seeds needs one finite value per seed, found {numbers.tolist()}')
    mean = float(numbers.mean())
    if len(numbers) == 1:
        return Interval(mean, math.nan, math.nan)
    reach = float(stdtrit(len(numbers) - 1, (1 + level) / 2) * numbers.std(ddof=1) / math.sqrt(len(numbers)))
    return Interval(mean, mean - reach, mean + reach)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjusted p values of a family of tests, in the order given (Holm 1979): claim those below .05, and the chance of any false claim is
    below .05, as far as each p is what it says.

    The k-th smallest of m is multiplied by m - k + 1, never falls below its predecessor and never exceeds 1. Whatever the dependence
    between the tests. Raises UsageError for a p value outside [0, 1].
    """
    for name, p in p_values.items():
        if not 0 <= p <= 1:
            raise UsageError(f'a p value lies between 0 and 1, that of {name} is {p}')
    adjusted: dict[str, float] = {}
    highest = 0.0
    for rank, name in enumerate(sorted(p_values, key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = highest
    return {name: adjusted[name] for name in p_values}


def _sizes(groups: Sequence[Group]) -> list[int]:
    if not groups or any(len(group) == 0 for group in groups):
        raise UsageError('a bootstrap needs at least one group of arrays, and at least one array in each')
    sizes = []
    for group in groups:
        lengths = {len(array) for array in group}
        if len(lengths) != 1:
            raise UsageError(f'the arrays of a group must have equally many rows, found {sorted(lengths)}')
        sizes.append(lengths.pop())
    if min(sizes) < 2:
        raise NotMeasurable(f'an interval needs at least 2 rows per seed, found {min(sizes)}')
    return sizes


def _value(statistic: Statistic, group: Group) -> float:
    value = float(statistic(*group))
    if not math.isfinite(value):
        raise NotMeasurable(f'the statistic is {value} before any resampling')
    return value


def _attempt(statistic: Statistic, group: Group, rows: np.ndarray) -> float:
    """The statistic of these rows; NaN where it has none. An infinite one has no percentile either."""
    try:
        value = float(statistic(*(array[rows] for array in group)))
    except NotMeasurable:
        return math.nan
    return value if math.isfinite(value) else math.nan


def _collect(draw: Callable[[], float], draws: int, value: float, centred: bool) -> np.ndarray:
    found = np.array([draw() for _ in range(draws)])
    failed = int(np.isnan(found).sum())
    if failed > MOST_FAILURES * draws:
        raise NotMeasurable(f'{failed} of {draws} resampled sets have no such value')
    found = found[~np.isnan(found)]
    return found + (value - np.median(found)) if centred else found


def _interval(value: float, found: np.ndarray, level: float) -> Interval:
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high))
