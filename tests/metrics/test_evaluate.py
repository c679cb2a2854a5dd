"""The metrics by name: sense, floors, independence of the batch, refusals, and the lines that are written."""

import json
import math

import pytest
import torch

from dnnlib.errors import DataError, NumericalError, UsageError
from metrics.evaluate import METRICS, append_results, check, compute, count_of
from metrics.flatness import DepthImages
from training.data.item import from_uint8

NUM = 150
PHOTO = ['fd_photo', 'kd_photo', 'pr_photo']


@pytest.fixture(scope='module')
def made(shapes):
    return {'real': shapes(2 * NUM, seed=0), 'fresh': shapes(NUM, seed=1)}


def of(images):
    return lambda start, count: from_uint8(images[start : start + count])


def measure(images, reals, names=('fd_photo',), **options):
    return compute(list(names), of(images), reals, num=NUM, **options)


def test_real_images_score_like_the_floor_and_damage_raises_the_distance(own_cache, made, images_in_memory):
    reals, draw = images_in_memory(made['real']), torch.Generator().manual_seed(0)
    fresh = made['fresh'].float()
    noise = torch.randn(fresh.shape, generator=draw)
    (honest,) = measure(made['fresh'], reals)
    floor = honest.floor['fd_photo']
    assert honest.floor_num == honest.num == honest.num_real == NUM and floor > 0
    assert 0.6 < honest.values['fd_photo'] / floor < 1.7
    noisy = [measure((fresh + sigma * noise).round().clamp(0, 255).byte(), reals)[0].values['fd_photo'] for sigma in (16, 48)]
    assert honest.values['fd_photo'] < noisy[0] < noisy[1] and noisy[1] > 3 * floor
    (collapsed,) = measure(made['fresh'][:8].repeat(20, 1, 1, 1), reals)
    assert collapsed.values['fd_photo'] > 2 * floor


def test_results_do_not_depend_on_the_batch_or_on_the_cache(own_cache, made, images_in_memory):
    reals = images_in_memory(made['real'])
    first = measure(made['fresh'], reals, PHOTO, batch=32)
    for other in (measure(made['fresh'], reals, PHOTO, batch=7), measure(made['fresh'], reals, PHOTO, batch=150, cached=False)):
        assert [(a.values, a.floor) for a in first] == [(b.values, b.floor) for b in other]
    alone = measure(made['fresh'], reals, ['pr_photo'])[0]
    assert alone.values == first[2].values
    assert set(first[2].values) == {f'pr_photo_{part}' for part in ('precision', 'recall', 'density', 'coverage')}
    assert set(first[1].values) == {'kd_photo', 'kd_photo_standard_error'}


def test_images_pass_through_uint8(own_cache, made, images_in_memory):
    reals = images_in_memory(made['real'])
    less_than_half_a_step = (torch.rand(made['fresh'].shape, generator=torch.Generator().manual_seed(0)) - 0.5) * 0.9 / 127.5
    shifted = from_uint8(made['fresh']) + less_than_half_a_step
    (found,) = compute(['fd_photo'], lambda start, count: shifted[start : start + count], reals, num=NUM)
    assert found.values == measure(made['fresh'], reals)[0].values


def test_a_small_data_set_gives_a_floor_at_a_smaller_number_or_none(own_cache, made, images_in_memory):
    (found,) = measure(made['fresh'], images_in_memory(made['real'][:60]))
    assert (found.num, found.num_real, found.floor_num) == (NUM, 60, 30)
    (found,) = measure(made['fresh'], images_in_memory(made['real'][:12]))
    assert (found.num_real, found.floor_num, found.floor) == (12, 0, {})


def test_depth_metrics_average_over_images():
    near, far = torch.tensor([1.0]), torch.tensor([2.0])

    def depth(start, count):
        spread = torch.stack([1 + (torch.arange(64) % (index + 1) + 0.5) / 64 for index in range(start, start + count)])
        return DepthImages(spread.view(count, 1, 8, 8), torch.ones(count, 1, 8, 8), near.expand(count), far.expand(count))

    (found,) = compute(['nfs'], None, None, num=8, batch=3, sample_depth=depth)
    shares = [torch.bincount(torch.arange(64) % (index + 1)).double() / 64 for index in range(8)]
    expected = sum(math.exp(-float((share * share.log()).sum())) for share in shares) / 8
    assert found.values['nfs_frame'] == pytest.approx(expected) and found.values['nfs_object'] == pytest.approx(expected)


def test_bad_requests_are_refused_before_anything_is_made(own_cache, made, images_in_memory):
    def nothing(start, count):
        pytest.fail('nothing may be generated')

    reals = images_in_memory(made['real'])
    with pytest.raises(UsageError, match="Did you mean 'fd_photo'"):
        compute(['fd_foto'], nothing, reals)
    with pytest.raises(UsageError, match="'fid50k_full' means 50,000 images, 2,000 were asked for; use 'fid'"):
        check(['fid50k_full'], 2000)
    with pytest.raises(UsageError, match='at least 2'):
        check(['fd_photo'], 1)
    with pytest.raises(UsageError, match='depth'):
        compute(['nfs'], nothing, reals)
    with pytest.raises(UsageError, match='data set'):
        compute(['fd_photo'], nothing, None)
    with pytest.raises(DataError, match='at least 2 real'):
        compute(['fd_photo'], nothing, images_in_memory(made['real'][:1]))


def test_bad_images_are_refused(own_cache, made, images_in_memory, shapes):
    reals = images_in_memory(made['real'])
    with pytest.raises(DataError, match='16x16 pixels, those of memory 32x32'):
        measure(shapes(NUM, 0, resolution=16), reals)
    with pytest.raises(NumericalError, match='not finite'):
        compute(['fd_photo'], lambda start, count: torch.full((count, 3, 32, 32), float('nan')), reals, num=NUM)


def test_counts_in_names_are_kept_and_no_offline_metric_calls_itself_fid():
    assert count_of('fd_photo', None) == 2000 and count_of('fd_photo', 500) == 500
    assert count_of('fid50k_full', None) == count_of('fid50k_full', 50_000) == 50_000
    assert not any('fid' in name for name, metric in METRICS.items() if getattr(metric, 'extractor', None) != 'inception')


def test_lines_are_strict_json_with_all_that_made_the_number(own_cache, made, images_in_memory, tmp_path):
    results = measure(made['fresh'], images_in_memory(made['real']), PHOTO)
    for _ in range(2):
        append_results(tmp_path / 'run', results, snapshot='000200')

    def refuse(constant):
        raise AssertionError(constant)

    lines = (tmp_path / 'run' / 'metric-fd_photo.jsonl').read_text().splitlines()
    assert len(lines) == 2
    line = json.loads(lines[0], parse_constant=refuse)
    assert line['results'] == results[0].values and line['snapshot'] == '000200' and line['metric'] == 'fd_photo'
    assert line['extractor'] == 'photo' and len(line['extractor_sha256']) == 64 and line['num'] == NUM and line['floor']['fd_photo'] > 0
    assert 'fd_photo' in str(results[0]) and 'floor' in str(results[0])
