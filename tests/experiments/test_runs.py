"""Run folders: what an arm asks for, what is there, how far it is, and what it cost."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from dnnlib import config as configs
from dnnlib.errors import DataError
from experiments.catalogue import EXPERIMENTS
from experiments.conduct import Plan, in_order
from experiments.runs import Run, expected_config, saved_kimg, state_of
from tests.experiments.tiny import TINY
from training.config import OPTIONS_FILE


def begun(tmp_path: Path, arm: str = 'A', number: int = 0, **changes: object) -> Run:
    """A run folder as train.py leaves it when it has written its options; `changes` go into the experiment that it was started for."""
    run = Run(TINY, arm, 0, tmp_path)
    folder = run.home / f'{number:05d}-demo'
    folder.mkdir(parents=True)
    config = expected_config(replace(run, experiment=replace(TINY, **changes)))
    (folder / OPTIONS_FILE).write_text(json.dumps(configs.to_dict(config)))
    return run


def test_a_new_run_is_asked_for_as_people_would_ask(tmp_path: Path) -> None:
    arguments = Run(EXPERIMENTS['E1'], 'B', 2, tmp_path).arguments()
    text = ' '.join(arguments)
    assert text.startswith('--cfg demo --data synthetic:car?') and '--kimg 20 --seed 2 --gpus 1 --metrics none' in text
    assert arguments[-2:] == ['--outdir', str(tmp_path / 'E1' / 'B-seed2')]
    assert 'cameras=shuffled' in arguments[arguments.index('--set') + 1]
    own = Run(EXPERIMENTS['E2'], 'U', 0, tmp_path)
    assert own.arguments()[:2] == ['--cfg', 'demo-unposed'] and expected_config(own).preset == 'demo-unposed'


@pytest.mark.parametrize('name', EXPERIMENTS)
def test_every_arm_of_the_catalogue_is_a_configuration(name: str, tmp_path: Path) -> None:
    experiment = EXPERIMENTS[name]
    configurations = [expected_config(Run(experiment, arm, 0, tmp_path)) for arm in experiment.arms]
    assert len({json.dumps(configs.to_dict(config)) for config in configurations}) == len(experiment.arms), 'two arms are the same'
    assert all(config.loop.kimg == experiment.kimg and config.metrics.names == () for config in configurations)


def test_a_folder_of_other_settings_is_refused_by_name(tmp_path: Path) -> None:
    run = begun(tmp_path)
    run.check()
    replace(run, seed=0).check()
    with pytest.raises(DataError, match=r'loop.seed is 0, not 1'):
        (tmp_path / 'T' / 'A-seed1').symlink_to(run.home)
        replace(run, seed=1).check()
    other = replace(run, experiment=replace(TINY, settings=(*TINY.settings, 'gan.r1_gamma=7')))
    with pytest.raises(DataError, match=r'gan\.r1_gamma is 0\.3, not 7\.0.*--outdir'):
        other.check()
    assert 'gan.r1_gamma' in state_of(other)
    (run.folder() / OPTIONS_FILE).write_text('{"preset": 3')
    with pytest.raises(DataError, match='damaged'):
        run.check()


def test_the_newest_folder_counts_and_one_without_a_state_is_begun_anew(tmp_path: Path) -> None:
    run = Run(TINY, 'A', 0, tmp_path)
    assert run.folder() is None and state_of(run) == 'not run'
    begun(tmp_path, number=9)
    begun(tmp_path, number=10)
    assert run.folder().name == '00010-demo' and state_of(run) == 'begun'
    assert run.arguments()[0] == '--cfg', 'nothing was saved, so there is nothing to continue'
    (run.folder() / 'training-state-000000400.json').write_text('{}')
    (run.folder() / 'training-state-000012000.json').write_text('{}')
    assert run.arguments()[:2] == ['--resume', str(run.folder())]
    assert saved_kimg(run.folder()) == 12.0


def test_progress_is_the_last_whole_line(tmp_path: Path) -> None:
    run = begun(tmp_path)
    assert run.trained_kimg() == 0
    lines = [json.dumps({'Progress/kimg': {'mean': kimg}, 'Timing/total_sec': {'mean': 10 * kimg}}) for kimg in (0.1, 0.2)]
    (run.folder() / 'stats.jsonl').write_text('\n'.join(lines) + '\n{"Progress/kimg": {"mea')
    assert run.trained_kimg() == 0.2


def test_cost_is_processor_time_only_when_every_session_was_seen(tmp_path: Path) -> None:
    run = begun(tmp_path)
    assert run.cpu_seconds()[1] == 'unknown'
    (run.folder() / 'stats.jsonl').write_text(json.dumps({'Timing/total_sec': {'mean': 77.0}}) + '\n')
    assert run.cpu_seconds() == (77.0, 'wall clock of training')
    ledger = run.folder() / 'cpu.jsonl'
    first, last = {'from_kimg': 0.0, 'to_kimg': 0.5, 'cpu_seconds': 30.0}, {'from_kimg': 0.5, 'to_kimg': 0.8, 'cpu_seconds': 20.0}
    ledger.write_text(json.dumps(first) + '\n' + json.dumps(last) + '\n')
    assert run.cpu_seconds() == (50.0, 'processor time')
    ledger.write_text(json.dumps(first) + '\n' + json.dumps(last | {'from_kimg': 0.6}) + '\n')
    assert run.cpu_seconds() == (77.0, 'wall clock of training'), 'somebody else trained from .5 to .6'
    ledger.write_text(json.dumps(first) + '\n')
    assert run.cpu_seconds() == (77.0, 'wall clock of training'), 'nobody saw the end'


def test_seed_by_seed_and_arms_with_bars_first(tmp_path: Path) -> None:
    plan = Plan(EXPERIMENTS['E1'], ('A', 'B', 'C', 'D'), (0, 2), tmp_path, tmp_path, jobs=1)
    assert [run.name for run in in_order(plan)] == [f'{arm}-seed{seed}' for seed in (0, 2) for arm in 'ABCD']
    late = replace(plan.experiment, arms=dict(reversed(plan.experiment.arms.items())))
    assert [run.arm for run in in_order(replace(plan, experiment=late, arms=tuple(late.arms), seeds=(0,)))] == ['A', 'B', 'D', 'C']
