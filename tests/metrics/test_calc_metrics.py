"""The door of calc_metrics.py: a tiny network, a folder against a folder, and what is said to those who ask for something else."""

import json

import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import calc_metrics
from calc_metrics import ray_limits
from dnnlib.errors import DataError, MissingInputError, UsageError
from tests.training.tiny import config_of
from torch_utils.rng import Stream
from training.build import build
from training.cameras.distributions import Gaussian
from training.cameras.orbit import angles_of
from training.config import DataConfig, TrainingConfig
from training.data.tool import ToolConfig, convert
from training.networks.discriminator import Discriminator, DiscriminatorConfig
from training.networks.generator3d import Generator3D, GeneratorConfig
from training.networks.mapping import MappingConfig
from training.networks.radiance import RadianceConfig
from training.networks.synthesis import SynthesisConfig
from training.rendering.renderer import RenderingConfig
from training.snapshot import Snapshot, examples_of, save_snapshot

DATA = 'synthetic:car?poses=wide&background=white&resolution=16&count=40&seed=0'


@pytest.fixture(scope='module')
def network(tmp_path_factory):
    """16x16 pixels, no classes, untrained, beside its own run folder."""
    channels = ((4, 8), (8, 8), (16, 8))
    generator = GeneratorConfig(
        z_dim=8, w_dim=8, image_resolution=16, render_resolution=16, superres=None, mapping=MappingConfig(lr_multiplier=1.0),
        synthesis=SynthesisConfig(plane_resolution=8, plane_channels=4, channels=channels[:2]), radiance=RadianceConfig(hidden=(8,), features=3),
        rendering=RenderingConfig(samples_coarse=6, samples_fine=0, density_scale=20.0),
    )
    discriminator = DiscriminatorConfig(image_resolution=16, see='single', channels=channels)
    config = TrainingConfig(data=DataConfig(path=DATA), cameras=Gaussian(fov_x_deg=24.0), generator=generator, discriminator=discriminator)
    path = tmp_path_factory.mktemp('run') / 'network-snapshot-000001.safetensors'
    with torch.random.fork_rng():
        torch.random.manual_seed(1)
        save_snapshot(path, Generator3D(generator), Discriminator(discriminator), Snapshot(config, 1.0, (), config.cameras), None)
    return path


@pytest.fixture
def folders(tmp_path, shapes):
    """Two folders of 30 pictures, and one of another size."""
    for name, seed, resolution in (('a', 0, 32), ('b', 1, 32), ('other', 2, 16)):
        (tmp_path / name).mkdir()
        for index, image in enumerate(shapes(30, seed, resolution)):
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / name / f'{index:03}.png')
    return tmp_path


def run(*arguments):
    done = CliRunner().invoke(calc_metrics.main, [*map(str, arguments), '--quiet', '--device', 'cpu'], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def lines(folder, name):
    return [json.loads(line) for line in (folder / f'metric-{name}.jsonl').read_text().splitlines()]


def test_a_network_is_judged_against_its_own_data_whatever_the_batch(own_cache, network, tmp_path):
    output = run('--network', network, '--metrics', 'fd_photo,nfs', '--num', 20, '--batch', 20)
    run('--network', network.parent, '--metrics', 'fd_photo,nfs', '--num', 20, '--batch', 3, '--outdir', tmp_path)
    for name in ('fd_photo', 'nfs'):
        (first,), (second,) = lines(network.parent, name), lines(tmp_path, name)
        assert first['results'] == pytest.approx(second['results'], rel=1e-6)
        assert first['num'] == 20 and first['kimg'] == 1.0 and first['network'] == str(network)
        assert name in output
    assert 1 <= lines(tmp_path, 'nfs')[0]['results']['nfs_frame'] <= 64


def test_a_folder_is_judged_against_another(own_cache, folders):
    output = run('--source', folders / 'a', '--data', folders / 'b', '--metrics', 'fd_photo,kd_photo', '--outdir', folders / 'out')
    (line,) = lines(folders / 'out', 'fd_photo')
    assert line['num'] == line['num_real'] == 30 and line['results']['fd_photo'] > 0 and 'kd_photo' in output
    run('--source', folders / 'a', '--data', folders / 'a', '--metrics', 'fd_photo', '--outdir', folders / 'same')
    assert abs(lines(folders / 'same', 'fd_photo')[0]['results']['fd_photo']) < 1e-3 * line['results']['fd_photo']


@pytest.fixture(scope='module')
def reads(tmp_path_factory):
    """Two classes of 8x8 pixels, untrained, whose discriminator reads poses; of its cameras it has read one for each class."""
    built = build(config_of('poses read'))
    built.conditions.readings.add(built.conditions.rig.code(torch.tensor([-1.0, 2.0]), torch.full((2,), 0.2)), torch.tensor([0, 1]))
    snapshot = Snapshot(built.config, 1.0, built.class_names, built.config.cameras)
    path = tmp_path_factory.mktemp('reads') / 'network-snapshot-000001.safetensors'
    save_snapshot(path, built.task.generator, built.task.discriminator, snapshot, *examples_of(built.conditions, 2, torch.device('cpu')))
    return path


def test_a_reader_says_where_photographs_were_taken(reads, folders, tmp_path):
    for index in range(3):
        Image.new('RGB', (8, 8), (40 * index, 0, 0)).save(folders / f'{index}.png')
    (folders / 'small').mkdir()
    for index in range(3):
        (folders / f'{index}.png').rename(folders / 'small' / f'{index}.png')
    output = run('--network', reads, '--metrics', 'pose', '--data', folders / 'small', '--outdir', tmp_path / 'out')
    table = json.loads((tmp_path / 'out' / 'poses.json').read_text())
    assert set(table['poses']) == {'0.png', '1.png', '2.png'} and table['agreement'] is None and table['network'] == str(reads)
    assert all(set(pose) == {'yaw_deg', 'pitch_deg'} and -5 <= pose['pitch_deg'] <= 45 for pose in table['poses'].values())
    assert 'poses of 3 pictures' in output and 'error of yaw' not in output and not list((tmp_path / 'out').glob('metric-*'))

    convert(ToolConfig(str(folders / 'small'), str(tmp_path / 'small.zip')))
    run('--network', reads, '--metrics', 'pose', '--data', tmp_path / 'small.zip', '--outdir', tmp_path / 'again')
    again = json.loads((tmp_path / 'again' / 'poses.json').read_text())['poses']
    assert {f'00000/img0000000{index}.png': table['poses'][f'{index}.png'] | {'source': f'{index}.png'} for index in range(3)} == again


def test_what_is_read_of_its_own_data_is_compared_with_the_truth(reads, tmp_path):
    output = run('--network', reads, '--metrics', 'pose', '--num', 30, '--outdir', tmp_path)
    table = json.loads((tmp_path / 'poses.json').read_text())
    assert len(table['poses']) == 30 and 0 <= table['agreement']['median_deg'] <= 90 and 'median error of yaw' in output


def test_pictures_under_a_read_law_are_judged_from_there(own_cache, reads, tmp_path):
    """The law is in the weights file, not in the configuration: every picture comes from one of two cameras."""
    options = calc_metrics.main.make_context('calc_metrics.py', ['--network', str(reads)]).params
    judged = calc_metrics.judge_network(calc_metrics.Options(**options), torch.device('cpu'))
    views = judged.subject.sample(0, 16)
    yaw = angles_of(views.camera)[0]
    assert torch.allclose(yaw, torch.tensor([-1.0, 2.0])[views.classes], atol=1e-4)


@pytest.mark.parametrize('arguments, error, said', [
    (['--source', 'a', '--data', 'b', '--metrics', 'pose'], UsageError, 'give its --network'),
    (['--network', 'KNOWN', '--metrics', 'pose'], UsageError, 'reads no poses'),
    (['--network', 'READS', '--metrics', 'pose', '--data', 'a'], DataError, 'pictures of 32 pixels, the network knows those of 8'),
    (['--network', 'READS', '--metrics', 'pose', '--num', '41'], UsageError, '41 pictures were asked for'),
])
def test_who_cannot_say_it_says_so(network, reads, folders, monkeypatch, arguments, error, said):
    monkeypatch.chdir(folders)
    command = [{'KNOWN': str(network), 'READS': str(reads)}.get(word, word) for word in arguments]
    with pytest.raises(error, match=said):
        CliRunner().invoke(calc_metrics.main, [*command, '--quiet', '--device', 'cpu'], catch_exceptions=False)
    assert not list(folders.glob('poses.json')) and not (reads.parent / 'poses.json').exists()


@pytest.mark.parametrize(
    ('arguments', 'error', 'said'),
    [
        ([], UsageError, 'either --network'),
        (['--source', 'a', '--network', 'x'], UsageError, 'either --network'),
        (['--source', 'a'], UsageError, 'say with which'),
        (['--source', 'a', '--data', 'b', '--metrics', 'fd_fhoto'], UsageError, "Did you mean 'fd_photo'"),
        (['--source', 'a', '--data', 'b', '--metrics', ','], UsageError, '--metrics is empty'),
        (['--source', 'a', '--data', 'b', '--metrics', 'nfs'], UsageError, 'depth'),
        (['--source', 'a', '--data', 'b', '--num', '31'], UsageError, 'has 30'),
        (['--source', 'a', '--data', 'b', '--metrics', 'fid50k_full'], MissingInputError, 'fd_photo'),
        (['--source', 'none', '--data', 'b'], MissingInputError, 'none'),
        (['--source', 'other', '--data', 'b'], DataError, '16x16'),
    ],
)
def test_others_get_one_sentence(own_cache, folders, monkeypatch, arguments, error, said):
    monkeypatch.chdir(folders)
    with pytest.raises(error, match=said):
        CliRunner().invoke(calc_metrics.main, [*arguments, '--quiet'], catch_exceptions=False)
    assert not list(folders.glob('metric-*'))


def test_ray_limits_hold_the_box():
    camera = Gaussian(radius=2.7).sample(Stream(0, 0, 'test', (0, 1)), 'cpu')
    near, far = ray_limits(RenderingConfig(box_side=1.0), camera)
    assert near.tolist() == pytest.approx([2.7 - 0.75**0.5] * 2, rel=1e-5) and far.tolist() == pytest.approx([2.7 + 0.75**0.5] * 2, rel=1e-5)
    near, far = ray_limits(RenderingConfig(near=1.5, far=4.0), camera)
    assert near.tolist() == [1.5, 1.5] and far.tolist() == [4.0, 4.0]
