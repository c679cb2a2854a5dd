"""The report says what is known, what is not, and why; its JSON is strict."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dnnlib.errors import DataError, MissingInputError
from experiments.curves import draw_curves
from experiments.evaluation import Effort, Held, Seen, first_rows
from experiments.experiment import Bar
from experiments.judging import judge
from experiments.pose_histograms import _histogram, draw_pose_histograms
from experiments.registration import bar_text, register, told
from experiments.report import Facts, values_over_kimg, write_report
from experiments.sheets import MOST_BYTES, draw_sheet, small_png
from experiments.side_by_side import Workers
from metrics.evidence import Counts, Readers
from metrics.measurable import NotMeasurable
from metrics.suite import Reference, measure_all
from metrics.toy_subject import counted_from, toy_subject
from tests.experiments.tiny import COUNTS, EARLIER, TINY, evidence
from training.data.toyworld.world import Toyworld, ToyworldConfig

SEEDS = (0, 1)
EXPERIMENT = replace(
    TINY,
    columns=('fd_photo', *TINY.columns),
    bars=(Bar('A', 'fd_photo', high=1e6), Bar('A', 'fd_photo', high=1e-6), Bar('A', 'thickness', low=0.1, against='B', relation='difference')),
)


class Extractor:
    name, sha256, num_features, batch = 'photo', 'f' * 64, 6, 10


@pytest.fixture
def facts() -> Facts:
    """Seed 0 of both arms, seed 1 of A alone; arm B has no depth."""
    held = Held(Reference(evidence(100)), evidence(101))
    flat = replace(evidence(3), shapes={}, absent={'pairs': 'none', 'shapes': 'the subject gives no depth'})
    seen = {
        ('A', 0): Seen({0.4: evidence(1), 0.8: evidence(2)}),
        ('A', 1): Seen({0.8: evidence(4, right=0.9)}),
        ('B', 0): Seen({0.8: flat}, following=evidence(5)),
    }
    states = {key: 'finished' for key in seen} | {('B', 1): 'begun'}
    costs = {('A', 0): (12.0, 'processor time'), ('A', 1): (13.0, 'wall clock of training'), ('B', 0): (14.0, 'processor time'), ('B', 1): (float('nan'), 'unknown')}
    judgement = judge(EXPERIMENT, {key: one.last for key, one in seen.items()}, SEEDS, held.reference, Workers(1))
    effort = Effort(COUNTS, EARLIER)
    curves = values_over_kimg(seen, held.reference, effort)
    return Facts(EXPERIMENT, SEEDS, states, costs, seen, held, Readers(Extractor()), effort, judgement, curves, 'The bars.', 'python -m experiments T')


def strict_json(path: Path) -> dict:
    def refuse(constant: str) -> None:
        raise ValueError(constant)

    return json.loads(path.read_text(), parse_constant=refuse)


def test_markdown(facts: Facts, tmp_path: Path) -> None:
    path = write_report(facts, tmp_path, {'T-sheet.png': 'Scenes.'})
    text = path.read_text()
    assert path.name == 'T.md' and TINY.claim in text and 'not: FID' in text and 'f' * 64 in text and 'no oracle' in text
    assert '**not** in these numbers: B seed 1: begun.' in text
    assert '**1 of 3 bars met**, **1 of 3 bars missed**, **1 of 3 bars not measurable**, on seeds 0, 1.' in text
    lines = text.splitlines()
    assert any(line.startswith('| A: fd_photo <= 1e-06 | **missed** |') and 'all 0, 1' in line for line in lines)
    assert any(line.startswith('| A: thickness, A - B >= 0.1 | **not measurable** |') and 'only 0' in line and 'gives no depth' in line for line in lines)
    assert sum(line.startswith('[^') for line in lines) == len({line for line in lines if line.startswith('[^')}) >= 2, 'a reason is told once'
    assert '[^1]: not measurable here:' in text
    assert any(line.startswith('| B | 1 | begun |') for line in lines) and any(line.startswith('| A | 0 | 0.8 | 12 (processor time) |') for line in lines)
    assert 'camera follows' in text and '![Scenes.](T-sheet.png)' in text


def test_json_is_strict_and_complete(facts: Facts, tmp_path: Path) -> None:
    found = strict_json(write_report(facts, tmp_path, {}).with_suffix('.json'))
    runs = {(run['arm'], run['seed']): run for run in found['runs']}
    assert runs['B', 1] == {'arm': 'B', 'seed': 1, 'state': 'begun', 'seconds': None, 'seconds_are': 'unknown'}
    assert runs['B', 0]['statistics']['thickness'] == 'not measurable here: the subject gives no depth'
    assert runs['A', 1]['statistics']['class_accuracy'] == 0.9
    assert [point['kimg'] for point in runs['A', 0]['over_kimg']] == [0.4, 0.8]
    assert [bar['outcome'] for bar in found['bars']] == ['met', 'missed', 'not measurable']
    coverage = next(cell for cell in found['table'] if (cell['arm'], cell['statistic']) == ('B', 'coverage'))
    assert coverage['mean']['low'] is None, 'one seed has no interval here, and NaN is null'
    assert found['real']['fd_photo'] > 0 and found['counts']['last']['images'] == COUNTS.images


def test_curves_compare_equal_numbers_of_images(facts: Facts) -> None:
    curves = values_over_kimg(facts.seen, facts.held.reference, facts.effort)
    assert set(curves['A', 0]) == {0.4, 0.8}
    whole = evidence(2)
    few = replace(whole, images={name: column[: EARLIER.images] for name, column in whole.images.items()})
    expected = measure_all(few, facts.held.reference, ('fd_photo',))['fd_photo']
    assert curves['A', 0][0.8]['fd_photo'] == expected != measure_all(whole, facts.held.reference, ('fd_photo',))['fd_photo']
    rows = first_rows(replace(whole, novel={'0': np.ones((9, 3))}, readings={'read': np.ones(9)}), Counts(images=7, shapes=5, pairs=0, novel=0))
    assert measure_all(rows, facts.held.reference, ('fd_turned_0',))['fd_turned_0'] == 'not measurable here: no rows of novel were asked for'
    assert {len(column) for column in rows.images.values()} == {7} == {len(rows.readings['read'])} and len(rows.shapes['thickness']) == 5 and rows.absent.items() >= whole.absent.items()


def test_bars_in_words() -> None:
    assert bar_text(Bar('A', 'slope', 0.85, 1.25)) == 'slope in [0.85, 1.25]'
    assert bar_text(Bar('A', 'slope', low=0.3, against='B', relation='difference')) == 'slope, A - B >= 0.3'
    assert bar_text(Bar('A', 'slope', low=0.5, every_seed=True)) == 'slope >= 0.5 in every seed'
    assert bar_text(Bar('A', 'pose_error', high=0.5, against='B', relation='ratio')) == 'pose_error, A / B <= 0.5'


def test_curves_say_what_they_miss(facts: Facts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ('matplotlib', 'matplotlib.figure', 'matplotlib.backends', 'matplotlib.backends.backend_agg'):
        monkeypatch.setitem(__import__('sys').modules, name, None)
    with pytest.raises(MissingInputError, match=r'\[docs\]'):
        draw_curves(tmp_path / 'curves.png', TINY, {}, {})
    assert not (tmp_path / 'curves.png').exists()


def test_curves_leave_gaps_for_what_could_not_be_measured(facts: Facts, tmp_path: Path) -> None:
    curves = values_over_kimg(facts.seen, facts.held.reference, facts.effort)
    draw_curves(tmp_path / 'curves.png', TINY, curves, measure_all(facts.held.real, facts.held.reference, TINY.curves))
    assert (tmp_path / 'curves.png').read_bytes().startswith(b'\x89PNG')


def test_histograms_of_poses_are_of_what_was_seen_and_asked(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    real = evidence(0, azimuth=draw.normal(0, 0.5, 60), asked_azimuth=draw.normal(0, 0.5, 60), asked_elevation=draw.uniform(0, 0.3, 60))
    blind = replace(real, images={name: column for name, column in real.images.items() if name == 'photo'})
    seen = {('A', 0): Seen({0.8: real}), ('A', 1): Seen({0.8: blind}), ('B', 1): Seen({0.8: real})}
    draw_pose_histograms(tmp_path / 'poses.png', EXPERIMENT, seen, real)
    assert (tmp_path / 'poses.png').read_bytes().startswith(b'\x89PNG')
    heights, edges = _histogram(np.radians([-180.0, -175.0, 184.0, 0.0, 179.9, 360.0]))
    assert heights[0] == 3 / 6 and heights[18] == 2 / 6 and heights[35] == 1 / 6 and (edges[0], edges[-1]) == (-180, 180)
    with pytest.raises(NotMeasurable):
        draw_pose_histograms(tmp_path / 'none.png', EXPERIMENT, seen, blind)


def test_an_arm_with_a_preset_of_its_own_says_so(facts: Facts, tmp_path: Path) -> None:
    arms = EXPERIMENT.arms | {'B': replace(EXPERIMENT.arms['B'], preset='demo-pof3d', settings=('gan.views=1',))}
    text = write_report(replace(facts, experiment=replace(EXPERIMENT, arms=arms)), tmp_path, {}).read_text()
    assert '| `--cfg demo-pof3d` `gan.views=1` |' in text


def test_sheet_is_a_group_per_subject_and_small(tmp_path: Path) -> None:
    from PIL import Image

    subject = toy_subject('toys', Toyworld(ToyworldConfig(('car',))), counted_from(0), 16)
    draw_sheet(tmp_path / 'sheet.png', {'real scenes': subject, 'pictures only': replace(subject, render=None)})
    with Image.open(tmp_path / 'sheet.png') as sheet:
        assert sheet.size == (8 * 32, (14 + 7 * 32) + (14 + 2 * 32))
    noise = np.random.default_rng(0).integers(0, 256, (600, 600, 3), dtype=np.uint8)
    assert len(small_png(noise)) <= MOST_BYTES


def test_bars_that_were_changed_after_the_first_run_are_told(tmp_path: Path) -> None:
    assert told(TINY, tmp_path).startswith('Nothing here shows')
    (tmp_path / 'A-seed0' / '00000-demo').mkdir(parents=True)
    register(TINY, tmp_path)
    assert told(TINY, tmp_path).startswith('Nothing here shows'), 'a run was there first'
    (tmp_path / 'A-seed0' / '00000-demo').rmdir()
    register(TINY, tmp_path)
    assert 'before the first run that this program began, and are the same today' in told(TINY, tmp_path)
    assert told(TINY, tmp_path, ['A-seed0']).endswith('Nothing shows that they came before A-seed0, which other programs began.')
    eased = replace(TINY, bars=(*TINY.bars[:2], replace(TINY.bars[2], low=0.05)))
    register(eased, tmp_path)
    text = told(eased, tmp_path)
    assert 'were changed' in text and 'Only then: A: thickness, A - B >= 0.1.' in text and 'Only now: A: thickness, A - B >= 0.05.' in text
    (tmp_path / 'bars.json').write_text('{')
    with pytest.raises(DataError, match='damaged'):
        told(TINY, tmp_path)
