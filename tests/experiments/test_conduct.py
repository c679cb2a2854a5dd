"""From nothing to a report, through Ctrl-C: two arms of a second each, trained by train.py, looked at, judged, written down."""

import json
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from dnnlib.errors import MissingInputError, RunFolderError
from dnnlib.runs import RunLock
from experiments import evaluation, runner
from experiments.conduct import Plan, conduct
from experiments.evaluation import Effort, cached, look_at_real
from experiments.runs import Run, state_of
from metrics.evidence import Evidence
from tests.experiments.tiny import COUNTS, EARLIER, TINY, evidence, tiny_readers


@pytest.fixture(scope='module')
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    folder = tmp_path_factory.mktemp('experiment')
    return Plan(
        TINY, ('A', 'B'), (0,), folder / 'runs', folder / 'results', jobs=2, command='python -m experiments T', effort=Effort(COUNTS, EARLIER),
        readers=tiny_readers(),
    )  # fmt: skip


def interrupt_when(ready, stop: threading.Event) -> None:
    """What Ctrl-C does, as soon as `ready()`."""
    while not stop.is_set() and not ready():
        time.sleep(0.02)
    if not stop.is_set():
        os.kill(os.getpid(), signal.SIGINT)


def nobody_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **_: object) -> None:
        raise AssertionError(f'{arguments} was started')

    monkeypatch.setattr(runner.subprocess, 'Popen', refuse)


def test_interrupted_continued_and_reported(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [Run(TINY, arm, 0, plan.outdir) for arm in TINY.arms]
    stop = threading.Event()
    watcher = threading.Thread(target=interrupt_when, args=(lambda: all(run.folder() and run.trained_kimg() > 0 for run in runs), stop))
    watcher.start()
    stopped = conduct(plan)
    stop.set()
    watcher.join()
    assert stopped.stop_code == 130 and stopped.report is None and not stopped.failed
    assert set(stopped.stopped) == {'A-seed0', 'B-seed0'}, 'the runs ended before Ctrl-C reached them; make them longer'
    assert [state_of(run) for run in runs] == ['begun', 'begun']

    done = conduct(plan)
    assert not done.failed and done.stop_code == 0 and done.report == plan.results / 'T.md'
    for run in runs:
        assert len(list(run.home.glob('0*'))) == 1, 'continued, not begun anew'
        assert 'Continuing' in (run.home / 'console.txt').read_text()
        assert {path.name for path in run.folder().glob('evidence-*.npz')} >= {'evidence-000000.npz'}
        sessions = [json.loads(line) for line in (run.folder() / 'cpu.jsonl').read_text().splitlines()]
        assert len(sessions) == 2 and sessions[0]['from_kimg'] == 0 and sessions[0]['to_kimg'] == sessions[1]['from_kimg'] > 0
        assert run.cpu_seconds()[1] == 'processor time' and run.cpu_seconds()[0] > 1
    text = done.report.read_text()
    assert '**1 of 3 bars met**' in text and 'there is no depth' in text and 'camera follows' in text
    assert 'before the first run that this program began, and are the same today' in text
    assert all((plan.results / f'T-{picture}.png').is_file() and f'(T-{picture}.png)' in text for picture in ('sheet', 'poses', 'curves'))
    found = json.loads(done.report.with_suffix('.json').read_text())
    flat = next(run for run in found['runs'] if run['arm'] == 'B')
    assert flat['state'] == 'finished' and flat['statistics']['thickness'].startswith('not measurable here')
    assert 0 < flat['statistics']['fd_photo'] < 1e6

    nobody_trains(monkeypatch)
    monkeypatch.setattr(evaluation, 'gather_evidence', lambda *_, **__: pytest.fail('looked at again'))
    before = {path: path.stat().st_mtime_ns for path in plan.outdir.rglob('*.npz')}
    again = conduct(replace(plan, jobs=1))
    assert not again.failed and before == {path: path.stat().st_mtime_ns for path in plan.outdir.rglob('*.npz')}
    assert json.loads(again.report.with_suffix('.json').read_text())['table'] == found['table'], 'the number of processes changes no number'


def test_altered_settings_are_one_failure_and_the_rest_is_reported(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody_trains(monkeypatch)
    altered = replace(TINY, arms=TINY.arms | {'B': replace(TINY.arms['B'], settings=(*TINY.arms['B'].settings, 'gan.r1_gamma=3'))})
    done = conduct(replace(plan, experiment=altered, jobs=1))
    assert list(done.failed) == ['B-seed0'] and 'gan.r1_gamma is 0.3, not 3.0' in done.failed['B-seed0']
    text = done.report.read_text()
    assert 'B seed 0: failed:' in text and str(plan.outdir) not in text
    assert '| B | 0 | failed' in text and '**not run**' in text, 'the bar between A and B has no seed'


def test_unfinished_seeds_are_named_and_nothing_is_nothing(plan: Plan, tmp_path: Path) -> None:
    done = conduct(replace(plan, seeds=(0, 5), trains=False, jobs=1))
    text = done.report.read_text()
    assert 'A seed 5: not run; B seed 5: not run' in text and 'only 0' in text and not done.failed
    with pytest.raises(MissingInputError, match='no finished run'):
        conduct(replace(plan, outdir=tmp_path, trains=False))
    with RunLock(plan.outdir / 'T'), pytest.raises(RunFolderError, match='in use'):
        conduct(plan)


def test_a_run_that_fails_does_not_stop_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / 'train.py'
    program.write_text('import sys\nprint("begin")\nsys.exit("error: no luck today") if "generator.picture=flat" in sys.argv else None\n')
    monkeypatch.setattr(runner, 'PROGRAM', program)
    outcome = runner.train([Run(TINY, arm, 0, tmp_path) for arm in 'BA'], jobs=1)
    assert 'exit code 1: error: no luck today' in outcome.failed['B-seed0']
    assert 'exit code 0: begin' in outcome.failed['A-seed0'], 'it ended well and left no weights'
    assert outcome.stop_code == 0 and not outcome.stopped
    assert (tmp_path / 'T' / 'B-seed0' / 'console.txt').read_text().startswith('begin')


def test_a_second_signal_is_passed_on_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / 'train.py'
    program.write_text(
        'import pathlib, signal, sys, time\n'
        'told = []\n'
        'signal.signal(signal.SIGINT, lambda *_: told.append(1))\n'
        f'pathlib.Path({str(tmp_path / "ready")!r}).touch()\n'
        'while len(told) < 2:\n    time.sleep(0.01)\n'
        'sys.exit(130)\n'
    )
    monkeypatch.setattr(runner, 'PROGRAM', program)

    def twice() -> None:
        while not (tmp_path / 'ready').exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.6)
        os.kill(os.getpid(), signal.SIGINT)

    watcher = threading.Thread(target=twice)
    watcher.start()
    before = signal.getsignal(signal.SIGINT)
    outcome = runner.train([Run(TINY, arm, 0, tmp_path) for arm in 'AB'], jobs=1)
    watcher.join()
    assert outcome.stop_code == 130 and set(outcome.stopped) == {'A-seed0', 'B-seed0'} and not outcome.failed
    assert signal.getsignal(signal.SIGINT) is before


def test_without_a_checkout_nothing_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, 'PROGRAM', tmp_path / 'train.py')
    with pytest.raises(MissingInputError, match='checkout'):
        runner.train([Run(TINY, 'A', 0, tmp_path)], jobs=1)


def test_evidence_is_gathered_again_only_when_something_changed(tmp_path: Path) -> None:
    gathered = []

    def gather() -> Evidence:
        gathered.append(1)
        return evidence(len(gathered))

    path = tmp_path / 'evidence.npz'
    first = cached(path, {'version': 1}, gather)
    assert len(gathered) == 1 and (cached(path, {'version': 1}, gather).images['photo'] == first.images['photo']).all() and len(gathered) == 1
    cached(path, {'version': 2}, gather)
    assert len(gathered) == 2
    path.write_bytes(path.read_bytes()[:-50])
    cached(path, {'version': 2}, gather)
    assert len(gathered) == 3, 'a torn file is not believed'
    path.with_suffix('.json').unlink()
    cached(path, {'version': 2}, gather)
    assert len(gathered) == 4


def test_real_scenes_are_two_disjoint_parts_and_training_images_are_theirs(tmp_path: Path) -> None:
    held = look_at_real(TINY, tiny_readers(), COUNTS, tmp_path)
    photo = held.reference.real.images['photo']
    assert len(photo) == len(held.real.images['photo']) == COUNTS.images
    assert not any((row == photo).all(axis=1).any() for row in held.real.images['photo']), 'no scene is in both'
    training, unseen = held.reference.training, held.reference.unseen
    assert training.shape == unseen.shape == (40, photo.shape[1]), 'all images that were learned from, and as many that were not'
    assert not any((row == rows).all(axis=1).any() for rows in (photo, held.real.images['photo'], training) for row in unseen)
    assert (held.real.images['asked_class'] == 0).all(), 'a set of cars alone asks for the oracle\'s class 0'
