"""Weights files: the law that was read travels with them, older files still load, and damaged ones say so."""

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from safetensors import safe_open

from dnnlib.errors import DataError, MissingInputError
from tests.training.tiny import config_of, full_config, tiny_config, trainer_of
from torch_utils.distributed import World
from torch_utils.interrupt import StopRequest
from torch_utils.rng import Stream
from training.build import Built, build
from training.cameras.camera import Camera
from training.cameras.convention import to_eg3d
from training.cameras.distributions import UniformBand
from training.cameras.orbit import angles_of
from training.data.archive import open_dataset
from training.hooks import Pictures, Weights, averaged_generator
from training.snapshot import (
    LEAST_OF_A_CLASS,
    READ_CAMERAS,
    Snapshot,
    conditions_of,
    examples_of,
    find_snapshot,
    finds_cameras,
    load_generator,
    save_snapshot,
)
from training.tasks.conditions import DrawnConditions, LabelledConditions
from training.tasks.readings import ReadConditions

CPU = torch.device('cpu')
YAWS_DEG = (-60.0, 100.0)  # at which the two classes of the tiny set are read


def read_law() -> Built:
    """A run whose readings know one direction for each of two classes."""
    built = build(config_of('poses read'))
    conditions = built.conditions
    assert isinstance(conditions, ReadConditions)
    yaw = torch.deg2rad(torch.tensor(YAWS_DEG)).repeat_interleave(30)
    conditions.readings.add(conditions.rig.code(yaw, torch.full_like(yaw, 0.2)), torch.tensor([0, 1]).repeat_interleave(30))
    return built


def written(built: Built, path: Path) -> Path:
    examples = examples_of(built.conditions, built.config.generator.num_classes, CPU)
    save_snapshot(
        path, built.task.generator, built.task.discriminator, Snapshot(built.config, 1.0, built.class_names, built.config.cameras), *examples
    )
    return path


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return written(read_law(), tmp_path / 'network-snapshot-000001.safetensors')


def yaws_deg(camera: Camera) -> torch.Tensor:
    return torch.rad2deg(angles_of(camera)[0])


def rewritten(path: Path, header: dict | None = None, **tensors: torch.Tensor | None) -> Path:
    """The file with other tensors (None: without) and changed parts of its header."""
    with safe_open(path, 'pt') as file:
        metadata, content = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    (key,) = metadata
    content = {name: tensor for name, tensor in (content | tensors).items() if tensor is not None}
    safetensors.torch.save_file(content, path, {key: json.dumps(json.loads(metadata[key]) | (header or {}))})
    return path


def test_a_read_law_travels_with_the_weights(weights: Path) -> None:
    _, snapshot = load_generator(weights)
    assert isinstance(snapshot.cameras, Camera) and len(snapshot.cameras) == READ_CAMERAS
    assert snapshot.camera_classes.bincount().tolist() == [READ_CAMERAS // 2] * 2
    for number, yaw in enumerate(YAWS_DEG):
        assert torch.allclose(yaws_deg(snapshot.cameras[snapshot.camera_classes == number]), torch.tensor(yaw), atol=1e-3)


def test_conditions_of_a_file_are_the_data_s_classes_and_the_class_s_cameras(weights: Path) -> None:
    _, snapshot = load_generator(weights)
    dataset = open_dataset(snapshot.config.data.path)
    conditions = conditions_of(snapshot, dataset)
    asked = conditions.sample(Stream(0, 0, 'test', tuple(range(400))), CPU)
    assert abs(float(asked.classes.double().mean()) - dataset.classes().mean()) < 0.1
    assert torch.allclose(yaws_deg(asked.camera), torch.tensor(YAWS_DEG)[asked.classes], atol=1e-3)
    more = conditions.cameras(torch.tensor([1, 0, 1]), Stream(0, 0, 'test', (0, 1, 2)), CPU)
    assert yaws_deg(more).round().tolist() == [100, -60, 100]


def test_the_number_that_chose_the_class_does_not_choose_the_camera() -> None:
    """Of two classes with cameras all around, each class is seen from all sides."""
    built = build(config_of('poses read'))  # nothing is read yet: the wide law
    cameras, classes = examples_of(built.conditions, 2, CPU)
    snapshot = Snapshot(built.config, 0.0, built.class_names, Camera(cameras[:, :16].unflatten(1, (4, 4)), cameras[:, 16:].unflatten(1, (3, 3))), classes)
    asked = conditions_of(snapshot, built.dataset).sample(Stream(0, 0, 'test', tuple(range(600))), CPU)
    for number in (0, 1):
        yaw = yaws_deg(asked.camera[asked.classes == number])
        assert torch.histc(yaw, 6, -180, 180).min() > 20


def test_every_class_has_examples() -> None:
    law = DrawnConditions(None, UniformBand())
    cameras, classes = examples_of(law, 100, CPU)
    assert len(cameras) == len(classes) == 100 * LEAST_OF_A_CLASS and set(classes.bincount().tolist()) == {LEAST_OF_A_CLASS}
    cameras, classes = examples_of(law, 0, CPU)
    assert len(cameras) == READ_CAMERAS and classes is None


def test_a_file_without_the_examples_has_the_law_that_was_explored(weights: Path) -> None:
    _, snapshot = load_generator(rewritten(weights, cameras=None, camera_classes=None))
    assert snapshot.cameras == snapshot.config.cameras and snapshot.camera_classes is None
    asked = conditions_of(snapshot, open_dataset(snapshot.config.data.path)).sample(Stream(0, 0, 'test', tuple(range(200))), CPU)
    assert torch.histc(yaws_deg(asked.camera), 6, -180, 180).min() > 10


def test_examples_of_labelled_cameras_are_taken_from_the_whole_set(tmp_path: Path) -> None:
    """A set that is sorted, say by class, has other cameras at its end."""
    built = build(full_config())
    labels = torch.arange(1000.0)[:, None].expand(1000, 25)
    path = tmp_path / 'network-snapshot-000001.safetensors'
    save_snapshot(path, built.task.generator, built.task.discriminator, Snapshot(built.config, 1.0, (), None), labels)
    kept = safetensors.torch.load_file(path)['cameras'][:, 0]
    assert len(kept) == 256 and kept[0] == 0 and kept[-1] == 999 and kept.diff().max() <= 5


def test_a_folder_of_runs_means_its_newest_weights_and_says_what_has_none(tmp_path: Path, caplog) -> None:
    for name in ('00001-a/network-snapshot-000004', '00001-a/network-snapshot-000012', '00000-b/network-snapshot-000020', '00002-c/log'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f'{name}.safetensors').touch()
    newest = tmp_path / '00001-a/network-snapshot-000012.safetensors'
    assert find_snapshot(tmp_path) == newest
    assert '00002-c has no weights yet' in caplog.text and '00000-b' not in caplog.text
    caplog.clear()
    assert find_snapshot(tmp_path / '00001-a') == newest and not caplog.text
    with pytest.raises(MissingInputError, match='first snapshot'):
        find_snapshot(tmp_path / '00002-c')


def test_a_file_casts_as_many_rays_as_its_model_was_trained_with(tmp_path: Path) -> None:
    trainer, built = trainer_of(full_config('loop.kimg=0.032'), tmp_path, World())
    assert averaged_generator(trainer).config.render_resolution == 8
    trainer.run([Weights(tmp_path, built)], StopRequest())
    generator, snapshot = load_generator(tmp_path)
    assert snapshot.config.generator.render_resolution == 16 == snapshot.config.gan.render_resolution_final
    shown = averaged_generator(trainer)
    z, classes = torch.randn(2, 8), torch.tensor([0, 1])
    camera = built.conditions.cameras(classes, Stream(0, 0, 'test', (0, 1)), CPU)
    ours, trained = generator(z, classes, camera), shown.eval()(z, classes, camera)
    assert ours.image_raw.shape == (2, 3, 16, 16) == trained.image_raw.shape
    assert torch.equal(ours.image, trained.image)
    assert not torch.equal(generator(z, classes, camera, resolution=8).image, ours.image)


def test_a_file_from_before_a_setting_has_its_default(tmp_path: Path) -> None:
    built = build(tiny_config())
    path = tmp_path / 'network-snapshot-000001.safetensors'
    save_snapshot(path, built.task.generator, built.task.discriminator, Snapshot(built.config, 1.0, (), None), built.example_cameras)
    with safe_open(path, 'pt') as file:
        config = json.loads(next(iter(file.metadata().values())))['config']
    del config['reading'], config['generator']['pose'], config['generator']['rendering']['far_at_start'], config['gan']['views']
    _, snapshot = load_generator(rewritten(path, {'config': config}))
    assert snapshot.config == built.config


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        ({'cameras': torch.zeros(4, 16)}, "'cameras' should hold 25 numbers"),
        ({'cameras': torch.zeros(0, 25)}, "'cameras' should hold 25 numbers"),
        ({'camera_classes': None}, "'camera_classes' should be the class of each of 1024 cameras; found nothing"),
        ({'camera_classes': torch.zeros(1024)}, 'found torch.float32'),
        ({'camera_classes': torch.zeros(7, dtype=torch.int64)}, r'found torch.int64 \[7\]'),
        ({'camera_classes': torch.full((1024,), 2)}, 'each of its 2 classes and no other'),
    ],
)
def test_damaged_examples_are_refused(weights: Path, changes: dict[str, torch.Tensor | None], said: str) -> None:
    with pytest.raises(DataError, match=said):
        load_generator(rewritten(weights, **changes))


def test_conditions_of_other_files_are_those_of_training(tmp_path: Path) -> None:
    for config, kind in ((tiny_config(), LabelledConditions), (config_of('poses learned'), DrawnConditions)):
        built = build(config)
        cameras = from_labels(built) if config.cameras is None else config.cameras
        assert isinstance(conditions_of(Snapshot(built.config, 0.0, (), cameras), built.dataset), kind)
    assert [finds_cameras(config) for config in (full_config(), config_of('poses learned'), config_of('poses read'))] == [False, True, True]


def from_labels(built: Built) -> Camera:
    return built.conditions.cameras(None, Stream(0, 0, 'test', (0, 1)), CPU)


@pytest.mark.parametrize('way', ['poses learned', 'poses read'])
def test_a_run_that_finds_cameras_writes_them_down(tmp_path: Path, way: str) -> None:
    trainer, built = trainer_of(config_of(way, 'loop.kimg=0.032'), tmp_path, World())
    trainer.run([Pictures(tmp_path, built), Weights(tmp_path, built)], StopRequest())
    assert {'poses000000.png', 'fakes000000.png', 'fakes_init.png'} <= {path.name for path in tmp_path.iterdir()}
    _, snapshot = load_generator(tmp_path)
    assert isinstance(snapshot.cameras, Camera if way == 'poses read' else UniformBand)
    if way == 'poses read':
        kept = examples_of(built.conditions, 2, CPU)[0]
        assert torch.equal(to_eg3d(snapshot.cameras), kept)
