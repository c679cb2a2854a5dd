"""Intervals: coverage on laws whose truth is known, what seeds and pairs change, Holm by hand."""

import math

import numpy as np
import pytest

from dnnlib.errors import UsageError
from metrics.frechet import frechet_distance
from metrics.intervals import Interval, bootstrap, holm, paired_difference, seed_interval
from metrics.measurable import NotMeasurable
from metrics.moments import Moments


def mean(rows):
    return rows.mean()


def width(interval):
    return interval.high - interval.low


@pytest.mark.parametrize(('statistic', 'law', 'truth'), [
    (np.mean, lambda draw: draw.normal(3, 2, 60), 3.0),
    (np.mean, lambda draw: draw.exponential(1, 60), 1.0),
    (np.median, lambda draw: draw.exponential(1, 60), math.log(2)),
])  # fmt: skip
def test_a_95_percent_interval_holds_the_truth_about_that_often(statistic, law, truth):
    draw = np.random.default_rng(0)
    found = [bootstrap(statistic, [(law(draw),)], draws=150, seed=repetition) for repetition in range(200)]
    assert 0.88 <= np.mean([interval.low <= truth <= interval.high for interval in found]) <= 0.99


def test_the_interval_of_a_mean_is_as_wide_as_its_standard_error_says():
    rows = np.random.default_rng(1).normal(size=400)
    interval = bootstrap(mean, [(rows,)], draws=2000)
    assert interval.value == pytest.approx(rows.mean(), abs=1e-15)
    assert width(interval) == pytest.approx(2 * 1.96 * rows.std() / 20, rel=0.08)
    assert width(bootstrap(mean, [(rows,)], draws=2000, level=0.5)) == pytest.approx(2 * 0.6745 * rows.std() / 20, rel=0.08)


def test_seeds_that_differ_widen_the_interval_and_seeds_that_agree_narrow_it():
    draw = np.random.default_rng(2)
    rows = draw.normal(size=(3, 300))
    flat = bootstrap(mean, [(rows.ravel(),)])
    agreeing = bootstrap(mean, [(row - row.mean(),) for row in rows])
    assert width(agreeing) == pytest.approx(width(flat), rel=0.15)
    shifted = [(row - row.mean() + shift,) for row, shift in zip(rows, (-1, 0, 1), strict=True)]
    assert width(bootstrap(mean, shifted)) > 4 * width(bootstrap(mean, [(np.concatenate([group[0] for group in shifted]),)]))


def test_the_bootstrap_variance_of_seeds_is_that_of_the_formula():
    groups = [(np.full(2, value),) for value in (0.0, 1.0, 5.0, 6.0)]  # rows without spread: only the drawing of seeds is left
    interval = bootstrap(mean, groups, draws=4000, level=0.6827)
    assert width(interval) / 2 == pytest.approx(np.std([0, 1, 5, 6]) / 2, rel=0.1)


def test_arrays_of_a_seed_are_resampled_together():
    x = np.random.default_rng(3).normal(size=50)
    interval = bootstrap(lambda a, b: float(np.abs(a - b).max()), [(x, x.copy())], draws=50)
    assert interval == Interval(0, 0, 0)


def test_the_same_seed_gives_the_same_interval():
    groups = [(np.random.default_rng(4).normal(size=40),)]
    assert bootstrap(mean, groups, draws=100) == bootstrap(mean, groups, draws=100)
    assert bootstrap(mean, groups, draws=100) != bootstrap(mean, groups, draws=100, seed=1)


def test_a_frechet_distance_lies_below_its_plain_interval_and_inside_the_centred_one():
    draw = np.random.default_rng(5)
    reference = Moments.of(draw.normal(size=(2000, 20)))
    group = (draw.normal(size=(100, 20)),)

    def distance(rows):
        return frechet_distance(Moments.of(rows), reference)

    plain, centred = (bootstrap(distance, [group], draws=100, centred=flag) for flag in (False, True))
    assert plain.low > plain.value
    assert centred.low < centred.value < centred.high and width(centred) == pytest.approx(width(plain), rel=1e-9)


def test_the_centred_interval_has_the_median_of_the_draws_on_the_value():
    group = (np.random.default_rng(6).normal(size=30),)

    def different(rows):
        return len(np.unique(rows))

    half = bootstrap(different, [group], draws=501, centred=True, level=0.0)  # both ends are the median
    assert half == Interval(30, 30, 30)
    assert bootstrap(different, [group], draws=501, level=0.0).high == pytest.approx(30 * (1 - math.exp(-1)), abs=1)


def test_a_few_failed_draws_are_left_out_and_many_are_refused():
    rows = np.arange(1000.0)

    def rarely(chance):
        refused = np.random.default_rng(7)

        def statistic(values):
            if len(np.unique(values)) < len(values) and refused.random() < chance:  # never before resampling
                raise NotMeasurable('bad luck')
            return values.mean()

        return statistic

    assert bootstrap(rarely(0.02), [(rows,)], draws=500).value == 499.5
    with pytest.raises(NotMeasurable, match='of 500 resampled sets have no such value'):
        bootstrap(rarely(0.2), [(rows,)], draws=500)
    with pytest.raises(NotMeasurable, match='100 of 100 resampled sets'):
        bootstrap(lambda values: 1.0 if len(np.unique(values)) == len(values) else math.nan, [(rows,)], draws=100)


def test_what_has_no_value_or_no_spread_is_refused():
    with pytest.raises(NotMeasurable, match='nan before any resampling'):
        bootstrap(lambda values: math.nan, [(np.zeros(5),)])
    with pytest.raises(NotMeasurable, match='at least 2 rows per seed, found 1'):
        bootstrap(mean, [(np.zeros(5),), (np.zeros(1),)])
    with pytest.raises(UsageError, match='at least one group'):
        bootstrap(mean, [])
    with pytest.raises(UsageError, match=r'equally many rows, found \[2, 3\]'):
        bootstrap(mean, [(np.zeros(2), np.zeros(3))])
    with pytest.raises(UsageError, match='same seeds in both arms, found 1 and 2'):
        paired_difference(mean, [(np.zeros(2),)], [(np.zeros(2),)] * 2)


def test_pairs_narrow_the_difference_of_correlated_arms():
    draw = np.random.default_rng(8)
    common = draw.normal(size=(3, 200)) + np.array([[-2.0], [0.0], [2.0]])  # scenes and seeds that are hard for both
    first = [(rows + 0.2 + 0.1 * draw.normal(size=200),) for rows in common]
    second = [(rows + 0.1 * draw.normal(size=200),) for rows in common]
    paired = paired_difference(mean, first, second)
    assert paired.agrees and paired.interval.low > 0.15 and paired.interval.high < 0.25
    assert paired.p == pytest.approx(2 / 1001)
    apart = paired_difference(mean, first, [(rows[:-1],) for (rows,) in second])  # other numbers of rows: seeds are paired, rows are not
    assert width(apart.interval) > 3 * width(paired.interval)
    unpaired = width(bootstrap(mean, first)) + width(bootstrap(mean, second))
    assert unpaired > 20 * width(paired.interval)


def test_p_is_even_when_there_is_no_difference_and_symmetric():
    draw = np.random.default_rng(9)
    found = []
    for repetition in range(150):
        first, second = [(draw.normal(size=40),)], [(draw.normal(size=40),)]
        found.append(paired_difference(mean, first, second, draws=100, seed=repetition).p)
    assert np.mean(np.array(found) < 0.5) == pytest.approx(0.5, abs=0.12) and np.mean(np.array(found) < 0.05) < 0.12
    forth = paired_difference(mean, first, second, draws=100)
    back = paired_difference(mean, second, first, draws=100)
    assert back.p == forth.p and back.interval.low == pytest.approx(-forth.interval.high)
    same = paired_difference(mean, first, first, draws=100)
    assert same.p == 1 and not same.agrees and same.interval == Interval(0, 0, 0)


def test_one_seed_against_the_others_is_no_agreement():
    shifts = (0.3, 0.3, -0.01)
    rows = np.random.default_rng(10).normal(size=50)
    difference = paired_difference(mean, [(rows + shift,) for shift in shifts], [(rows,)] * 3, draws=50)
    assert not difference.agrees and difference.interval.value == pytest.approx(np.mean(shifts))


def test_seed_interval_by_hand():
    found = seed_interval([1.0, 2.0, 3.0])  # s = 1, t of two degrees of freedom = 4.302653
    assert found.value == 2 and found.low == pytest.approx(2 - 4.302653 / math.sqrt(3), abs=1e-6)
    assert found.high == pytest.approx(2 + 4.302653 / math.sqrt(3), abs=1e-6)
    single = seed_interval([0.7])
    assert single.value == 0.7 and math.isnan(single.low) and math.isnan(single.high)
    for values in ([], [1.0, math.nan]):
        with pytest.raises(NotMeasurable, match='one finite value per seed'):
            seed_interval(values)


def test_holm_by_hand():
    # Sorted: .01 x 4 = .04; .02 x 3 = .06; .03 x 2 = .06; .8 x 1 = .8.
    assert holm({'c': 0.03, 'a': 0.01, 'd': 0.8, 'b': 0.02}) == pytest.approx({'c': 0.06, 'a': 0.04, 'd': 0.8, 'b': 0.06})
    assert holm({'a': 0.01, 'b': 0.011}) == pytest.approx({'a': 0.02, 'b': 0.02})  # 1 x .011 is raised to its predecessor
    assert holm({'a': 0.6, 'b': 0.9}) == {'a': 1.0, 'b': 1.0}
    assert list(holm({'z': 0.5, 'a': 0.1})) == ['z', 'a'] and holm({}) == {}
    for p in (-0.1, 1.1, math.nan):
        with pytest.raises(UsageError, match='that of x'):
            holm({'x': p})


@pytest.mark.parametrize(('interval', 'text'), [
    (Interval(0.714, 0.64, 0.77), '0.71 [0.64, 0.77]'),
    (Interval(0.00262, 0.00255, 0.00269), '0.00262 [0.00255, 0.00269]'),
    (Interval(113.2, 101.7, 121.4), '113 [102, 121]'),
    (Interval(1.0, 1.0, 1.0), '1.00 [1.00, 1.00]'),
    (Interval(0.7, math.nan, math.nan), '0.70 [nan, nan]'),
])  # fmt: skip
def test_text(interval, text):
    assert str(interval) == text
