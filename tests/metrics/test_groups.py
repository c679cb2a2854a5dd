"""Groups: a generator, stored pictures and real scenes through the door of calc_metrics.py, each as far as it can be judged."""

import json

import pytest
from click.testing import CliRunner

import calc_metrics
import dataset_tool
from dnnlib.errors import UsageError
from metrics.groups import GROUPS
from metrics.real_subjects import real_subjects
from metrics.suite import STATISTICS
from tests.training.tiny import tiny_config, trainer_of
from torch_utils.distributed import World
from training.data.archive import open_dataset
from training.snapshot import Snapshot, save_snapshot

CARS = 'synthetic:car?poses=wide&background=white&resolution=32&count=80&seed=3'


@pytest.fixture(scope='module')
def stored(tmp_path_factory):
    """80 pictures of cars in a zip, with their cameras."""
    path = tmp_path_factory.mktemp('stored') / 'cars.zip'
    done = CliRunner().invoke(dataset_tool.main, ['--source', CARS, '--dest', str(path)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return path


def judged(folder, *arguments):
    done = CliRunner().invoke(
        calc_metrics.main, [*map(str, arguments), '--num', '40', '--outdir', str(folder), '--quiet', '--device', 'cpu'], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    return {path.stem.removeprefix('metric-'): json.loads(path.read_text()) for path in folder.glob('metric-*.jsonl')}


def test_groups_name_statistics_of_their_table():
    for group in GROUPS.values():
        assert {STATISTICS[name].table for name in group.statistics} == {group.table}
    assert len({name for group in GROUPS.values() for name in group.statistics}) == sum(len(group.statistics) for group in GROUPS.values())


def test_a_generator_is_seen_from_all_sides(tmp_path, own_cache):
    config = tiny_config()
    trainer, built = trainer_of(config, tmp_path / 'run', World())
    path = tmp_path / 'network-snapshot-000000.safetensors'
    networks = trainer.task.networks
    save_snapshot(path, networks['generator'], networks['discriminator'], Snapshot(built.config, 0.0, (), None), built.example_cameras)
    found = judged(tmp_path / 'out', '--network', path, '--metrics', ','.join(GROUPS))
    assert set(found) == set(GROUPS)
    assert found['novel']['results'].keys() == set(GROUPS['novel'].statistics) and found['novel']['floor']['fd_turned_0'] > 0
    assert 'recognised' in found['response']['unmeasured']['slope'], 'an untrained generator shows no cars'
    assert found['response']['floor']['slope'] == pytest.approx(1, abs=0.15)
    assert 0 <= found['variety']['results']['memorising'] <= 1 and found['poses']['oracle_sha256']


def test_stored_pictures_of_scenes_whose_truth_is_known(tmp_path, own_cache, stored):
    found = judged(tmp_path, '--source', stored, '--data', CARS, '--metrics', 'poses,law,classes,thickness,consistency,variety')
    assert 0 < found['law']['results']['law_aligned'] < 0.15, 'labels of the right law, of other scenes'
    assert found['poses']['results']['pose_error'] < 4 and found['classes']['results']['class_accuracy'] > 0.95
    assert not found['thickness']['results'] and 'no depth' in found['thickness']['unmeasured']['thickness']
    assert 'from elsewhere' in found['consistency']['unmeasured']['reprojection']
    assert found['variety']['results']['memorising'] > 0.9, 'these are the very pictures of the set'


def test_pictures_that_nobody_can_read(tmp_path, own_cache, stored):
    found = judged(tmp_path, '--source', stored, '--data', stored, '--metrics', 'poses,variety')
    assert not found['poses']['results'] and all('no oracle' in why for why in found['poses']['unmeasured'].values())
    assert found['variety']['results']['duplicates'] == 0 and 'no training images' in found['variety']['unmeasured']['memorising']


def test_too_few_pictures_and_unknown_groups_are_said(stored):
    with pytest.raises(UsageError, match='80 images; 82 are needed'):
        real_subjects(open_dataset(stored), 41)
    with pytest.raises(UsageError, match="Did you mean 'thickness'"):
        CliRunner().invoke(calc_metrics.main, ['--source', str(stored), '--data', CARS, '--metrics', 'thicknes'], catch_exceptions=False)
