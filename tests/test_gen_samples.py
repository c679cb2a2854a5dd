"""The door of gen_samples.py: a real, tiny weights file, every kind of output, and what is said to those who ask for something else."""

import math
import pickle
import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import torch
import trimesh
from click.testing import CliRunner
from PIL import Image

import gen_samples
from dnnlib.errors import DataError, MissingInputError, UnposedError, UsageError
from tests.training.tiny import config_of
from training.build import build
from training.cameras.distributions import Gaussian
from training.config import TrainingConfig
from training.networks.discriminator import Discriminator, DiscriminatorConfig
from training.networks.generator3d import Generator3D, GeneratorConfig
from training.networks.mapping import MappingConfig
from training.networks.radiance import RadianceConfig
from training.networks.superres import SuperresConfig
from training.networks.synthesis import SynthesisConfig
from training.pictures.grid import to_pictures
from training.rendering.renderer import RenderingConfig
from training.sampling import front_of, latents, own_cameras, sample
from training.snapshot import Snapshot, examples_of, load_generator, save_snapshot

ROOT = Path(__file__).resolve().parents[1]
NAMES = ('car', 'cat', 'cup')
CHANNELS = ((4, 8), (8, 8), (16, 8))


def write_network(path: Path, num_classes: int, conditions_on_camera: bool) -> Path:
    generator_config = GeneratorConfig(
        z_dim=8, w_dim=8, num_classes=num_classes, conditions_on_camera=conditions_on_camera, image_resolution=16, render_resolution=8,
        mapping=MappingConfig(lr_multiplier=1.0), synthesis=SynthesisConfig(plane_resolution=8, plane_channels=4, channels=CHANNELS[:2]),
        radiance=RadianceConfig(hidden=(8,), features=4), superres=SuperresConfig(channels=(8, 8)),
        rendering=RenderingConfig(samples_coarse=6, samples_fine=4, density_scale=20.0))
    discriminator_config = DiscriminatorConfig(image_resolution=16, num_classes=num_classes, channels=CHANNELS)
    config = TrainingConfig(cameras=Gaussian(fov_x_deg=24.0), generator=generator_config, discriminator=discriminator_config)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        generator, discriminator = Generator3D(generator_config), Discriminator(discriminator_config)
    save_snapshot(path, generator, discriminator, Snapshot(config, 1.0, NAMES[:num_classes], config.cameras), None)
    return path


@pytest.fixture(scope='module')
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes, conditioned on cameras."""
    return write_network(tmp_path_factory.mktemp('network') / 'network-snapshot-000001.safetensors', 3, True)


@pytest.fixture(scope='module')
def plain_network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_network(tmp_path_factory.mktemp('plain') / 'network-snapshot-000001.safetensors', 0, False)


@pytest.fixture(scope='module')
def invents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generator with a pose learner, as a folder."""
    return write_found(tmp_path_factory.mktemp('invents'), 'poses learned')


@pytest.fixture(scope='module')
def reads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes, of which one was read at yaw -60 and one at yaw 100 degrees, as a folder."""
    return write_found(tmp_path_factory.mktemp('reads'), 'poses read')


def write_found(folder: Path, way: str) -> Path:
    built = build(config_of(way))
    examples: tuple[torch.Tensor | None, torch.Tensor | None] = (None, None)
    if built.config.reading is not None:
        yaw = torch.deg2rad(torch.tensor([-60.0, 100.0]))
        built.conditions.readings.add(built.conditions.rig.code(yaw, torch.full((2,), 0.2)), torch.tensor([0, 1]))
        examples = examples_of(built.conditions, 2, torch.device('cpu'))
    snapshot = Snapshot(built.config, 1.0, built.class_names, built.config.cameras)
    save_snapshot(folder / 'network-snapshot-000001.safetensors', built.task.generator, built.task.discriminator, snapshot, *examples)
    return folder


def run(network: Path, outdir: Path, *arguments: str) -> dict[str, Path]:
    """The files that the command wrote, by name."""
    command = ['--network', str(network), '--outdir', str(outdir), '--device', 'cpu', *arguments]
    result = CliRunner().invoke(gen_samples.main, command, standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return {path.name: path for path in sorted(outdir.iterdir())}


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert('RGB'))


def test_pictures_are_named_by_seed_and_lie_in_the_grid(network: Path, tmp_path: Path) -> None:
    files = run(network, tmp_path, '--seeds', '0-2,12', '--class', 'cat', '--grid', '3x2', '--depth', '--raw', '--trunc', '0.7')
    stems = [f'seed{seed:04d}' for seed in (0, 1, 2, 12)]
    assert set(files) == {f'{stem}{kind}.png' for stem in [*stems, 'grid'] for kind in ('', '_raw', '_depth')}
    grid = pixels(files['grid.png'])
    assert grid.shape == (32, 48, 3) and pixels(files['grid_raw.png']).shape == (16, 24, 3)
    assert np.array_equal(grid[16:, :16], pixels(files['seed0012.png'])) and (grid[16:, 16:] == 255).all()
    assert pixels(files['seed0000_raw.png']).shape == pixels(files['seed0000_depth.png']).shape == (8, 8, 3)


def test_the_same_seed_is_the_same_picture_in_every_company(network: Path, tmp_path: Path) -> None:
    many = run(network, tmp_path / 'many', '--seeds', '3-8', '--batch', '6', '--view', 'law')
    alone = run(network, tmp_path / 'alone', '--seeds', '5', '--batch', '1', '--view', 'law')
    assert set(alone) == {'seed0005.png'}, 'one scene needs no grid'
    # Convolutions of another batch size may round differently: at most one step in 256.
    assert np.abs(pixels(many['seed0005.png']).astype(int) - pixels(alone['seed0005.png'])).max() <= 1
    again = run(network, tmp_path / 'again', '--seeds', '3-8', '--batch', '6', '--view', 'law')
    assert all(many[name].read_bytes() == again[name].read_bytes() for name in many)


def test_classes_by_number_and_name_are_the_same_and_differ(network: Path, tmp_path: Path) -> None:
    by_name = run(network, tmp_path / 'a', '--seeds', '1', '--class', 'cat')['seed0001.png']
    by_number = run(network, tmp_path / 'b', '--seeds', '1', '--class', '1')['seed0001.png']
    other = run(network, tmp_path / 'c', '--seeds', '1', '--class', '2')['seed0001.png']
    assert by_name.read_bytes() == by_number.read_bytes() != other.read_bytes()


def test_all_classes_make_a_row_each(network: Path, tmp_path: Path) -> None:
    files = run(network, tmp_path, '--seeds', '4,5', '--classes')
    assert set(files) == {f'seed{seed:04d}_class{index:04d}.png' for seed in (4, 5) for index in range(3)} | {'grid.png'}
    grid = pixels(files['grid.png'])
    assert grid.shape == (48, 32, 3) and np.array_equal(grid[32:, 16:], pixels(files['seed0005_class0002.png']))


def test_views_move_the_camera_and_not_the_scene(network: Path, tmp_path: Path) -> None:
    def picture(name: str, *arguments: str) -> bytes:
        return run(network, tmp_path / name, '--seeds', '2', '--class', '0', *arguments)['seed0002.png'].read_bytes()

    front = picture('front')
    assert picture('zero', '--yaw', '0') == front != picture('right', '--yaw', '30')
    assert picture('up', '--pitch', '60') != front
    assert picture('conditioned', '--yaw', '30', '--cond-camera', 'view') != picture('right', '--yaw', '30')
    assert picture('fine', '--resolution', '12') != front


@pytest.mark.parametrize(
    ('path', 'video_format', 'condition'), [('orbit', 'mp4', 'front'), ('wiggle', 'webp', 'front'), ('orbit', 'gif', 'view')])
def test_videos_show_all_scenes(network: Path, tmp_path: Path, path: str, video_format: str, condition: str) -> None:
    arguments = ['--seeds', '0-2', '--batch', '2', '--depth', '--video', '--frames', '3', '--fps', '10']
    files = run(network, tmp_path, *arguments, '--path', path, '--format', video_format, '--cond-camera', condition)
    assert {f'{path}.{video_format}', f'{path}_depth.{video_format}', 'grid.png'} <= set(files)
    if video_format == 'mp4':
        assert imageio_ffmpeg.count_frames_and_secs(str(files['orbit.mp4']))[0] == 3
        return
    with Image.open(files[f'{path}.{video_format}']) as video:
        assert video.n_frames == 3 and video.size == (32, 32)


def test_learned_poses_are_those_of_the_generator(invents: Path, tmp_path: Path) -> None:
    files = run(invents, tmp_path / 'learned', '--seeds', '0-2', '--pose', 'learned')
    assert set(files) == {'seed0000.png', 'seed0001.png', 'seed0002.png', 'grid.png', 'poses.png'}
    generator, snapshot = load_generator(invents)
    z = latents(range(3), generator.z_dim)
    camera = own_cameras(generator, z, None, front_of(snapshot.cameras).camera())
    expected = to_pictures(sample(generator, z, None, camera).image)
    assert np.abs(pixels(files['seed0002.png']).astype(int) - expected[2]).max() <= 1
    law = run(invents, tmp_path / 'law', '--seeds', '0-2', '--view', 'law')
    assert law['grid.png'].read_bytes() == files['grid.png'].read_bytes() and 'poses.png' not in law


def test_read_poses_are_those_of_the_class(reads: Path, tmp_path: Path) -> None:
    """The picture from the learned pose is the picture from where its class was read; pitch 0.2 radians."""
    for name, yaw in (('car', -60.0), ('mug', 100.0)):
        learned = run(reads, tmp_path / name, '--seeds', '1,2', '--class', name, '--pose', 'learned')
        given = run(reads, tmp_path / f'{name}-given', '--seeds', '1,2', '--class', name, '--pose', f'{yaw},{math.degrees(0.2)}')
        assert np.abs(pixels(learned['grid.png']).astype(int) - pixels(given['grid.png'])).max() <= 1
        other = run(reads, tmp_path / f'{name}-other', '--seeds', '1,2', '--class', name, '--pose', f'{-yaw},{math.degrees(0.2)}')
        assert np.abs(pixels(learned['grid.png']).astype(int) - pixels(other['grid.png'])).max() > 1
    every_class = run(reads, tmp_path / 'all', '--seeds', '1', '--classes', '--pose', 'learned')
    assert pixels(every_class['poses.png']).shape == (480, 1120, 3)
    assert np.abs(pixels(every_class['poses.png']).astype(int) - pixels(learned['poses.png'])).max() > 100, 'one class is not all of them'


def test_an_orbit_shows_eight_directions_of_each_seed(network: Path, tmp_path: Path) -> None:
    files = run(network, tmp_path / 'orbit', '--seeds', '0-2', '--class', 'cat', '--pose', 'orbit', '--depth', '--batch', '2')
    orbit = pixels(files['orbit.png'])
    assert orbit.shape == (48, 128, 3) and pixels(files['orbit_depth.png']).shape == (24, 64, 3)
    front, side = (run(network, tmp_path / f'yaw{yaw}', '--seeds', '1', '--class', 'cat', '--pose', f'{yaw},12')['seed0001.png'] for yaw in (0, 135))
    assert np.abs(orbit[16:32, :16].astype(int) - pixels(front)).max() <= 1 and np.abs(orbit[16:32, 48:64].astype(int) - pixels(side)).max() <= 1
    assert np.abs(pixels(front).astype(int) - pixels(side)).max() > 1


def test_a_pose_in_one_word_is_yaw_and_pitch(network: Path, tmp_path: Path) -> None:
    one = run(network, tmp_path / 'one', '--seeds', '2', '--class', '0', '--pose', '-30,20')
    two = run(network, tmp_path / 'two', '--seeds', '2', '--class', '0', '--yaw', '-30', '--pitch', '20')
    assert one['seed0002.png'].read_bytes() == two['seed0002.png'].read_bytes()


def test_planes_are_made_once_per_seed(network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    original = Generator3D.planes
    monkeypatch.setattr(Generator3D, 'planes', lambda self, ws: made.append(len(ws)) or original(self, ws))
    arguments = ['--seeds', '0-2', '--batch', '2', '--video', '--format', 'webp', '--frames', '3']
    run(network, tmp_path, *arguments, '--shapes', 'ply', '--shape-res', '8')
    assert sum(made) == 3


def test_shapes_are_closed_meshes_in_world_units(plain_network: Path, tmp_path: Path) -> None:
    formats = ['--shapes', 'glb', '--shapes', 'ply', '--shapes', 'obj']
    files = run(plain_network, tmp_path, '--seeds', '0', *formats, '--shape-res', '16', '--largest')
    for suffix in ('glb', 'ply', 'obj'):
        # trimesh puts the colours of a mesh elsewhere when the mesh has a material, as a .glb has.
        options = {'skip_materials': True} if suffix == 'glb' else {}
        mesh = trimesh.load(files[f'seed0000.{suffix}'], force='mesh', process=False, **options)
        assert mesh.is_watertight and mesh.volume > 0 and np.abs(mesh.vertices).max() <= 0.5001
        assert len(mesh.visual.vertex_colors) == len(mesh.vertices)


@pytest.mark.parametrize(('arguments', 'error', 'message'), [
    (['--class', '1.7'], UsageError, "there is no class '1.7'; classes are the whole numbers 0 to 2 or their names"),
    (['--class', '99'], UsageError, '0 car, 1 cat, 2 cup'),
    (['--class', 'cot'], UsageError, 'Did you mean'),
    (['--class', '1', '--classes'], UsageError, 'one of the two'),
    (['--seeds', '0-8', '--grid', '2x2'], UsageError, '4 cells, but 9 scenes'),
    (['--grid', '2by2'], UsageError, 'COLUMNSxROWS'),
    (['--view', 'law', '--yaw', '10'], UsageError, '--view law'),
    (['--pose', 'learned'], UsageError, 'has found no cameras, it was trained under a law of cameras that was given. Use --view law'),
    (['--pose', 'left'], UsageError, "'learned', 'orbit' or YAW,PITCH in degrees such as 30,10; got 'left'"),
    (['--pose', '1,2,3'], UsageError, "got '1,2,3'"),
    (['--pose', '30,nan'], UsageError, 'pitch must be a finite number'),
    (['--pose', '30,10', '--yaw', '3'], UsageError, '--pose 30,10 says where to look from'),
    (['--pose', 'orbit', '--view', 'law'], UsageError, '--pose orbit says where to look from'),
    (['--yaw', 'inf'], UsageError, 'yaw must be a finite number'),
    (['--level', '-2'], UsageError, 'positive'),
    (['--trunc', 'nan'], UsageError, 'finite'),
    (['--seeds', '5-2'], UsageError, 'backwards'),
    (['--seeds', '0-99', '--video', '--format', 'gif'], UsageError, 'at most 64'),
    (['--device', 'abacus'], UsageError, '--device abacus cannot be used'),
    (['--shapes', 'ply', '--level', '1e9', '--shape-res', '8'], DataError, 'lower --level'),
])
def test_what_cannot_be_is_said(network: Path, tmp_path: Path, arguments: list[str], error: type[UnposedError], message: str) -> None:
    with pytest.raises(error) as caught:
        run(network, tmp_path, *arguments)
    assert message in str(caught.value)


def test_a_network_without_classes_refuses_them(plain_network: Path, tmp_path: Path) -> None:
    for arguments in (['--class', '0'], ['--classes']):
        with pytest.raises(UsageError, match='without classes'):
            run(plain_network, tmp_path, *arguments)


def test_foreign_and_missing_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / 'foreign.pkl').write_bytes(pickle.dumps({'G_ema': None}))
    with pytest.raises(DataError, match='Unpickling can run any program'):
        run(tmp_path / 'foreign.pkl', tmp_path / 'out')
    with pytest.raises(MissingInputError):
        run(tmp_path / 'missing.safetensors', tmp_path / 'out')


def test_the_program_speaks_in_exit_codes(tmp_path: Path) -> None:
    command = [sys.executable, 'gen_samples.py', '--network', str(tmp_path / 'none.safetensors')]
    finished = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert finished.returncode == 66 and finished.stderr.startswith('error: ') and 'Traceback' not in finished.stderr


def test_every_option_says_what_it_does() -> None:
    assert all(parameter.help for parameter in gen_samples.main.params)
    assert 'Usage' in CliRunner().invoke(gen_samples.main, ['--help']).output
