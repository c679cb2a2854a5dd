"""Bars and comparisons: what the evidence of several seeds says about the claims that were written down before."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from scipy.special import ndtr

from experiments.experiment import Bar, Experiment
from experiments.side_by_side import Workers
from metrics.evidence import Evidence
from metrics.intervals import Difference, Group, Interval, holm, paired_difference, seed_interval, student_p
from metrics.measurable import NotMeasurable
from metrics.suite import STATISTICS, Reference, Statistic

LEVEL = 0.05
RunEvidence = Mapping[tuple[str, int], Evidence]
"""{(arm, seed): evidence of the last snapshot} of finished runs."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A bar and what became of it. `seeds`: those in which all arms of the bar are finished; `why`: in words, where it was not judged."""

    bar: Bar
    outcome: Literal['met', 'missed', 'not measurable', 'not run']
    seeds: tuple[int, ...]
    interval: Interval | None = None
    why: str = ''


@dataclass(frozen=True, slots=True)
class Comparison:
    """arm minus other, seed by seed. adjusted: Holm's p over the whole family; NaN where one seed gives none. `why`: not measurable."""

    arm: str
    other: str
    statistic: str
    seeds: tuple[int, ...]
    difference: Difference | None = None
    adjusted: float = math.nan
    why: str = ''

    @property
    def claimed(self) -> bool:
        """Whether the order of the two arms may be claimed: the interval excludes 0, all of several seeds agree, and both p are below .05:
        Holm's, that other scenes would say the same of these networks, and Student's, that other seeds would."""
        if self.difference is None or len(self.seeds) < 2:
            return False
        interval = self.difference.interval
        return (interval.low > 0 or interval.high < 0) and self.difference.agrees and self.adjusted < LEVEL and self.difference.p_seeds < LEVEL


@dataclass(frozen=True, slots=True)
class Judgement:
    """cells: {(arm, statistic): interval, or why there is none}."""

    verdicts: tuple[Verdict, ...]
    comparisons: tuple[Comparison, ...]
    cells: Mapping[tuple[str, str], Interval | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Question:
    """A statistic of an arm, or its difference or ratio to another arm."""

    arm: str
    statistic: str
    against: str | None = None
    ratio: bool = False

    @classmethod
    def of(cls, bar: Bar) -> 'Question':
        """What a bar asks."""
        return cls(bar.arm, bar.statistic, bar.against, bar.relation == 'ratio')


@dataclass(frozen=True, slots=True)
class Answer:
    """From the seeds in which every arm of the question is finished; nothing found and no seeds: not run."""

    seeds: tuple[int, ...]
    found: Interval | Difference | None = None
    why: str = ''

    @property
    def interval(self) -> Interval | None:
        """Of the value or of the difference."""
        return self.found.interval if isinstance(self.found, Difference) else self.found


def judge(experiment: Experiment, runs: RunEvidence, seeds: Sequence[int], reference: Reference, workers: Workers) -> Judgement:
    """Everything that is said about a finished experiment. Only pairs of runs of one seed are compared; only seeds that are there are counted."""
    pairs = [pair for pair in _pairs_of_arms(experiment) if complete_seeds(runs, seeds, *pair)]
    cells = [Question(arm, name) for arm in experiment.arms for name in experiment.columns]
    compared = [Question(arm, name, other) for arm, other in pairs for name in experiment.columns]
    # The dear ones first, so that no process is left alone with one at the end.
    questions = sorted(dict.fromkeys([*cells, *compared, *map(Question.of, experiment.bars)]), key=lambda q: STATISTICS[q.statistic].draws)
    asked = [_Asked(question, _needed(question, runs), tuple(seeds), reference) for question in questions]
    answers: dict[Question, Answer] = {}
    for one, result in workers.each(_answer, asked, 'judging'):
        if isinstance(result, Exception):
            raise result
        answers[one.question] = result
    comparisons = [
        Comparison(q.arm, q.against, q.statistic, answers[q].seeds, answers[q].found, why=answers[q].why) for q in compared
    ]
    return Judgement(
        verdicts=tuple(_verdict(bar, answers[Question.of(bar)], runs, reference) for bar in experiment.bars),
        comparisons=tuple(_adjusted(comparisons)),
        cells={(q.arm, q.statistic): _cell(answers[q]) for q in cells},
    )


def judge_bar(bar: Bar, runs: RunEvidence, seeds: Sequence[int], reference: Reference) -> Verdict:
    """Met only if the whole 95 % interval lies inside, and with `every_seed` each seed's value. A ratio is the geometric mean of the seeds' ratios,
    so that a / b and b / a agree."""
    return _verdict(bar, answer(Question.of(bar), runs, seeds, reference), runs, reference)


def answer(question: Question, runs: RunEvidence, seeds: Sequence[int], reference: Reference) -> Answer:
    """What the finished seeds say."""
    arms = [question.arm] if question.against is None else [question.arm, question.against]
    complete = complete_seeds(runs, seeds, *arms)
    if not complete:
        return Answer((), why=f'no seed of arm {" and ".join(arms)} is finished')
    first, *second = ([runs[arm, seed] for seed in complete] for arm in arms)
    try:
        if not second:
            return Answer(complete, STATISTICS[question.statistic].interval(first, reference))
        return Answer(complete, paired(question.statistic, first, second[0], reference, ratio=question.ratio))
    except NotMeasurable as why:
        return Answer(complete, why=str(why))


def paired(
    name: str, first: Sequence[Evidence], second: Sequence[Evidence], reference: Reference, *, ratio: bool = False
) -> Difference:
    """Difference (or ratio: exp of the mean difference of logarithms) of a statistic between two arms with the same seeds.

    Where no draw falls on the other side of 0, their share says no more than p < 2 / (draws + 1), which a family of comparisons cannot carry; p is
    then that of a normal law as wide as the interval. Raises NotMeasurable, also for a ratio of numbers that are not positive.
    """
    statistic = STATISTICS[name]

    def measure(*columns: np.ndarray) -> float:
        value = statistic.measure(reference, *columns)
        if not ratio:
            return value
        if not value > 0:
            raise NotMeasurable(f'a ratio needs positive numbers, {statistic.caption} is {value:.3g}')
        return math.log(value)

    ours, theirs = ([evidence.columns(statistic.table, statistic.columns) for evidence in arm] for arm in (first, second))
    if statistic.resampling == 'none':
        found = _over_seeds(measure, ours, theirs)
    else:
        found = _resampled(statistic, measure, ours, theirs)
    if ratio:
        value, low, high = (math.exp(number) for number in (found.interval.value, found.interval.low, found.interval.high))
        found = replace(found, interval=Interval(value, low, high))
    return found


def complete_seeds(runs: Mapping[tuple[str, int], object], seeds: Sequence[int], *arms: str) -> tuple[int, ...]:
    """The seeds in which all of these arms are finished."""
    return tuple(seed for seed in seeds if all((arm, seed) in runs for arm in arms))


def _resampled(statistic: Statistic, measure, ours: Sequence[Group], theirs: Sequence[Group]) -> Difference:
    found = paired_difference(measure, ours, theirs, draws=statistic.draws, centred=statistic.resampling == 'centred')
    interval = found.interval
    if (interval.low > 0 or interval.high < 0) and interval.high > interval.low:
        error = (interval.high - interval.low) / (2 * 1.959964)  # 95 % of a normal law lie within so many standard deviations
        found = replace(found, p=min(found.p, float(2 * ndtr(-abs(interval.value) / error))))
    return found


def _over_seeds(measure, ours: Sequence[Group], theirs: Sequence[Group]) -> Difference:
    """Student's paired test, for statistics whose rows cannot be drawn again (suite.py says which)."""
    differences = np.array([measure(*a) - measure(*b) for a, b in zip(ours, theirs, strict=True)])
    interval = seed_interval(differences)
    signs = np.sign(differences)
    agrees = bool(signs[0] != 0 and (signs == signs[0]).all())
    p = student_p(differences)
    return Difference(interval, agrees, p, p)


def _verdict(bar: Bar, found: Answer, runs: RunEvidence, reference: Reference) -> Verdict:
    interval = found.interval
    if interval is None:
        return Verdict(bar, 'not measurable' if found.seeds else 'not run', found.seeds, why=found.why)
    if math.isnan(interval.low):
        why = f'{STATISTICS[bar.statistic].caption}: one seed gives a value and no interval'
        return Verdict(bar, 'not measurable', found.seeds, interval, why)
    beyond = []
    if bar.every_seed:
        values = {seed: STATISTICS[bar.statistic].of(runs[bar.arm, seed], reference) for seed in found.seeds}
        beyond = [f'seed {seed} has {value:.3g}' for seed, value in values.items() if not _within(bar, value, value)]
    met = _within(bar, interval.low, interval.high) and not beyond
    return Verdict(bar, 'met' if met else 'missed', found.seeds, interval, ', '.join(beyond))


def _within(bar: Bar, low: float, high: float) -> bool:
    return (bar.low is None or low >= bar.low) and (bar.high is None or high <= bar.high)


def _cell(found: Answer) -> Interval | str:
    if found.interval is not None:
        return found.interval
    return f'not measurable here: {found.why}' if found.seeds else 'not run'


def _pairs_of_arms(experiment: Experiment) -> list[tuple[str, str]]:
    """Those that the experiment names; else the arms that carry bars against every other arm. A pair is compared once."""
    if experiment.compared:
        return list(experiment.compared)
    carrying = list(dict.fromkeys(bar.arm for bar in experiment.bars)) or list(experiment.arms)[:1]
    pairs = [(arm, other) for arm in carrying for other in experiment.arms if other != arm]
    return [pair for i, pair in enumerate(pairs) if pair[::-1] not in pairs[:i]]


def _adjusted(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """With Holm's p over all of them that have one."""
    known = {str(i): c.difference.p for i, c in enumerate(comparisons) if c.difference is not None and not math.isnan(c.difference.p)}
    adjusted = holm(known)
    return [replace(c, adjusted=adjusted[str(i)]) if str(i) in adjusted else c for i, c in enumerate(comparisons)]


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question with what it needs, for another process."""

    question: Question
    runs: RunEvidence
    seeds: tuple[int, ...]
    reference: Reference


def _answer(asked: _Asked) -> Answer:
    return answer(asked.question, asked.runs, asked.seeds, asked.reference)


def _needed(question: Question, runs: RunEvidence) -> RunEvidence:
    """The evidence of the question's arms, and of it the columns of its statistic."""
    statistic = STATISTICS[question.statistic]
    needed = {}
    for key, evidence in runs.items():
        if key[0] in (question.arm, question.against):
            table = {name: column for name, column in getattr(evidence, statistic.table).items() if name in statistic.columns}
            needed[key] = Evidence(**{statistic.table: table}, absent=evidence.absent)
    return needed
