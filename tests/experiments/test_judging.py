"""Bars and comparisons on evidence that was made by hand: what is met, what is not, and what cannot be said."""

import math
from dataclasses import replace

import numpy as np
import pytest

from experiments.experiment import Arm, Bar, Experiment
from experiments.judging import Comparison, complete_seeds, judge, judge_bar, paired
from experiments.side_by_side import Workers
from metrics import suite
from metrics.evidence import Evidence
from metrics.intervals import Difference, Interval, student_p
from metrics.measurable import NotMeasurable
from metrics.pose_distribution import Gauge
from metrics.suite import Reference
from tests.experiments.tiny import arms_of, evidence

SEEDS = (0, 1, 2)
REFERENCE = Reference(evidence(100))


def with_thickness(values: np.ndarray) -> Evidence:
    return Evidence(shapes={'thickness': values})


def test_a_bar_is_met_only_if_the_whole_interval_lies_inside() -> None:
    bar = Bar('A', 'class_accuracy', low=0.9)
    many = arms_of(lambda arm, seed: evidence(seed, rows=4000, right=0.95), 'A', SEEDS)
    few = arms_of(lambda arm, seed: evidence(seed, rows=20, right=0.95), 'A', SEEDS)
    met, missed = judge_bar(bar, many, SEEDS, REFERENCE), judge_bar(bar, few, SEEDS, REFERENCE)
    assert met.outcome == 'met' and met.interval.value == pytest.approx(0.95) and met.interval.low >= 0.9
    assert missed.outcome == 'missed' and missed.interval.value == pytest.approx(0.95) and missed.interval.low < 0.9
    assert judge_bar(Bar('A', 'class_accuracy', low=0.9, high=0.951), many, SEEDS, REFERENCE).outcome == 'missed', 'both ends count'
    assert judge_bar(Bar('A', 'class_accuracy', high=0.9), many, SEEDS, REFERENCE).outcome == 'missed'


def test_a_mean_may_not_hide_a_seed() -> None:
    runs = arms_of(lambda arm, seed: evidence(seed, rows=400, thickness=(0.6, 0.7, 0.48)[seed]), 'A', SEEDS)
    low = judge_bar(Bar('A', 'thickness', low=0.47, every_seed=True), runs, SEEDS, REFERENCE)
    assert low.outcome == 'met' and not low.why
    two = {key: runs[key] for key in (('A', 0), ('A', 1))}
    assert judge_bar(Bar('A', 'thickness', low=0.55, every_seed=True), two, SEEDS, REFERENCE).outcome == 'met'
    many = arms_of(lambda arm, seed: evidence(seed, rows=400, thickness=0.48 if seed == 9 else 0.7), 'A', tuple(range(10)))
    bar = Bar('A', 'thickness', low=0.5)
    assert judge_bar(bar, many, range(10), REFERENCE).outcome == 'met', 'the interval of the mean is above'
    hidden = judge_bar(replace(bar, every_seed=True), many, range(10), REFERENCE)
    assert hidden.outcome == 'missed' and hidden.why == 'seed 9 has 0.48'


def test_differences_and_ratios_are_paired_by_seed() -> None:
    # Between seeds the arms vary far more than they differ: only pairing sees the difference, which is exactly .1 and exactly a factor of 2.
    base = {seed: 0.1 + 0.3 * seed + 0.01 * np.random.default_rng(seed).normal(size=80) for seed in SEEDS}
    shifted = {('A', s): with_thickness(base[s] + 0.1) for s in SEEDS} | {('B', s): with_thickness(base[s]) for s in SEEDS}
    doubled = {('A', s): with_thickness(2 * base[s]) for s in SEEDS} | {('B', s): with_thickness(base[s]) for s in SEEDS}
    for runs, relation, value in ((shifted, 'difference', 0.1), (doubled, 'ratio', 2.0)):
        verdict = judge_bar(Bar('A', 'thickness', low=0.99 * value, high=1.01 * value, against='B', relation=relation), runs, SEEDS, REFERENCE)
        assert verdict.outcome == 'met', verdict
        assert [verdict.interval.low, verdict.interval.value, verdict.interval.high] == pytest.approx([value] * 3)
    backwards = judge_bar(Bar('B', 'thickness', high=0.51, against='A', relation='ratio'), doubled, SEEDS, REFERENCE)
    assert backwards.outcome == 'met' and backwards.interval.value == pytest.approx(0.5), 'a / b and b / a agree'


def test_a_ratio_of_what_is_not_positive_is_not_measurable() -> None:
    runs = {('A', 0): with_thickness(np.linspace(-1, 0.5, 40)), ('B', 0): with_thickness(np.linspace(1, 2, 40))}
    verdict = judge_bar(Bar('A', 'thickness', high=1.0, against='B', relation='ratio'), runs, (0,), REFERENCE)
    assert verdict.outcome == 'not measurable' and 'positive' in verdict.why


def test_only_seeds_in_which_all_arms_of_the_bar_are_finished_count() -> None:
    runs = arms_of(lambda arm, seed: evidence(seed), 'AB', SEEDS)
    del runs['B', 1]
    assert complete_seeds(runs, SEEDS, 'A') == SEEDS and complete_seeds(runs, SEEDS, 'A', 'B') == (0, 2)
    assert judge_bar(Bar('A', 'thickness', low=-1, against='B', relation='difference'), runs, SEEDS, REFERENCE).seeds == (0, 2)
    nothing = judge_bar(Bar('C', 'thickness', low=0.0), runs, SEEDS, REFERENCE)
    assert nothing.outcome == 'not run' and nothing.seeds == () and nothing.interval is None and 'arm C' in nothing.why


def test_what_cannot_be_measured_is_neither_met_nor_missed() -> None:
    absent = judge_bar(Bar('A', 'slope', low=-9.0), arms_of(lambda arm, seed: evidence(seed), 'A', SEEDS), SEEDS, REFERENCE)
    assert (absent.outcome, absent.why) == ('not measurable', 'no pairs were asked for')

    pairs = {'commanded_deg': np.tile([12.0, -12.0], 40), 'response_deg': np.tile([12.0, -12.0], 40), 'right_class': np.arange(80) < 40}
    wrong = judge_bar(Bar('A', 'slope', low=0.5), {('A', 0): Evidence(pairs=pairs)}, (0,), REFERENCE)
    assert wrong.outcome == 'not measurable' and '50%' in wrong.why
    right = judge_bar(Bar('A', 'slope', low=0.5), {('A', 0): Evidence(pairs=pairs | {'right_class': np.ones(80, dtype=bool)})}, (0,), REFERENCE)
    assert right.outcome == 'met' and right.interval.value == pytest.approx(1)


def test_a_statistic_that_cannot_be_resampled_needs_several_seeds() -> None:
    runs = arms_of(lambda arm, seed: evidence(seed), 'A', SEEDS)
    one = judge_bar(Bar('A', 'coverage', low=-1.0), runs, (0,), REFERENCE)
    assert one.outcome == 'not measurable' and math.isnan(one.interval.low) and 'one seed' in one.why
    assert judge_bar(Bar('A', 'coverage', low=-9.0), runs, SEEDS, REFERENCE).outcome == 'met'


def test_paired_t_test_by_hand() -> None:
    # Differences 1, 2, 3 of a statistic that is not resampled: mean 2, standard error 1 / sqrt 3, t = 3.4641, two degrees of freedom:
    # p = 1 - t / sqrt(2 + t^2) = 0.0741799, interval 2 -+ 4.302653 / sqrt 3.
    def vendi_of(count: float) -> Evidence:
        return Evidence(images={'photo': np.eye(int(count)).repeat(4, axis=0)})

    first, second = [vendi_of(n) for n in (3, 5, 7)], [vendi_of(n) for n in (2, 3, 4)]
    found = paired('vendi', first, second, REFERENCE)
    assert found.interval.value == pytest.approx(2) and found.agrees
    assert found.p == found.p_seeds == pytest.approx(0.0741799, abs=1e-6)
    assert found.interval.high == pytest.approx(2 + 4.302653 / math.sqrt(3), abs=1e-5)


EXPERIMENT = Experiment(
    name='J', claim='', preset='demo', data='', held_out='', kimg=1.0, arms={name: Arm(name) for name in 'ABC'},
    bars=(Bar('A', 'thickness', low=0.2),), columns=('thickness', 'class_accuracy', 'slope'),
)  # fmt: skip


def test_an_order_is_claimed_when_interval_seeds_and_holm_agree() -> None:
    thickness = {'A': (0.3, 0.31, 0.3), 'B': (0.2, 0.2, 0.21), 'C': (0.2, 0.2, 0.31)}
    runs = arms_of(lambda arm, seed: evidence(10 * seed, thickness=thickness[arm][seed]), 'ABC', SEEDS)
    judgement = judge(EXPERIMENT, runs, SEEDS, REFERENCE, Workers(1))
    assert [(c.arm, c.other, c.statistic) for c in judgement.comparisons] == [(a, b, s) for a, b in (('A', 'B'), ('A', 'C')) for s in EXPERIMENT.columns]
    by = {(c.other, c.statistic): c for c in judgement.comparisons}
    assert by['B', 'thickness'].claimed and by['B', 'thickness'].difference.interval.value == pytest.approx(0.1)
    assert not by['C', 'thickness'].claimed and not by['C', 'thickness'].difference.agrees, 'one seed says the opposite'
    assert not by['B', 'class_accuracy'].claimed and by['B', 'class_accuracy'].adjusted == 1, 'no difference'
    assert by['B', 'slope'].difference is None and by['B', 'slope'].why == 'no pairs were asked for'
    # Four of the six have a p, so the smallest is multiplied by four.
    smallest = by['B', 'thickness'].difference.p
    assert by['B', 'thickness'].adjusted == pytest.approx(4 * smallest) and 4 * smallest < 0.05
    assert judgement.verdicts[0].outcome == 'met'
    assert judgement.cells['A', 'slope'] == 'not measurable here: no pairs were asked for'
    assert isinstance(judgement.cells['A', 'thickness'], Interval)


def test_arms_that_differ_by_their_seeds_alone_are_seldom_told_apart() -> None:
    """Two equal arms whose networks scatter ten times as much as scenes do: intervals and signs alone would often claim an order."""
    random = np.random.default_rng(0)
    by_scenes = by_seeds = 0
    for _ in range(TRIALS := 150):
        ours, theirs = ([with_thickness(random.normal() + random.normal(size=100)) for _ in SEEDS] for _ in 'AB')
        found = paired('thickness', ours, theirs, REFERENCE)
        assert found.p_seeds > 0
        as_if_alone = Comparison('A', 'B', 'thickness', SEEDS, found, adjusted=found.p)
        by_scenes += replace(as_if_alone, difference=replace(found, p_seeds=0.0)).claimed
        by_seeds += as_if_alone.claimed
    assert by_scenes / TRIALS > 0.1, 'the trap is there'
    assert by_seeds / TRIALS < 0.08


def test_seeds_that_agree_to_the_last_digit_claim_nothing() -> None:
    assert math.isnan(student_p([0.039 - 0.037, 0.054 - 0.052])) and student_p([0.0, 0.0]) == 1
    interval = Interval(-0.002, -0.0021, -0.0019)
    for p, claimed in ((0.01, True), (math.nan, False)):
        assert Comparison('A', 'B', 'coverage', (0, 1), Difference(interval, True, 0.001, p), adjusted=0.001).claimed is claimed


def test_an_experiment_may_name_the_pairs_that_are_compared() -> None:
    runs = arms_of(lambda arm, seed: evidence(seed), 'ABC', SEEDS)
    judgement = judge(replace(EXPERIMENT, compared=(('B', 'C'),)), runs, SEEDS, REFERENCE, Workers(1))
    assert {(c.arm, c.other) for c in judgement.comparisons} == {('B', 'C')}


def test_one_seed_claims_nothing_and_an_arm_that_was_not_run_is_not_compared() -> None:
    runs = arms_of(lambda arm, seed: evidence(seed, thickness={'A': 0.3, 'B': 0.2}[arm]), 'AB', (0,))
    judgement = judge(EXPERIMENT, runs, SEEDS, REFERENCE, Workers(1))
    assert {c.other for c in judgement.comparisons} == {'B'}
    assert not any(c.claimed for c in judgement.comparisons)
    assert judgement.cells['C', 'thickness'] == 'not run'
    assert judgement.verdicts[0].seeds == (0,)


def test_paired_refuses_what_neither_arm_has() -> None:
    with pytest.raises(NotMeasurable, match='no pairs'):
        paired('slope', [evidence(0)], [evidence(1)], REFERENCE)


def test_few_draws_leave_a_p_that_a_family_can_carry() -> None:
    # fd_photo has 100 draws: their share alone could say no less than 2 / 101, whatever the difference.
    near, far = [evidence(seed, rows=300) for seed in SEEDS], [evidence(seed, rows=300) for seed in SEEDS]
    for one in far:
        one.images['photo'] = one.images['photo'] + 3
    apart, alike = paired('fd_photo', far, near, REFERENCE), paired('fd_photo', near, [evidence(9 + s, rows=300) for s in SEEDS], REFERENCE)
    assert apart.agrees and apart.p < 1e-6 and apart.interval.low > 0
    assert alike.p > 2 / 101 and alike.interval.low < 0 < alike.interval.high


def test_the_best_turn_of_the_same_rows_is_sought_once(monkeypatch) -> None:
    sought = []

    def cheap(seen: np.ndarray, real: np.ndarray, *, mirror: bool) -> Gauge:
        sought.append(mirror)
        return Gauge(0.0, mirror, float(abs(seen.mean(axis=0) - real.mean(axis=0)).sum()))

    monkeypatch.setattr(suite, 'gauge', cheap)
    monkeypatch.setattr(suite, '_turned_distances', {})
    real = Reference(_seen_from(99))
    arms = [[_seen_from(10 * arm + seed) for seed in SEEDS] for arm in range(3)]
    against_first, against_second = paired('sw_aligned', arms[0], arms[1], real), paired('sw_aligned', arms[0], arms[2], real)
    each = len(SEEDS) * (1 + suite.STATISTICS['sw_aligned'].draws)
    assert len(sought) == 3 * each, 'the first arm is resampled into the same rows both times'
    assert paired('sw_aligned', arms[0], arms[1], real) == against_first and len(sought) == 3 * each
    assert against_first.interval.value != against_second.interval.value

    values = [suite.STATISTICS[name].of(arms[0][0], real) for name in ('sw_aligned', 'sw_mirrored')]
    assert sought[3 * each:] == [True] and values[0] == values[1], 'the mirror image is another question'
    assert suite.STATISTICS['sw_aligned'].of(arms[0][0], Reference(_seen_from(98))) != values[0], 'so are other real pictures'


def _seen_from(seed: int) -> Evidence:
    angles = np.random.default_rng(seed).normal(size=(2, 60))
    return evidence(seed, azimuth=angles[0], elevation=angles[1] / 4)
