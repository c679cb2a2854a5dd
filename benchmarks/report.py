"""Results as Markdown, and their places in docs/benchmarks.md, between markers that name the section."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from benchmarks.beginning import Beginning
from benchmarks.cases.case import NAIVE, Target
from benchmarks.comparing import Followed, Measured
from benchmarks.curves import Fit
from dnnlib.atomic import atomic_write
from dnnlib.units import format_bytes

TITLES = {
    'renderer': 'Renderer',
    'step': 'Training steps beside the baseline',
    'ways': 'Steps of other methods beside EG3D',
    'inference': 'Inference',
    'ops': 'Single operations',
    'curves': 'How cost grows',
    'beginning': 'Before the first step',
}
HEADS = ('processor time, ms', 'wall time, ms', 'times as fast as naive', 'GFLOP/s', 'memory above inputs')


def comparison(results: Sequence[Measured]) -> str:
    """A table per case with what was wanted below it, or where nothing was, one table; then, once, who could not be measured."""
    if any(measured.case.targets for measured in results):
        parts = [_case(measured) for measured in results]
    else:
        parts = ['\n'.join([*_heads('work', 'contestant'), *(_cells(row) for measured in results for row in _rows(measured, names_work=True))])]
    reasons = _lacking([measured.reasons for measured in results])
    return '\n\n'.join([*parts, reasons] if reasons else parts)


def _case(measured: Measured) -> str:
    parts = [f'**{measured.case.name}** ({_work(measured)})']
    if measured.timings:
        parts.append('\n'.join([*_heads('contestant'), *(_cells(row[1:]) for row in _rows(measured))]))
    if measured.case.targets:
        parts.append('\n'.join(f'- {_wanted(target)}: {measured.verdict(target)}.' for target in measured.case.targets))
    return '\n\n'.join(parts)


def _rows(measured: Measured, names_work: bool = False) -> list[tuple[str, ...]]:
    """A row per contestant, the work first."""
    flops, rows = measured.case.work().flops, []
    for contestant, timings in measured.timings.items():
        ratios = measured.speed_up(contestant, NAIVE)
        memory = measured.memory.get(contestant)
        cells = (
            _spread(timings.cpu, 1000),
            _spread(timings.wall, 1000),
            '-' if ratios is None or contestant == NAIVE else f'{ratios[0]:.2f} ({ratios[1]:.2f} to {ratios[2]:.2f})',
            f'{flops / median(timings.seconds(measured.device)) / 1e9:.3g}',
            '-' if memory is None else format_bytes(memory),
        )
        what = f'{measured.case.name} ({_work(measured)})' if names_work and not rows else ''
        rows.append((what, contestant, *cells))
    return rows


def _heads(*first: str) -> list[str]:
    return [_cells((*first, *HEADS)), '| --- ' * len(first) + '| ---: ' * len(HEADS) + '|']


def _work(measured: Measured) -> str:
    work = measured.case.work()
    return f'{_number(work.flops / 1e9)} GFLOP, at least {_number(work.bytes / 1e6)} MB'


def _wanted(target: Target) -> str:
    compared = {'x': f' as fast as {target.against}', 'times': f' the step of {target.against}', 'ms': '', 'MiB': ' above inputs'}[target.unit]
    return f'Target ({target.device}): {target.contestant} {target.text}{compared}'


def costs(results: Sequence[Measured]) -> str:
    """A table per case: what each contestant's step takes beside the first one's, and what was wanted."""
    parts = []
    for measured in results:
        first = measured.case.contestants[0]
        rows = [_cells(('step', *HEADS[:2], f'times the step of {first}')), '| --- ' + '| ---: ' * 3 + '|']
        for contestant, timings in measured.timings.items():
            ratios = measured.speed_up(first, contestant)  # how much faster the first is: what the other takes more
            more = '-' if ratios is None or contestant == first else f'{ratios[0]:.2f} ({ratios[1]:.2f} to {ratios[2]:.2f})'
            rows.append(_cells((contestant, _spread(timings.cpu, 1000), _spread(timings.wall, 1000), more)))
        wanted = [f'- {_wanted(target)}: {measured.verdict(target)}.' for target in measured.case.targets]
        parts += [f'**{measured.case.name}**', '\n'.join(rows), '\n'.join(wanted)]
    return '\n\n'.join(parts)


def growth(results: Sequence[Followed]) -> str:
    """A table per curve: sizes down, contestants across, the fits below; then, once, who could not be measured."""
    parts = [_curve(followed) for followed in results]
    reasons = _lacking([followed.reasons for followed in results])
    return '\n\n'.join([*parts, reasons] if reasons else parts)


def _curve(followed: Followed) -> str:
    curve = followed.curve
    rows = [_cells((f'{curve.axis}, ms', *followed.seconds)), '| ---: ' * (len(followed.seconds) + 1) + '|']
    for i, (size, _) in enumerate(curve.points):
        rows.append(_cells((f'{size}', *(_number(seconds[i] * 1000) for seconds in followed.seconds.values()))))
    lines = [f'- {name}: {_fit(line, curve.axis)}.' for name, line in followed.fits.items()]
    smallest = curve.points[0][1].name
    return f'**Time against {curve.axis}** (first row: {smallest})\n\n' + '\n'.join(rows) + '\n\n' + '\n'.join(lines)


def waits(found: Beginning) -> str:
    """A table of builds, then of trainings, then what was wanted."""
    builds = [_cells(('kernel, built in an empty cache', 'for', 'seconds', 'what came of it')), '| --- | --- | ---: | --- |']
    builds += [_cells((f'`{build.operation}`', build.device, f'{build.seconds:.1f}', build.outcome)) for build in found.builds]
    step = f'`python train.py --cfg demo`, from the command to the end of the first step, kernels built before: {_spread(found.first_step, 1)} s.'
    return '\n\n'.join(['\n'.join(builds), step, '\n'.join(f'- {verdict}.' for verdict in found.verdicts())])


def _lacking(reasons: Sequence[Mapping[str, str]]) -> str:
    """Who could not be measured and why, each once."""
    return '\n'.join(dict.fromkeys(f'- {name}: not measurable here, {why}.' for found in reasons for name, why in found.items()))


def _fit(line: Fit, axis: str) -> str:
    verdict = 'linear' if line.is_linear else 'NOT linear'
    return f'{verdict}: {_number(line.start * 1000)} ms + {_number(line.slope * 1e6)} us x {axis}, at most {line.deviation:.0%} off'


def section(name: str, body: str, machine: str, command: str) -> str:
    """The section with its heading, machine and command."""
    return f'## {TITLES[name]}\n\n{machine}\n\n```\n{command}\n```\n\n{body}'


def insert(document: str, name: str, text: str) -> str:
    """The document with `text` between the markers of section `name`, which are added at its end where it has none."""
    begin, end = f'<!-- benchmarks {name}: begin -->', f'<!-- benchmarks {name}: end -->'
    block = f'{begin}\n{text.strip()}\n{end}'
    before, found, rest = document.partition(begin)
    if not found:
        return f'{document.rstrip()}\n\n{block}\n'.lstrip()
    _, closed, after = rest.partition(end)
    assert closed, f'{begin} is never closed'
    return before + block + after


def write(path: Path, name: str, text: str) -> None:
    """Put a section into a file, which need not be there yet."""
    document = path.read_text(encoding='utf-8') if path.is_file() else ''
    with atomic_write(path, 'w') as file:
        file.write(insert(document, name, text))


def _spread(values: Sequence[float], factor: float) -> str:
    return f'{_number(median(values) * factor)} ({_number(min(values) * factor)} to {_number(max(values) * factor)})'


def _number(value: float) -> str:
    """Three digits, and no exponent for thousands."""
    return f'{value:.0f}' if abs(value) >= 100 else f'{value:.3g}'


def _cells(cells: Sequence[str]) -> str:
    return '| ' + ' | '.join(cells) + ' |'
