"""python -m benchmarks: our networks beside a baseline that follows the papers, timed by turns on the same inputs.

python -m benchmarks renderer inference --rounds 7 --out docs/benchmarks.md
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import click

from benchmarks import report
from benchmarks.beginning import begin
from benchmarks.cases import catalogue
from benchmarks.cases.case import NotMeasurable, prepare
from benchmarks.comparing import Options, compare, follow
from benchmarks.machine import command, describe
from dnnlib.errors import UsageError, run_command
from dnnlib.units import format_seconds
from torch_utils.distributed import init_from_env


@click.command(context_settings={'show_default': True})
@click.argument('sections', nargs=-1, type=click.Choice(list(report.TITLES)))
@click.option('--only', default='', help='Only the cases with this in their names.')
@click.option('--quick', is_flag=True, help='Tiny sizes and two rounds: shows that it works, and nothing else.')
@click.option('--rounds', type=click.IntRange(min=1), default=5, help='Timed rounds; every contestant takes part in each.')
@click.option('--threads', type=click.IntRange(min=1), default=1, help='Processor threads.')
@click.option('--device', help='cpu, cuda or mps; the fastest there is by default.')
@click.option('--compile', 'with_compile', is_flag=True, help='Let torch.compile take part; on a processor it needs minutes per case.')
@click.option('--memory/--no-memory', default=True, help='Measure peak memory, each contestant in a process of its own.')
@click.option('--out', type=click.Path(dir_okay=False, path_type=Path), help='Also write the sections there, in place of older ones.')
@click.option('--debug', is_flag=True, expose_value=False, help='Show the traceback of an error.')
def main(
    sections: tuple[str, ...], only: str, quick: bool, rounds: int, threads: int, device: str | None, with_compile: bool, memory: bool,
    out: Path | None,
) -> None:
    """Measures SECTIONS (all of them by default) and prints them as Markdown, targets included."""
    if only and out is not None:
        raise UsageError('--only measures a part of a section, and --out would replace the whole section by it; leave out one of them.')
    prepare(threads, keeps_memory=True)
    options = Options(init_from_env(device).device, 2 if quick else rounds, threads, with_compile, memory)
    started = time.monotonic()

    def note(text: str) -> None:
        print(f'[{format_seconds(time.monotonic() - started)}] {text}', file=sys.stderr, flush=True)

    for name in sections or report.TITLES:
        machine = describe(options.device, threads)
        text = report.section(name, _measure(name, only, quick, options, note), machine, command())
        print(text, end='\n\n', flush=True)
        if out is not None:
            report.write(out, name, text)


def _measure(section: str, only: str, quick: bool, options: Options, note: Callable[[str], None]) -> str:
    """The body of a section."""
    if section == 'curves':
        curves = [curve for curve in catalogue.curves(quick) if only in curve.axis]
        return report.growth([follow(curve, options, note) for curve in _some(curves, section, only)])
    if section == 'beginning':
        try:
            return report.waits(begin(options.device, 1, ('bias_act',)) if quick else begin(options.device, options.rounds))
        except NotMeasurable as error:
            return f'Not measurable here: {error}.'
    results = []
    for case in _some([case for case in catalogue.cases(section, quick) if only in case.name], section, only):
        note(f'{section}: {case.name}')
        results.append(compare(case, options, note))
    return report.costs(results) if section == 'ways' else report.comparison(results)


def _some(chosen: list, section: str, only: str) -> list:
    """What was chosen, if it is anything."""
    if not chosen:
        raise UsageError(f"No case of section '{section}' has '{only}' in its name.")
    return chosen


if __name__ == '__main__':
    run_command(main)
