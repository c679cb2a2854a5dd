"""Train, judge and report an experiment: python -m experiments E1 --seeds 3. The same command continues what was interrupted."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import click

from dnnlib.errors import UsageError, did_you_mean, run_command
from dnnlib.units import format_seconds, parse_seeds
from experiments.catalogue import EXPERIMENTS
from experiments.conduct import Plan, conduct
from experiments.experiment import Experiment
from experiments.side_by_side import prepare_processor

RESULTS = Path(__file__).resolve().parents[1] / 'docs' / 'results'
SECONDS_PER_KIMG = 25  # of one core, for the demo preset at 32 pixels; only --list uses it
FAILURE = 1


@click.command(context_settings={'max_content_width': 120})
@click.argument('name', required=False)
@click.option('--seeds', metavar='N', default='3', show_default=True, help="How many seeds (3: 0, 1, 2), or which ones, with commas ('0,2'; '2,' for one).")
@click.option('--arms', metavar='A,B', help='Train only these arms; the report says what was not run. [default: all]')
@click.option('--kimg', type=click.FloatRange(min=0, min_open=True), help='Another length, to try things out; the report then goes beside the runs.')
@click.option('--outdir', type=click.Path(path_type=Path), default=Path('runs'), show_default=True, help='Where the runs are, or are made.')
@click.option('--results', type=click.Path(path_type=Path), help='Where the report is written. [default: docs/results]')
@click.option('--jobs', type=click.IntRange(min=1), help='Runs side by side, one thread each. [default: the number of cores]')
@click.option('--report-only', is_flag=True, help='Train nothing: look at finished runs and report.')
@click.option('--list', 'listed', is_flag=True, help='Show the experiments, their claims and what they cost.')
@click.option('--debug', is_flag=True, expose_value=False, help='Show tracebacks.')
def main(
    name: str | None, seeds: str, arms: str | None, kimg: float | None, outdir: Path, results: Path | None, jobs: int | None,
    report_only: bool, listed: bool,
) -> int:
    """Run the experiment NAME: every arm with every seed, then look at all of them and write the report.

    Ctrl-C saves all runs; the same command continues them. What is finished is not run again.
    """
    numbers = read_seeds(seeds)
    if listed:
        print(catalogue_text(len(numbers)))
        return 0
    experiment = find_experiment(name)
    chosen = read_arms(experiment, arms)
    if kimg is not None:
        experiment = replace(experiment, kimg=kimg)
    if results is None:
        results = RESULTS if kimg is None else outdir / experiment.name / 'results'
    plan = Plan(
        experiment=experiment,
        arms=chosen,
        seeds=numbers,
        outdir=outdir.absolute(),
        results=results,
        jobs=jobs or _cores(),
        trains=not report_only,
        command=f'python -m experiments {experiment.name} --seeds {seeds}' + (f' --arms {arms}' if arms else '') + (f' --kimg {kimg:g}' if kimg else ''),
    )
    prepare_processor()
    conducted = conduct(plan)
    if conducted.report is not None:
        print(f'The report is {conducted.report}')
    for run, why in conducted.failed.items():
        print(f'failed: {run}: {why}', file=sys.stderr)
    if conducted.stop_code:
        print(f'stopped: {", ".join(conducted.stopped) or "nothing"} unfinished; the same command continues.', file=sys.stderr)
        return conducted.stop_code
    return FAILURE if conducted.failed else 0


def find_experiment(name: str | None) -> Experiment:
    """The experiment of that name; raises UsageError that lists what there is."""
    if name is None:
        raise UsageError(f'Which experiment? There are {", ".join(EXPERIMENTS)}; --list says more.')
    if name not in EXPERIMENTS:
        raise UsageError(f"There is no experiment '{name}'.{did_you_mean(name, EXPERIMENTS)} There are {', '.join(EXPERIMENTS)}.")
    return EXPERIMENTS[name]


def read_arms(experiment: Experiment, text: str | None) -> tuple[str, ...]:
    """The arms that are named, in the order of the experiment; all without a text."""
    if text is None:
        return tuple(experiment.arms)
    asked = [word.strip() for word in text.split(',') if word.strip()]
    for arm in asked:
        if arm not in experiment.arms:
            known = ', '.join(f'{key} ({value.caption})' for key, value in experiment.arms.items())
            raise UsageError(f"{experiment.name} has no arm '{arm}'.{did_you_mean(arm, experiment.arms)} It has {known}.")
    if not asked:
        raise UsageError(f"--arms names none; {experiment.name} has {', '.join(experiment.arms)}.")
    return tuple(arm for arm in experiment.arms if arm in asked)


def read_seeds(text: str) -> tuple[int, ...]:
    """'3' is 0, 1, 2; '0,2' and '0-1' are themselves; '2,' is the one seed 2."""
    if text.strip().isdecimal():
        seeds = list(range(int(text)))
    else:
        seeds = parse_seeds(text.strip().removesuffix(','))
    if not seeds or len(set(seeds)) != len(seeds):
        raise UsageError(f"--seeds {text}: an experiment needs at least one seed, and each only once.")
    return tuple(seeds)


def catalogue_text(num_seeds: int) -> str:
    """Every experiment: claim, arms, cost."""
    told = []
    for experiment in EXPERIMENTS.values():
        cost = len(experiment.arms) * num_seeds * experiment.kimg * SECONDS_PER_KIMG
        arms = '\n'.join(f'    {key}  {arm.caption}' for key, arm in experiment.arms.items())
        told.append(
            f'{experiment.name}: {experiment.claim}\n{arms}\n    {len(experiment.arms)} arms x {num_seeds} seeds x {experiment.kimg:g} kimg: '
            f'about {format_seconds(cost)} of one core'
        )
    return '\n\n'.join(told)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


if __name__ == '__main__':
    run_command(main)
