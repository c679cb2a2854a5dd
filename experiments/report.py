"""The report of an experiment: what was asked, what was run, every number with its interval, and what cannot be said. Markdown, and JSON beside it."""

import datetime
import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from dnnlib.atomic import atomic_write
from experiments.evaluation import Effort, Held, Seen, first_rows
from experiments.experiment import Arm, Experiment
from experiments.judging import Comparison, Judgement, Verdict, complete_seeds
from experiments.registration import bar_text
from metrics.evidence import Evidence, Readers
from metrics.intervals import Interval
from metrics.measurable import NotMeasurable
from metrics.suite import STATISTICS, Reference, measure_all

NOT_MEASURABLE = 'not measurable here'
Curves = Mapping[tuple[str, int], Mapping[float, Mapping[str, float | str]]]  # {(arm, seed): {kimg: {statistic: number or why not}}}


@dataclass(frozen=True)
class Facts:
    """All that a report says. bars_told: when the bars were set. states: {(arm, seed): 'finished', 'begun', 'not run', or what is wrong}; costs: {(arm, seed): (seconds, of what)}."""

    experiment: Experiment
    seeds: tuple[int, ...]
    states: Mapping[tuple[str, int], str]
    costs: Mapping[tuple[str, int], tuple[float, str]]
    seen: Mapping[tuple[str, int], Seen]
    held: Held
    readers: Readers
    effort: Effort
    judgement: Judgement
    curves: Curves
    bars_told: str
    command: str

    @property
    def last(self) -> dict[tuple[str, int], Evidence]:
        """Evidence of the last snapshots."""
        return {key: seen.last for key, seen in self.seen.items()}


def write_report(facts: Facts, folder: Path, pictures: Mapping[str, str]) -> Path:
    """Write <folder>/<name>.md and .json; `pictures`: {file name: caption} that lie there. Returns the path of the former."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f'{facts.experiment.name}.md'
    with atomic_write(path.with_suffix('.json'), 'w') as file:
        json.dump(_strict(_raw(facts)), file, indent=1, allow_nan=False)
        file.write('\n')
    with atomic_write(path, 'w') as file:
        file.write(_markdown(facts, pictures))
    return path


def values_over_kimg(seen: Mapping[tuple[str, int], Seen], reference: Reference, effort: Effort) -> Curves:
    """Every statistic of every snapshot, all from as many rows as were looked at on the way: distances depend on the number."""
    return {
        key: {kimg: measure_all(first_rows(evidence, effort.earlier), reference) for kimg, evidence in sorted(one.by_kimg.items())}
        for key, one in seen.items()
    }


def machine() -> str:
    """Processor, cores and today's date."""
    model = platform.processor() or platform.machine()
    described = Path('/proc/cpuinfo')
    if described.is_file():
        names = [line.partition(':')[2].strip() for line in described.read_text(encoding='utf-8').splitlines() if line.startswith('model name')]
        model = names[0] if names else model
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    return f'{model}, {cores} cores, {datetime.date.today().isoformat()}'


# Markdown.


def _markdown(facts: Facts, pictures: Mapping[str, str]) -> str:
    experiment = facts.experiment
    notes = _Notes()
    parts = [
        f'# {experiment.name}',
        f'**Claim**: {experiment.claim}',
        (
            'What these numbers are not: FID (no Inception network was used), or comparable with papers, other data, other numbers of images or other '
            f'resolutions. They compare small models, trained for {experiment.kimg:g} thousand images of synthetic scenes whose truth is known, with '
            'each other and with real scenes.'
        ),
        _summary(facts),
        *(_bars(facts) if experiment.bars else ()),
        '## Arms',
        _table(
            ['arm', 'what', 'settings', 'finished seeds'],
            [[name, arm.caption, _settings(arm), _seeds_of(facts, name)] for name, arm in experiment.arms.items()],
        ),
        '## Numbers',
        _numbers(facts, notes),
        notes.text(),
        _column_key(experiment),
    ]
    parts += _following(facts)
    parts += ['## Comparisons', *_comparisons(facts)]
    parts += ['## Per seed', *_per_seed(facts)]
    parts += [f'![{caption}]({name})\n\n{caption}' for name, caption in pictures.items()]
    parts += ['## How', _how(facts)]
    return '\n\n'.join(part for part in parts if part) + '\n'


def _bars(facts: Facts) -> list[str]:
    return [
        '## Bars',
        facts.bars_told,
        (
            'Met: the whole 95 % interval lies inside. Intervals are over scenes and seeds (metrics/intervals.py); few seeds make them too narrow, and '
            'one seed says nothing about another.'
        ),
        _table(['bar', 'verdict', 'mean [95 %]', 'seeds', ''], [_verdict_row(verdict, facts) for verdict in facts.judgement.verdicts]),
    ]


def _summary(facts: Facts) -> str:
    counts = {outcome: sum(v.outcome == outcome for v in facts.judgement.verdicts) for outcome in ('met', 'missed', 'not measurable', 'not run')}
    told = [f'**{count} of {len(facts.judgement.verdicts)} bars {outcome}**' for outcome, count in counts.items() if count]
    unfinished = [f'{arm} seed {seed}: {facts.states[arm, seed]}' for arm, seed in sorted(facts.states) if (arm, seed) not in facts.seen]
    judged = sorted({seed for verdict in facts.judgement.verdicts for seed in verdict.seeds})
    seeds = f', on {"seed" if len(judged) == 1 else "seeds"} {", ".join(map(str, judged))}' if judged else ''
    lines = [', '.join(told) + f'{seeds}.' if told else 'There are no bars.']
    if unfinished:
        lines.append('Runs of the experiment that are **not** in these numbers: ' + '; '.join(unfinished) + '.')
    return ' '.join(lines)


def _verdict_row(verdict: Verdict, facts: Facts) -> list[str]:
    whole = 'all' if len(verdict.seeds) == len(facts.seeds) else 'only' if verdict.seeds else ''
    of = f'{whole} {", ".join(map(str, verdict.seeds))}'.strip() if verdict.seeds else '-'
    label = {'met': 'met', 'missed': '**missed**', 'not measurable': '**not measurable**', 'not run': '**not run**'}[verdict.outcome]
    return [f'{verdict.bar.arm}: {bar_text(verdict.bar)}', label, _interval(verdict.interval), of, verdict.why]


def _numbers(facts: Facts, notes: '_Notes') -> str:
    experiment, reference = facts.experiment, facts.held.reference
    real: dict[str, Interval | str] = {}
    for name in experiment.columns:
        try:
            real[name] = STATISTICS[name].interval([facts.held.real], reference)
        except NotMeasurable as why:
            real[name] = f'{NOT_MEASURABLE}: {why}'
    rows = []
    for arm in experiment.arms:
        cells = []
        for name in experiment.columns:
            cell = facts.judgement.cells[arm, name]
            cells.append(notes.mark(cell) if isinstance(cell, str) else _interval(cell) + _times(name, cell, real[name]))
        rows.append([f'{arm} ({_seeds_of(facts, arm)})', *cells])
    rows.append(['real, other scenes', *(notes.mark(c) if isinstance(c, str) else _interval(c) for c in real.values())])
    rows.append(['floor', *(f'{c.value:.3g}' if isinstance(c, Interval) and _is_distance(name) else '' for name, c in real.items())])
    rows.append(['better', *(STATISTICS[name].better for name in experiment.columns)])
    return _table(['arm (seeds)', *(f'`{name}`' for name in experiment.columns)], rows)


def _is_distance(name: str) -> bool:
    """Whether real scenes against real scenes are above 0 by chance alone."""
    return name.startswith(('fd_', 'kd_', 'sw_', 'law_')) or name in ('class_kl', 'mode_kl', 'pose_js')


def _times(name: str, cell: Interval, real: Interval | str) -> str:
    if not name.startswith('fd_') or isinstance(real, str) or not real.value > 0:
        return ''
    return f' ({cell.value / real.value:.0f}x)'


def _column_key(experiment: Experiment) -> str:
    lines = [f'* `{name}`: {STATISTICS[name].caption}; better: {STATISTICS[name].better}.' for name in experiment.columns]
    how = (
        'Each cell is the mean over seeds with its 95 % interval; "(12x)" is the distance as a multiple of its floor. The floor is what real scenes score '
        'against other real scenes at the same number of images. Statistics that repeated rows would change have an interval over seeds alone '
        f'(Student), and with one seed none ({", ".join(f"`{n}`" for n in experiment.columns if STATISTICS[n].resampling == "none") or "none here"}).'
    )
    return how + '\n\n' + '\n'.join(lines)


def _following(facts: Facts) -> list[str]:
    """Generators that are told a camera: what they do when it is that of the view."""
    rows = []
    for (arm, seed), seen in sorted(facts.seen.items()):
        if seen.following is not None:
            fixed, follows = (measure_all(e, facts.held.reference, ('slope',))['slope'] for e in (seen.last, seen.following))
            rows.append([arm, str(seed), _value(fixed), _value(follows)])
    if not rows:
        return []
    told = (
        'Generators that are told a camera are judged with that camera held fixed while the view is moved; else they could show another object from '
        'another side. Beside it, the slope when they are told the camera of the view:'
    )
    return [told, _table(['arm', 'seed', 'slope, camera fixed', 'slope, camera follows'], rows)]


def _comparisons(facts: Facts) -> list[str]:
    comparisons = facts.judgement.comparisons
    if not comparisons:
        return ['No two arms have a finished seed in common.']
    family = sum(not math.isnan(c.adjusted) for c in comparisons)
    told = (
        f'Paired by seed. *p of scenes*: would other scenes say the same of these networks; after Holm over the {family} comparisons that have one. '
        '*p of seeds*: would other networks; Student\'s paired test over the seeds, each comparison for itself, so that one in twenty that mean nothing '
        'is below .05. *Claimed*: the interval excludes 0, all of two or more seeds agree in sign, and both p < .05. Statistics whose rows cannot be drawn '
        'again have the p of seeds in both places; where no draw crosses 0, p of scenes is that of a normal law as wide as the interval.'
    )
    heads = ['arms', 'statistic', 'difference [95 %]', 'seeds agree', 'p of scenes (Holm)', 'p of seeds', 'claimed']
    return [told, _table(heads, [_comparison_row(c) for c in comparisons])]


def _comparison_row(c: Comparison) -> list[str]:
    head = [f'{c.arm} - {c.other}', f'`{c.statistic}`']
    if c.difference is None:
        return [*head, f'{NOT_MEASURABLE}: {c.why}', '', '', '', '']
    agree = 'one seed' if len(c.seeds) == 1 else f'yes, {len(c.seeds)}' if c.difference.agrees else 'no'
    scenes, seeds = ('-' if math.isnan(p) else f'{p:.3g}' for p in (c.adjusted, c.difference.p_seeds))
    return [*head, _interval(c.difference.interval), agree, scenes, seeds, 'yes' if c.claimed else 'no']


def _per_seed(facts: Facts) -> list[str]:
    rows = []
    for arm, seed in sorted(facts.states):
        state = facts.states[arm, seed]
        seconds, what = facts.costs[arm, seed]
        cost = '-' if math.isnan(seconds) else f'{seconds:.0f} ({what})'
        if (arm, seed) in facts.seen:
            values = measure_all(facts.last[arm, seed], facts.held.reference, facts.experiment.columns)
            cells = [_value(value) for value in values.values()]
            kimg = f'{max(facts.seen[arm, seed].by_kimg):g}'
        else:
            cells, kimg = ['' for _ in facts.experiment.columns], state
        rows.append([arm, str(seed), kimg, cost, *cells])
    return [_table(['arm', 'seed', 'kimg', 'seconds', *(f'`{name}`' for name in facts.experiment.columns)], rows)]


def _how(facts: Facts) -> str:
    experiment, counts = facts.experiment, facts.effort.last
    earlier = facts.effort.earlier
    oracles = [oracle for oracle in (facts.readers.oracle, facts.readers.second) if oracle is not None]
    oracle = '; '.join(f'{oracle.name} {oracle.recipe.seed}, SHA-256 `{oracle.sha256}`' for oracle in oracles) or 'no oracle'
    settings = f'; {_code(experiment.settings)}' if experiment.settings else ''
    return f"""* Command: `{facts.command}`; machine: {machine()}.
* Trains on `{experiment.data}`, judged against `{experiment.held_out}`, preset `{experiment.preset}` where the arm names no other, {experiment.kimg:g} kimg,
  seeds {", ".join(map(str, facts.seeds))}{settings}.
* N: {counts.images} images, {counts.shapes} with depth, {counts.pairs} pairs, {counts.novel} turned views per angle, of each run and of the real scenes;
  on the way {earlier.images}, {earlier.shapes}, {earlier.pairs}.
* Real scenes: the first N of the held-out set are the reference, the next N the row "real".
* Readers: {facts.readers.photo.name}, SHA-256 `{facts.readers.photo.sha256}`; {oracle}.
* Seconds are processor time of the whole training process, pictures at snapshots included, where the runner started it; else the wall clock of
  the training loop, as the table says. One thread per run."""


class _Notes:
    """Footnotes: equal reasons share a number."""

    def __init__(self) -> None:
        self._reasons: list[str] = []

    def mark(self, reason: str) -> str:
        """What stands in the cell."""
        if reason == 'not run':
            return 'not run'
        if reason not in self._reasons:
            self._reasons.append(reason)
        return f'-[^{self._reasons.index(reason) + 1}]'

    def text(self) -> str:
        return '\n'.join(f'[^{i}]: {reason}' for i, reason in enumerate(self._reasons, 1))


def _seeds_of(facts: Facts, arm: str) -> str:
    complete = complete_seeds(facts.seen, facts.seeds, arm)
    return ', '.join(map(str, complete)) or 'none'


def _settings(arm: Arm) -> str:
    """As one would write them after train.py."""
    return ' '.join(filter(None, [arm.preset and f'`--cfg {arm.preset}`', _code(arm.settings)]))


def _code(settings: Sequence[str]) -> str:
    return ' '.join(f'`{setting}`' for setting in settings)


def _interval(interval: Interval | None) -> str:
    if interval is None:
        return '-'
    return f'{interval.value:.3g}' if math.isnan(interval.low) else str(interval)


def _value(value: float | str) -> str:
    return NOT_MEASURABLE if isinstance(value, str) else f'{value:.3g}'


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ['---'] * len(head), *rows]
    return '\n'.join('| ' + ' | '.join(cell.replace('|', '\\|').replace('\n', ' ') for cell in line) + ' |' for line in lines)


# JSON.


def _raw(facts: Facts) -> dict:
    experiment, reference = facts.experiment, facts.held.reference
    runs = []
    for arm, seed in sorted(facts.states):
        seconds, what = facts.costs[arm, seed]
        entry = {'arm': arm, 'seed': seed, 'state': facts.states[arm, seed], 'seconds': seconds, 'seconds_are': what}
        if (arm, seed) in facts.seen:
            seen = facts.seen[arm, seed]
            entry |= {
                'kimg': max(seen.by_kimg),
                'statistics': measure_all(seen.last, reference),
                'over_kimg': [{'kimg': kimg, 'statistics': values} for kimg, values in facts.curves[arm, seed].items()],
            }
            if seen.following is not None:
                entry['camera_follows_view'] = measure_all(seen.following, reference, ('slope', 'slope_trimmed'))
        runs.append(entry)
    oracle, second = facts.readers.oracle, facts.readers.second
    return {
        'experiment': asdict(experiment) | {'arms': {name: asdict(arm) for name, arm in experiment.arms.items()}},
        'seeds': list(facts.seeds),
        'command': facts.command,
        'machine': machine(),
        'readers': {
            'photo': facts.readers.photo.sha256,
            'oracle': None if oracle is None else oracle.sha256,
            'second': None if second is None else second.sha256,
        },
        'counts': {'last': asdict(facts.effort.last), 'over_kimg': asdict(facts.effort.earlier)},
        'bars_told': facts.bars_told,
        'real': measure_all(facts.held.real, reference),
        'runs': runs,
        'bars': [asdict(verdict) for verdict in facts.judgement.verdicts],
        'table': [
            {'arm': arm, 'statistic': name, 'mean': asdict(cell) if isinstance(cell, Interval) else cell}
            for (arm, name), cell in facts.judgement.cells.items()
        ],
        'comparisons': [asdict(comparison) | {'claimed': comparison.claimed} for comparison in facts.judgement.comparisons],
    }


def _strict(value: object) -> object:
    """The same without what JSON has no word for: NaN and infinity become None."""
    if isinstance(value, dict):
        return {str(key): _strict(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(inner) for inner in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value
