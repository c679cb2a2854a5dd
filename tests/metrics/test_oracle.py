"""The oracle: what it reads from scenes that it never saw, that company does not matter, and that a recipe is its address."""

import dataclasses
import json
import math

import pytest
import safetensors.torch
import torch
from click.testing import CliRunner
from torch.nn import functional as F

from dnnlib.errors import DataError, NumericalError, UsageError
from metrics.oracle import weights
from metrics.oracle.__main__ import main
from metrics.oracle.damage import blurred, damaged
from metrics.oracle.network import NUM_SECTORS, SECTOR_RAD, Answers, sector_weights
from metrics.oracle.quality import angle_between_deg, disagreement, quality, score
from metrics.oracle.reading import BATCH, Oracle, Reading
from metrics.oracle.recipe import PLAIN, OracleRecipe
from metrics.oracle.scenes import draw_scenes
from metrics.oracle.train import learning_rate_factor, train_oracle
from metrics.oracle.weights import cached_path, file_name, find_oracle, load_oracle
from torch_utils.rng import Stream
from training.data.item import from_uint8
from training.data.synthetic import SyntheticConfig, SyntheticImages
from training.data.toyworld.catalogue import CATALOGUE

TINY = OracleRecipe(seed=3, images=32, epochs=1, batch=16, width=4, num_features=8)
FRESH_SEED = 6999  # of scenes: neither those of training nor those of the printed tables


@pytest.fixture(scope='module')
def oracles():
    return [load_oracle(dataclasses.replace(PLAIN, seed=seed), quiet=True) for seed in (0, 1)]


@pytest.fixture(scope='module')
def fresh():
    return draw_scenes(('white',), ('wide',), 'plain', FRESH_SEED, 64)


@pytest.fixture(scope='module')
def tiny_content():
    return train_oracle(TINY, quiet=True)


def same(a: Reading, b: Reading) -> bool:
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in Reading.__slots__)


@pytest.mark.parametrize('seed', [0, 1])
def test_packaged_oracle_is_that_of_its_recipe(seed):
    recipe = dataclasses.replace(PLAIN, seed=seed)
    path = weights.HERE / file_name(recipe)
    content = path.read_bytes()
    oracle = Oracle(content, str(path))
    assert len(content) < 2**20 and oracle.header['parameters'] < 450_000
    assert oracle.header['digest'] == recipe.digest() and oracle.recipe == recipe
    assert load_oracle(recipe).sha256 == oracle.sha256


@pytest.mark.parametrize('seed', [0, 1])
def test_packaged_oracle_was_good_enough_when_it_was_made(oracles, seed):
    meets_bars(oracles[seed].header['quality'])


def meets_bars(quality_by_background: dict) -> None:
    """On 1000 held-out scenes from wide poses: what the suite needs of an oracle."""
    assert quality_by_background.keys() == {'white', 'env'}
    assert quality_by_background['white']['mask_iou'] >= 0.93 and quality_by_background['env']['mask_iou'] >= 0.91
    for found in quality_by_background.values():
        assert found['count'] == 1000 and found['class_accuracy'] >= 0.999 and found['mode_accuracy'] >= 0.999
        assert found['azimuth_median_deg'] <= 2 and found['azimuth_p90_deg'] <= 8 and found['azimuth_flips'] <= 0.02
        assert found['elevation_median_deg'] <= 1.5 and found['depth_mae'] <= 0.05


@pytest.mark.parametrize('background', ['white', 'env'])
@pytest.mark.parametrize('seed', [0, 1])
def test_packaged_oracle_reads_scenes_it_never_saw(oracles, seed, background):
    result = quality(oracles[seed], 64, FRESH_SEED, background, 'wide')
    assert result['class_accuracy'] >= 0.98 and result['mode_accuracy'] >= 0.96
    assert result['azimuth_median_deg'] <= 8 and result['azimuth_flips'] <= 0.07 and result['elevation_median_deg'] <= 4
    assert result['depth_mae'] <= 0.1 and result['mask_iou'] >= 0.88
    assert sum(numbers['count'] for numbers in result['per_class'].values()) == 64


def test_two_oracles_agree_but_are_not_the_same(oracles, fresh):
    apart = disagreement(*oracles, from_uint8(fresh.images))
    assert apart['class_disagreement'] <= 0.02 and 0 < apart['azimuth_median_deg'] <= 8 and apart['mask_iou'] > 0.88
    none = disagreement(oracles[0], oracles[0], from_uint8(fresh.images))
    assert none['azimuth_p90_deg'] == none['class_disagreement'] == none['depth_mae'] == 0 and none['mask_iou'] == 1


def test_company_does_not_change_the_bits(oracles):
    images = torch.rand(BATCH + 9, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    whole = oracles[0].read(images)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(1))
    shuffled = oracles[0].read(images[order])
    alone = [oracles[0].read(images[i : i + 1]) for i in (0, 5, BATCH - 1, BATCH + 8)]
    for name in Reading.__slots__:
        assert torch.equal(getattr(whole, name)[order], getattr(shuffled, name)), name
        for i, reading in zip((0, 5, BATCH - 1, BATCH + 8), alone, strict=True):
            assert torch.equal(getattr(whole, name)[i : i + 1], getattr(reading, name)), (name, i)


def test_reading_is_of_what_a_saved_picture_holds(oracles, fresh):
    images = from_uint8(fresh.images)
    nudged = images + torch.rand(images.shape, generator=torch.Generator().manual_seed(0)) * 0.004 - 0.002
    assert same(oracles[0].read(images), oracles[0].read(nudged))  # a step of uint8 is 0.0078
    with pytest.raises(NumericalError, match='1 of 2 images'):
        oracles[0].read(torch.tensor([0.0, math.nan])[:, None, None, None].expand(2, 3, 32, 32))


def test_reading_has_the_promised_shapes_and_is_a_feature_extractor(oracles):
    images = torch.zeros(3, 3, 32, 32)
    reading = oracles[0].read(images)
    shapes = {name: tuple(getattr(reading, name).shape) for name in Reading.__slots__}
    assert shapes == {
        'class_logits': (3, 8), 'mode_logits': (3, 3), 'azimuth_rad': (3,), 'elevation_rad': (3,),
        'mask': (3, 1, 32, 32), 'depth': (3, 1, 32, 32), 'features': (3, oracles[0].num_features),
    }
    assert all(getattr(reading, name).dtype == torch.float32 for name in Reading.__slots__)
    assert torch.equal(oracles[0](images), reading.features) and 128 <= oracles[0].num_features <= 256
    assert len(oracles[0].read(images[:0])) == 0


@pytest.mark.parametrize('resolution', [16, 64])
def test_other_sizes_are_read_as_well(oracles, resolution):
    world = SyntheticImages(SyntheticConfig(tuple(CATALOGUE), resolution=resolution, seed=FRESH_SEED)).world
    images = from_uint8(torch.stack([torch.from_numpy(world.image(i, resolution)) for i in range(32)]))
    right = oracles[0].read(images).classes == torch.tensor([world.class_id(i) for i in range(32)])
    assert right.double().mean() >= 0.9


def test_blur_makes_reading_harder_not_impossible(oracles, fresh):
    sharp, soft = from_uint8(fresh.images), blurred(from_uint8(fresh.images), torch.full((64,), 1.2))
    results = [score(oracles[0].read(images), fresh) for images in (sharp, soft)]
    assert results[1]['depth_mae'] > results[0]['depth_mae'] and results[1]['class_accuracy'] >= 0.9


def test_likeliest_sector_wins_and_the_reading_is_continuous():
    centre = torch.arange(NUM_SECTORS) * SECTOR_RAD

    def read(probability: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
        n = probability.shape[0]
        empty = torch.zeros(n, 1)
        return Answers(empty, empty, probability.log(), offset, empty[:, 0], empty, empty, empty).azimuth_rad()

    # Front or back, a little more likely front: their mean vector would be short, and with a third sector point to the side.
    two = torch.full((1, NUM_SECTORS), 1e-6)
    two[0, 0], two[0, NUM_SECTORS // 2] = 0.55, 0.45
    assert abs(float(read(two, torch.zeros(1, NUM_SECTORS)))) < 0.01
    # Whatever the azimuth, its own weights and offsets lead back to it.
    azimuth = torch.linspace(-math.pi, math.pi, 1001)
    weight, offset = sector_weights(azimuth)
    assert torch.allclose(weight.sum(1), torch.ones(1001), atol=1e-5) and (weight > 1e-5).sum(1).max() <= 2
    assert angle_between_deg(centre[weight.argmax(1)], azimuth).max() <= 15.001
    assert angle_between_deg(read(weight + 1e-9, offset), azimuth).max() < 0.01


def test_score_of_perfect_and_of_turned_readings(fresh):
    hit = torch.isfinite(fresh.distance)
    perfect = Reading(
        F.one_hot(fresh.classes, 8).float(), F.one_hot(fresh.modes, 3).float(), fresh.azimuth_rad, fresh.elevation_rad,
        hit.float(), fresh.distance.float(), torch.zeros(64, 1),
    )
    numbers = score(perfect, fresh)
    best = {'class_accuracy': 1, 'mode_accuracy': 1, 'azimuth_median_deg': 0, 'azimuth_flips': 0, 'depth_mae': 0, 'mask_iou': 1}
    assert {name: numbers[name] for name in best} == pytest.approx(best, abs=1e-4)
    turned = dataclasses.replace(
        perfect, azimuth_rad=fresh.azimuth_rad + math.pi, class_logits=perfect.class_logits.roll(1, 1), depth=perfect.depth + 0.25,
        mask=1 - perfect.mask,
    )
    worst = {'class_accuracy': 0, 'mode_accuracy': 1, 'azimuth_median_deg': 180, 'azimuth_flips': 1, 'depth_mae': 0.25, 'mask_iou': 0}
    numbers = score(turned, fresh)
    assert {name: numbers[name] for name in worst} == pytest.approx(worst, abs=1e-3)
    assert angle_between_deg(torch.tensor([3.1, 0.0]), torch.tensor([-3.1, 4 * math.pi])).tolist() == pytest.approx([4.766, 0], abs=1e-3)


def test_scenes_hold_the_truth(fresh):
    world = SyntheticImages(SyntheticConfig(tuple(CATALOGUE), seed=FRESH_SEED)).world
    mixed = draw_scenes(('white', 'env'), ('wide', 'uniform'), 'plain', FRESH_SEED, 8)
    assert torch.equal(mixed.images[[0, 4]], fresh.images[[0, 4]]) and not torch.equal(mixed.images[1], fresh.images[1])
    assert torch.equal(mixed.classes, fresh.classes[:8]) and torch.equal(mixed.modes, fresh.modes[:8])
    assert mixed.azimuth_rad[0] == fresh.azimuth_rad[0] and mixed.azimuth_rad[1] != fresh.azimuth_rad[1]
    corner = fresh.images[:, :, 0, 0].min()
    assert corner == 255 and mixed.images[2, :, 0, 0].min() < 255  # white, environment
    assert math.degrees(fresh.azimuth_rad[5]) == pytest.approx(world.pose(5).azimuth_deg, abs=1e-4)
    assert fresh.modes[5] == world.scene(5).mode and fresh.classes[5] == world.class_id(5)
    exact = torch.from_numpy(world.truth([5], 32).distance)
    assert torch.allclose(fresh.distance[5:6].float(), exact, atol=0.0011, rtol=0)


def test_damage_leaves_some_alone_and_hurts_the_others():
    images = torch.rand(400, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    result = damaged(images, Stream(0, 0, 'oracle', range(400)))
    untouched = (result == images).flatten(1).all(1).double().mean()
    assert 0.18 < untouched < 0.32 and result.abs().max() <= 1
    assert torch.equal(damaged(images[100:200], Stream(0, 0, 'oracle', range(100, 200))), result[100:200])
    assert not torch.equal(damaged(images, Stream(0, 1, 'oracle', range(400))), result)


def test_blur_keeps_the_mean_of_constants_and_has_its_variance():
    assert torch.allclose(blurred(torch.full((2, 3, 16, 16), 0.3), torch.tensor([0.4, 1.4])), torch.tensor(0.3))
    spot = torch.zeros(2, 1, 17, 17)
    spot[:, 0, 8, 8] = 1
    sigma = torch.tensor([0.8, 1.2])
    spread = (blurred(spot, sigma)[:, 0].sum(1) * (torch.arange(17) - 8).square()).sum(1)
    assert torch.allclose(spread, sigma.square(), rtol=0.02)


def test_learning_rate_rises_and_falls():
    rates = [learning_rate_factor(step / 100, 0.1) for step in range(101)]
    assert rates[0] == 0 and rates[10] == 1 and rates[100] == pytest.approx(0) and rates[55] == pytest.approx(0.5)


def test_digest_is_the_address_of_a_recipe(monkeypatch):
    changes = {
        'seed': 1, 'style': 'carved', 'backgrounds': ('white',), 'poses': ('wide',), 'images': 100, 'epochs': 9, 'batch': 8, 'width': 8,
        'num_features': 9, 'learning_rate': 1e-4, 'weight_decay': 0.1, 'warmup': 0.5,
    }
    assert set(changes) == {field.name for field in dataclasses.fields(OracleRecipe)}
    digests = {PLAIN.digest()} | {dataclasses.replace(PLAIN, **{name: value}).digest() for name, value in changes.items()}
    assert len(digests) == len(changes) + 1
    before = PLAIN.digest()
    assert before == OracleRecipe().digest()
    for name in ('BITS', 'MEANING'):
        with monkeypatch.context() as patch:
            patch.setattr(f'metrics.oracle.recipe.{name}', 99)
            assert PLAIN.digest() != before


@pytest.mark.parametrize('values', [{'seed': -1}, {'epochs': 0}, {'images': 10, 'batch': 11}, {'batch': 1}, {'width': 0}])
def test_recipes_that_cannot_be_followed_are_refused(values):
    with pytest.raises(UsageError):
        OracleRecipe(**values)


def test_training_is_repeatable_and_leaves_the_process_as_it_was(tiny_content):
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    again = train_oracle(TINY, quiet=True)
    assert torch.equal(torch.random.get_rng_state(), state) and torch.get_num_threads() == threads
    first, second = safetensors.torch.load(tiny_content), safetensors.torch.load(again)
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    assert all(tensor.dtype == (torch.float16 if tensor.ndim > 1 else torch.float32) for tensor in first.values())
    other = safetensors.torch.load(train_oracle(dataclasses.replace(TINY, seed=4), quiet=True))
    assert not torch.equal(other['answer.weight'], first['answer.weight'])


def test_oracle_is_trained_once_then_cached_and_remade_when_damaged(own_cache, tiny_content, monkeypatch, capsys):
    trainings = []

    def train(recipe: OracleRecipe, quiet: bool) -> bytes:
        trainings.append(recipe)
        return tiny_content

    monkeypatch.setattr(weights, 'train_oracle', train)
    assert find_oracle(TINY) is None and trainings == []
    made = load_oracle(TINY)
    assert 'training oracle 3' in capsys.readouterr().err
    path = own_cache / 'oracle' / f'{TINY.digest()}.safetensors'
    assert path == cached_path(TINY) and path.read_bytes() == tiny_content
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    loaded, found = load_oracle(TINY), find_oracle(TINY)
    assert trainings == [TINY] and loaded.sha256 == found.sha256 == made.sha256 and same(loaded.read(images), made.read(images))
    for damage in (tiny_content[:100], tiny_content[:-40], b'', b'\x80\x04garbage of some length'):
        path.write_bytes(damage)
        assert load_oracle(TINY, quiet=True).sha256 == made.sha256 and path.read_bytes() == tiny_content
        assert 'passed over' in capsys.readouterr().err
    assert len(trainings) == 5


def test_packaged_file_of_another_recipe_is_passed_over_with_a_line(own_cache, tiny_content, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(weights, 'HERE', tmp_path)
    (tmp_path / 'oracle-plain-3.safetensors').write_bytes(tiny_content)
    monkeypatch.setattr(weights, 'train_oracle', lambda recipe, quiet: pytest.fail('the packaged file was not used'))
    assert load_oracle(TINY).header['digest'] == TINY.digest()
    assert capsys.readouterr().err == ''
    longer = dataclasses.replace(TINY, epochs=2)
    monkeypatch.setattr(weights, 'train_oracle', lambda recipe, quiet: train_oracle(recipe, quiet=True))
    assert load_oracle(longer, quiet=True).recipe == longer
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and 'oracle-plain-3.safetensors' in lines[0] and 'another recipe' in lines[0]


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path, tiny_content, monkeypatch, capsys):
    (tmp_path / 'file').write_text('in the way')
    monkeypatch.setenv('UNPOSED_CACHE', str(tmp_path / 'file'))
    monkeypatch.setattr(weights, 'train_oracle', lambda recipe, quiet: tiny_content)
    assert load_oracle(TINY, quiet=True).recipe == TINY
    assert 'not kept' in capsys.readouterr().err


def test_other_files_are_refused(tiny_content):
    foreign = safetensors.torch.save({'a': torch.zeros(1)})
    wrong_network = safetensors.torch.save({'a': torch.zeros(1)}, {'oracle': json.dumps(Oracle(tiny_content, 'x').header)})
    for content, words in ((foreign, 'not an oracle'), (b'abc', 'not an oracle'), (wrong_network, 'not the weights')):
        with pytest.raises(DataError, match=words):
            Oracle(content, 'some file')


def test_header_says_how_good_it_is(tiny_content):
    header = Oracle(tiny_content, 'x').header
    assert header['quality'].keys() == {'white', 'env'} and header['cpu_seconds'] > 0
    assert 0 <= header['quality']['white']['class_accuracy'] <= 1 and header['digest'] == TINY.digest()


def test_command_trains_writes_and_prints_tables(tmp_path, monkeypatch):
    monkeypatch.setattr('metrics.oracle.__main__.PLAIN', TINY)
    done = CliRunner().invoke(main, ['--seed', '5', '--seed', '6', '--count', '8', '--dest', str(tmp_path), '--quiet', '--per-class'])
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ['oracle-plain-5.safetensors', 'oracle-plain-6.safetensors']
    for start in ('| 5 | white, wide |', '| 6 | white, uniform: ', '| 5, 6 | env, wide |'):
        assert any(line.startswith(start) for line in done.output.splitlines()), start
    assert Oracle((tmp_path / 'oracle-plain-5.safetensors').read_bytes(), 'x').sha256 in done.output


@pytest.mark.slow
def test_full_training_meets_the_bars():
    """About 7 minutes."""
    meets_bars(Oracle(train_oracle(PLAIN, quiet=True), 'trained').header['quality'])
