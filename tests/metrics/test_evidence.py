"""Evidence: rows do not depend on how they were gathered, files keep them, and what is not there is explained."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dnnlib.errors import DataError
from metrics.evidence import TABLES, Counts, Evidence, Readers, gather_evidence, gather_readings
from metrics.features import PhotoFeatures
from metrics.measurable import NotMeasurable
from metrics.oracle import OracleRecipe, load_oracle
from metrics.pose_distribution import pose_distribution
from metrics.subject import Subject
from metrics.suite import STATISTICS, Reference, measure_all
from metrics.toy_subject import counted_from, toy_subject
from training.cameras.orbit import angles_of
from training.data.toyworld.world import Toyworld, ToyworldConfig

COUNTS = Counts(images=100, shapes=30, pairs=24, novel=20)
WORLD = Toyworld(ToyworldConfig(seed=77))
REAL = toy_subject('real', WORLD, counted_from(0))
PICTURES = Subject('pictures', lambda start, n: replace(REAL.sample(start, n), depth=None, opacity=None, camera=None, classes=None))


@pytest.fixture(scope='module')
def readers():
    return Readers(PhotoFeatures(), load_oracle(), load_oracle(OracleRecipe(seed=1)))


@pytest.fixture(scope='module')
def evidence(readers):
    return gather_evidence(REAL, readers, COUNTS, range(8))


def test_every_statistic_of_real_scenes_is_a_number(readers, evidence):
    other = gather_evidence(toy_subject('other', WORLD, counted_from(500)), readers, COUNTS, range(8))
    found = measure_all(other, Reference(evidence, evidence.images['photo'], other.images['photo'][::-1]))
    assert 'reads no poses' in found.pop('reader_error'), 'real scenes have no reader of their own'
    assert not {name: value for name, value in found.items() if not np.isfinite(value)}
    assert found['class_accuracy'] > 0.95 and 0.8 < found['slope'] < 1.2 and 0.8 < found['thickness_relative'] < 1.25 and found['depth_r'] > 0.8
    assert 0 < found['oracles_azimuth'] < 4 and found['oracles_class'] < 0.05


def test_rows_do_not_depend_on_the_batch(readers, evidence):
    others = gather_evidence(REAL, readers, COUNTS, range(8), batch=7)
    for table in TABLES:
        for name, column in getattr(evidence, table).items():
            assert len(column) == getattr(COUNTS, table), (table, name)
            if name in ('photo', '0', '20', '40'):  # the photo network is fed whole batches; its last digits follow them
                assert np.allclose(column, getattr(others, table)[name], atol=1e-4), name
            elif name == 'thickness':  # a product of matrices for the whole batch; on some processors its last digit follows the batch
                assert np.allclose(column, getattr(others, table)[name], rtol=1e-9, atol=0, equal_nan=True)
            else:
                assert np.array_equal(column, getattr(others, table)[name], equal_nan=True), (table, name)


def test_laws_are_the_distances_of_pose_distribution(evidence):
    draw = np.random.default_rng(0)
    seen = evidence.images
    turned = seen | {'azimuth': 0.7 - seen['azimuth'], 'asked_azimuth': 0.5 * seen['asked_azimuth'] + 1, 'asked_elevation': draw.uniform(0, 0.5, 100)}
    found = measure_all(replace(evidence, images=turned), Reference(evidence))
    law = pose_distribution(turned['asked_azimuth'], turned['asked_elevation'], seen['asked_azimuth'], seen['asked_elevation'])
    poses = pose_distribution(turned['azimuth'], turned['elevation'], seen['azimuth'], seen['elevation'])
    assert (found['law_aligned'], found['law_mirrored']) == (law.aligned, law.mirrored_aligned)
    assert (found['sw_raw'], found['sw_aligned'], found['sw_mirrored'], found['pose_js']) == (poses.raw, poses.aligned, poses.mirrored_aligned, poses.js)
    assert found['sw_mirrored'] < 0.01 < found['sw_aligned'], 'the mirror image of the real law'
    assert found['spread_ratio'] == pytest.approx(1) and found['law_aligned'] > 0.05
    narrow = seen | {'azimuth': 0.5 * seen['azimuth']}
    assert 0.3 < measure_all(replace(evidence, images=narrow), Reference(evidence), ['spread_ratio'])['spread_ratio'] < 0.7


def test_a_scene_that_turns_against_its_camera_shows_in_the_sense(evidence):
    seen = evidence.images
    fronts = np.linspace(-3, 3, 8)[seen['asked_class']]
    found = measure_all(replace(evidence, images=seen | {'azimuth': fronts - seen['asked_azimuth']}), Reference(evidence))
    assert found['alignment_reversed'] == pytest.approx(1) and found['alignment'] < 0.8
    found = measure_all(replace(evidence, images=seen | {'azimuth': fronts + seen['asked_azimuth']}), Reference(evidence))
    assert found['alignment'] == pytest.approx(1) and found['alignment_reversed'] < 0.8


def test_readings_are_a_row_for_each_picture_in_order():
    table = gather_readings(lambda image: image.mean(dim=(1, 2, 3)), REAL, 10, batch=4)
    views = REAL.sample(0, 10)
    assert table['read'] == pytest.approx(views.image.mean(dim=(1, 2, 3)).double().numpy(), abs=1e-6)
    assert np.array_equal(table['class'], views.classes) and table['true'] == pytest.approx(angles_of(views.camera)[0].double().numpy())
    without = Subject('without', lambda start, n: replace(REAL.sample(start, n), classes=None))
    assert not gather_readings(lambda image: image.mean(dim=(1, 2, 3)), without, 10)['class'].any()


def test_files_keep_everything(tmp_path, evidence):
    path = tmp_path / 'evidence.npz'
    with_reason = replace(evidence, absent={'pairs/l1': 'because'}, readings=gather_readings(lambda image: image[:, 0, 0, 0], REAL, 6))
    with_reason.save(path)
    back = Evidence.load(path)
    assert back.absent == {'pairs/l1': 'because'}
    for table in TABLES:
        assert getattr(back, table).keys() == getattr(with_reason, table).keys() and getattr(back, table)
        assert all(np.array_equal(getattr(back, table)[name], column, equal_nan=True) for name, column in getattr(with_reason, table).items())
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError, match='damaged'):
        Evidence.load(path)


def test_pictures_alone_are_judged_as_far_as_they_go(readers, evidence):
    seen = gather_evidence(PICTURES, readers, COUNTS, range(8))
    found = measure_all(seen, Reference(evidence))
    assert isinstance(found['fd_photo'], float) and isinstance(found['sw_raw'], float)
    assert 'from elsewhere' in found['slope'] and 'no depth' in found['thickness'] and 'no class' in found['class_accuracy']
    assert 'from where' in found['pose_error'] and 'no training images' in found['memorising']
    assert all(value.startswith('not measurable here: ') for value in found.values() if isinstance(value, str))


def test_without_an_oracle_nobody_reads_poses(readers, evidence):
    seen = gather_evidence(REAL, Readers(readers.photo), COUNTS)
    found = measure_all(seen, Reference(evidence))
    for name in ('class_kl', 'sw_raw', 'slope', 'depth_r', 'view_mode', 'coverage'):
        assert 'no oracle' in found[name], name
    for name in ('fd_photo', 'thickness', 'reprojection', 'fd_turned_20', 'nfs_object'):
        assert isinstance(found[name], float), name


def test_one_picture_that_is_not_finite_does_not_poison_the_others(readers, evidence):
    def sample(start, n):
        views = REAL.sample(start, n)
        broken = torch.tensor([start + i == 3 for i in range(n)])[:, None, None, None]
        return replace(views, image=torch.where(broken, torch.nan, views.image))

    seen = gather_evidence(Subject('broken', sample), readers, Counts(10, 0, 0, 0), range(8))
    assert seen.images['finite'].tolist() == [i != 3 for i in range(10)]
    assert all(np.isfinite(column).all() for column in seen.images.values())
    assert measure_all(seen, Reference(evidence), ['finite'])['finite'] == 0.9


def test_a_pose_that_nobody_can_read_gives_no_slope(evidence):
    unrecognised = replace(evidence, pairs=evidence.pairs | {'right_class': np.arange(COUNTS.pairs) % 2 == 0})
    with pytest.raises(NotMeasurable, match='only 50%'):
        STATISTICS['slope'].of(unrecognised, Reference(evidence))


def test_intervals_hold_the_value_and_need_seeds_where_rows_cannot_be_drawn_again(evidence):
    reference = Reference(evidence)
    for name in ('slope', 'class_kl', 'thickness', 'pose_error', 'fd_oracle'):
        interval = STATISTICS[name].interval([evidence], reference)
        assert interval.low <= interval.value <= interval.high, name
    assert np.isnan(STATISTICS['coverage'].interval([evidence], reference).low)
    assert STATISTICS['coverage'].interval([evidence, evidence], reference).low == STATISTICS['coverage'].of(evidence, reference)


def test_an_empty_scene_is_a_row_that_cannot_be_measured_not_an_error(readers, evidence):
    def emptied(views):
        return replace(views, image=torch.ones_like(views.image), opacity=torch.zeros_like(views.opacity))

    empty = Subject('empty', lambda *rows: emptied(REAL.sample(*rows)), lambda *rows: emptied(REAL.render(*rows)))
    found = measure_all(gather_evidence(empty, readers, Counts(24, 24, 24, 0), range(8)), Reference(evidence))
    assert all('not measurable here' in found[name] for name in ('thickness', 'depth_r', 'normals', 'hollow_agreement', 'reprojection', 'slope'))
    assert found['object_share'] == 0 and found['class_accuracy'] < 0.7
