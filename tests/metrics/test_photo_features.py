"""The photo network: what is shipped is what its recipe says, and training it is repeatable and resumable."""

import hashlib
import io
import json
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch
from click.testing import CliRunner
from PIL import Image

from dnnlib.errors import DataError, MissingInputError
from metrics.features import PHOTO_WEIGHTS, PhotoFeatures
from metrics.photo_features.network import PhotoNetwork, PhotoNetworkConfig, initialise_, resize_to
from metrics.photo_features.photographs import read_photographs
from metrics.photo_features.train import Recipe, Trainer, augmented, main, within_set_loss


def class_zip(path, classes, per_class, resolution):
    """A zip of flat-coloured noise, one hue per class."""
    draw = np.random.default_rng(0)
    with zipfile.ZipFile(path, 'w') as archive:
        for label in range(classes):
            for index in range(per_class):
                pixels = np.clip(draw.normal(128, 30, (resolution, resolution, 3)) + 90 * np.eye(3)[label % 3], 0, 255).astype(np.uint8)
                file = io.BytesIO()
                Image.fromarray(pixels).save(file, 'PNG')
                archive.writestr(f'class{label}/{index:03}.png', file.getvalue())
    return path


@pytest.fixture(scope='module')
def zips(tmp_path_factory):
    folder = tmp_path_factory.mktemp('zips')
    return class_zip(folder / 'small.zip', 2, 20, 32), class_zip(folder / 'large.zip', 3, 20, 64)


def test_shipped_weights_are_those_of_the_recipe():
    recipe = json.loads(PHOTO_WEIGHTS.with_suffix('.json').read_text())
    content = PHOTO_WEIGHTS.read_bytes()
    assert hashlib.sha256(content).hexdigest() == recipe['sha256'] == PhotoFeatures().sha256
    assert len(content) == recipe['bytes'] <= 2_000_000
    assert min(recipe['held_out_accuracy'].values()) > 0.6


def test_resize_averages_and_leaves_the_right_size_alone():
    images = torch.rand(2, 3, 64, 64)
    assert resize_to(images, 64) is images
    flat = torch.full((1, 3, 64, 64), 0.3)
    assert torch.allclose(resize_to(flat, 32), torch.full((1, 3, 32, 32), 0.3))
    stripes = torch.tensor([-1.0, 1.0]).repeat(32).expand(1, 3, 64, 64)
    assert resize_to(stripes, 32).abs().max() < 0.51  # picking pixels would give 1


def test_photographs_are_split_by_class_and_refused_when_there_are_none(zips, tmp_path):
    part = read_photographs(zips[1], 32, first=10)
    assert part.images.shape == (60, 3, 32, 32) and part.labels.unique().tolist() == [10, 11, 12]
    assert part.labels[part.rows(held_out=True)].tolist() == [10, 10, 11, 11, 12, 12]
    with pytest.raises(MissingInputError):
        read_photographs(tmp_path / 'none.zip', 32, 0)
    (tmp_path / 'text.zip').write_text('no zip')
    with pytest.raises(DataError, match='not a zip'):
        read_photographs(tmp_path / 'text.zip', 32, 0)


def test_augmentation_moves_and_mirrors_but_invents_nothing():
    image = torch.arange(3 * 8 * 8, dtype=torch.uint8).view(1, 3, 8, 8)
    results = augmented(image.expand(200, -1, -1, -1), 1, torch.Generator().manual_seed(0))
    plain = image[0].float() / 127.5 - 1
    assert any(torch.equal(found, plain) for found in results) and any(torch.equal(found, plain.flip(-1)) for found in results)
    assert len({found.numpy().tobytes() for found in results.contiguous()}) == 18  # 3 x 3 shifts, mirrored or not
    assert set(results.unique().tolist()) <= set(plain.unique().tolist())


def test_loss_is_within_the_set_a_photograph_comes_from(zips):
    sets = (read_photographs(zips[0], 32, 0), read_photographs(zips[1], 32, 2))
    logits, labels = torch.tensor([[0.0, 0.0, 99.0, 99.0, 99.0], [50.0, 50.0, 1.0, 1.0, 1.0]]), torch.tensor([1, 3])
    assert within_set_loss(logits, labels, sets, 0.0).item() == pytest.approx((np.log(2) + np.log(3)) / 2, rel=1e-5)


def test_training_is_repeatable_and_resumes_bit_for_bit(zips, tmp_path):
    sets = (read_photographs(zips[0], 32, 0), read_photographs(zips[1], 32, 2))
    recipe = Recipe(epochs=3, batch=16, tiny_imagenet_repeats=1)
    straight = Trainer(recipe, sets)
    for _ in range(2):
        straight.run_epoch()
    straight.save(tmp_path / 'state', 'same')
    resumed = Trainer(recipe, sets)
    resumed.load(tmp_path / 'state', 'same')
    assert straight.run_epoch() == resumed.run_epoch()
    assert all(torch.equal(a, b) for a, b in zip(straight.network.state_dict().values(), resumed.network.state_dict().values(), strict=True))
    with pytest.raises(DataError, match='another recipe'):
        resumed.load(tmp_path / 'state', 'other')


def test_script_writes_weights_and_recipe(zips, tmp_path):
    dest = tmp_path / 'net.safetensors'
    threads = torch.get_num_threads()
    done = CliRunner().invoke(main, ['--cifar', str(zips[0]), '--tiny-imagenet', str(zips[1]), '--dest', str(dest), '--epochs', '1'])
    torch.set_num_threads(threads)
    assert done.exit_code == 0, done.output
    recipe = json.loads(dest.with_suffix('.json').read_text())
    assert recipe['sha256'] in done.output and set(recipe['held_out_accuracy']) == {'small', 'large'}
    assert PhotoFeatures(dest).sha256 == recipe['sha256']
    assert sorted(path.name for path in tmp_path.iterdir()) == ['net.json', 'net.safetensors']


def test_initialisation_is_a_function_of_the_seed():
    networks = [PhotoNetwork(PhotoNetworkConfig(widths=(4, 4, 4, 4))) for _ in range(3)]
    for network, seed in zip(networks, (0, 0, 1), strict=True):
        initialise_(network, seed)
    assert torch.equal(networks[0].stem.weight, networks[1].stem.weight) and not torch.equal(networks[0].stem.weight, networks[2].stem.weight)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(MissingInputError, match='photo network is missing'):
        PhotoFeatures(tmp_path / 'none.safetensors')
    other = tmp_path / 'other.safetensors'
    safetensors.torch.save_file({'a': torch.zeros(1)}, other)
    with pytest.raises(DataError, match='not the weights'):
        PhotoFeatures(other)
    other.write_bytes(b'\x80\x04garbage')
    with pytest.raises(DataError, match='not the weights'):
        PhotoFeatures(other)
