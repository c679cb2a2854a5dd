"""From a plan to a report: train what is missing, look at what is finished, judge it, write it down."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from dnnlib.errors import MissingInputError
from dnnlib.runs import RunLock
from experiments.curves import draw_curves
from experiments.evaluation import Effort, first_rows, law_of_generator, look_at_real, look_at_runs, readers_for, real_subject
from experiments.experiment import Experiment
from experiments.judging import judge
from experiments.pose_histograms import CAPTION, draw_pose_histograms
from experiments.registration import register, told
from experiments.report import Facts, values_over_kimg, write_report
from experiments.runner import train
from experiments.runs import PROCESSOR_TIME, Run, state_of
from experiments.sheets import draw_sheet
from experiments.side_by_side import Workers
from metrics.evidence import Readers
from metrics.suite import measure_all


@dataclass(frozen=True)
class Plan:
    """What the command line asked for. `arms` are trained; every finished run of `seeds` is reported. `readers` None: those of the experiment."""

    experiment: Experiment
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    outdir: Path
    results: Path
    jobs: int
    trains: bool = True
    command: str = ''
    effort: Effort = field(default_factory=Effort)
    readers: Readers | None = None


@dataclass
class Conducted:
    """failed: {run: why}; report: None when training was stopped or nothing is finished."""

    report: Path | None = None
    failed: dict[str, str] = field(default_factory=dict)
    stopped: list[str] = field(default_factory=list)
    stop_code: int = 0


def conduct(plan: Plan) -> Conducted:
    """Do it. One command at a time may work on an experiment in one outdir (RunFolderError)."""
    folder = plan.outdir / plan.experiment.name
    done = Conducted()
    with ExitStack() as stack:
        if plan.trains:
            folder.mkdir(parents=True, exist_ok=True)
        if folder.is_dir():
            stack.enter_context(RunLock(folder))
        if plan.trains:
            register(plan.experiment, folder)
            trained = train(in_order(plan), plan.jobs)
            done.failed, done.stopped, done.stop_code = trained.failed, trained.stopped, trained.stop_code
            if done.stop_code:
                return done
        _report(plan, folder, done)
    return done


def in_order(plan: Plan) -> list[Run]:
    """Seed by seed, and of each seed the arms that carry bars first: what is claimed is known as early as can be."""
    carrying = [name for bar in plan.experiment.bars for name in (bar.arm, bar.against) if name is not None]
    first = [arm for arm in dict.fromkeys(carrying) if arm in plan.arms]
    arms = [*first, *(arm for arm in plan.arms if arm not in first)]
    return [Run(plan.experiment, arm, seed, plan.outdir) for seed in plan.seeds for arm in arms]


def _report(plan: Plan, folder: Path, done: Conducted) -> None:
    experiment = plan.experiment
    runs = {(arm, seed): Run(experiment, arm, seed, plan.outdir) for arm in experiment.arms for seed in plan.seeds}
    states = {key: state_of(run) for key, run in runs.items()}
    finished = [run for key, run in runs.items() if states[key] == 'finished']
    if not finished:
        if not done.failed:
            raise MissingInputError(f'{folder} holds no finished run of {experiment.name}, so there is nothing to report. Run it without --report-only.')
        return
    readers = plan.readers or readers_for(experiment)
    held = look_at_real(experiment, readers, plan.effort.last, folder)
    with Workers(plan.jobs) as workers:
        seen, failed = look_at_runs(finished, readers, plan.effort, workers)
        judgement = judge(experiment, {key: one.last for key, one in seen.items()}, plan.seeds, held.reference, workers)
    for name, why in failed.items():
        done.failed[name] = why
    for key, run in runs.items():
        if run.name in done.failed:
            states[key] = f'failed: {_without_paths(done.failed[run.name])}'
        elif states[key] not in ('finished', 'begun', 'not run'):
            states[key] = _without_paths(states[key])
            if key[0] in plan.arms:
                done.failed[run.name] = state_of(run)
    costs = {key: run.cpu_seconds() for key, run in runs.items()}
    curves = values_over_kimg(seen, held.reference, plan.effort)
    bars_told = told(experiment, folder, [run.name for key, run in runs.items() if key in seen and costs[key][1] != PROCESSOR_TIME])
    facts = Facts(experiment, plan.seeds, states, costs, seen, held, readers, plan.effort, judgement, curves, bars_told, plan.command)
    plan.results.mkdir(parents=True, exist_ok=True)
    done.report = write_report(facts, plan.results, _draw(plan, facts, finished))


def _draw(plan: Plan, facts: Facts, finished: Sequence[Run]) -> dict[str, str]:
    """{file: caption} of the pictures that could be drawn."""
    experiment, drawn = plan.experiment, {}
    curves, poses = f'{experiment.name}-curves.png', f'{experiment.name}-poses.png'
    try:
        if experiment.curves:
            real = measure_all(first_rows(facts.held.real, plan.effort.earlier), facts.held.reference, experiment.curves)
            draw_curves(plan.results / curves, experiment, facts.curves, real)
            drawn[curves] = (
                f'Over the length of training, at {plan.effort.earlier.images} images: a colour per arm, a line per seed; dotted: as many real scenes; '
                'dashed: bars, which are meant for the full number.'
            )
        draw_pose_histograms(plan.results / poses, experiment, facts.seen, facts.held.reference.real)
        drawn[poses] = CAPTION
    except MissingInputError as error:
        tqdm.write(f'No curves and no histograms: {error}')
    seed = min((key[1] for key in facts.seen), default=None)
    shown = [run for run in finished if run.seed == seed and (run.arm, run.seed) in facts.seen]
    sheet = f'{experiment.name}-sheet.png'
    subjects = {'real scenes': real_subject(experiment)}
    subjects |= {f'{run.arm}: {experiment.arms[run.arm].caption}': law_of_generator(run) for run in shown}
    draw_sheet(plan.results / sheet, subjects)
    drawn[sheet] = (
        f'Eight scenes of each arm, seed {seed}, not chosen: from their own camera, from yaw -60, -30, 0, 30 and 60 degrees, and their depth (near is bright).'
    )
    return drawn


def _without_paths(why: str) -> str:
    """A report is read elsewhere: of a path only the last part means anything there."""
    return ' '.join(word if '/' not in word or not Path(word.strip('()[],:;')).is_absolute() else Path(word).name for word in why.split(' '))
