"""Models that learned without labels are looked at under their own law of cameras, and what they read of real pictures is written down."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from dnnlib import config as configs
from experiments.evaluation import Effort, Seen, look_at_runs
from experiments.experiment import Arm
from experiments.runs import Run
from experiments.side_by_side import Workers
from metrics.evidence import Counts, Evidence
from metrics.measurable import NotMeasurable
from metrics.suite import STATISTICS, Reference
from metrics.toy_subject import counted_from, toy_subject
from tests.experiments.tiny import TINY, tiny_readers
from tests.training.tiny import trainer_of
from torch_utils.distributed import World
from torch_utils.rng import Stream
from training.build import Built
from training.cameras.orbit import angles_of
from training.config import OPTIONS_FILE
from training.data.archive import open_dataset
from training.loop import Trainer
from training.presets import find_preset
from training.sampling import own_cameras
from training.snapshot import Snapshot, examples_of, load_discriminator, load_generator, save_snapshot

COUNTS = Counts(images=24, shapes=0, pairs=6, novel=0)
GREY = ('discriminator.pose.channels=4,4', 'discriminator.pose.hidden=8')
EXPERIMENT = replace(
    TINY, arms={'labels': Arm(''), 'read': Arm('', GREY, preset='demo-unposed'), 'invented': Arm('', preset='demo-pof3d')}, bars=()
)


@pytest.fixture(scope='module')
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Of each arm untrained weights, in the folder where training would have left them; the readings of one all say 60 degrees."""
    folder, found = tmp_path_factory.mktemp('runs'), {}
    for arm in EXPERIMENT.arms:
        run = found[arm] = Run(EXPERIMENT, arm, 0, folder)
        home = run.home / '00000-tiny'
        home.mkdir(parents=True)
        config = configs.override(find_preset(run.preset), [f'data.path={EXPERIMENT.data}', *run.settings])
        trainer, built = trainer_of(config, home, World())
        examples = _examples(trainer, built) if arm == 'read' else (built.example_cameras, None)
        snapshot = Snapshot(built.config, 0.8, built.class_names, built.config.cameras)
        networks = trainer.task.networks
        save_snapshot(home / 'network-snapshot-000000.safetensors', networks['generator'], networks['discriminator'], snapshot, *examples)
        (home / OPTIONS_FILE).write_text(json.dumps(configs.to_dict(built.config)))
    return found


def _examples(trainer: Trainer, built: Built) -> tuple[torch.Tensor, torch.Tensor | None]:
    rig = trainer.task.conditions.rig
    trainer.task.conditions.readings.add(rig.code(torch.full((50,), np.pi / 3), torch.full((50,), 0.2)), None)
    return examples_of(built.conditions, 0, torch.device('cpu'))


@pytest.fixture(scope='module')
def seen(runs: dict[str, Run]) -> dict[str, Evidence]:
    found, failed = look_at_runs(list(runs.values()), tiny_readers(), Effort(COUNTS, COUNTS), Workers(1))
    assert not failed
    return {arm: found[arm, 0].last for arm in runs}


def test_a_read_law_is_where_it_was_read(seen: dict[str, Evidence]) -> None:
    images = seen['read'].images
    assert images['asked_azimuth'] == pytest.approx(np.full(24, np.pi / 3), abs=1e-4)
    assert images['asked_elevation'] == pytest.approx(np.full(24, 0.2), abs=1e-4)
    assert seen['labels'].images['asked_azimuth'].std() > 0.3, 'those of the held-out labels'


def test_cameras_that_a_generator_invents_are_those_that_are_written_down(seen: dict[str, Evidence], runs: dict[str, Run]) -> None:
    generator, snapshot = load_generator(runs['invented'].home)
    stream = Stream(0, 0, 'evaluation', tuple(range(24)))
    invented = own_cameras(generator, stream.normal('z', 8), None, snapshot.cameras.sample(stream))
    azimuth, elevation, _ = angles_of(invented)
    assert seen['invented'].images['asked_azimuth'] == pytest.approx(azimuth.double().numpy(), abs=1e-4)
    assert seen['invented'].images['asked_elevation'] == pytest.approx(elevation.double().numpy(), abs=1e-4)
    assert seen['invented'].pairs['commanded_deg'].tolist() == [12, -12, 25, -25, 40, -40]


def test_readings_are_of_held_out_pictures(seen: dict[str, Evidence], runs: dict[str, Run]) -> None:
    held_out = open_dataset(EXPERIMENT.held_out)
    real = toy_subject('real', held_out.world, counted_from(0), held_out.resolution).sample(0, 24)
    for arm in ('read', 'invented'):
        discriminator, snapshot = load_discriminator(runs[arm].home)
        azimuth, _ = snapshot.config.discriminator.pose.rig.angles(discriminator.read_pose(real.image))
        readings = seen[arm].readings
        assert readings['read'] == pytest.approx(azimuth.double().numpy(), abs=1e-5)
        assert readings['true'] == pytest.approx(angles_of(real.camera)[0].double().numpy()) and set(readings['class']) == {0}
        assert 0 <= STATISTICS['reader_error'].of(seen[arm], Reference(seen['labels'])) <= 180
        assert Seen({0.8: seen[arm]}).last.absent.keys().isdisjoint({'readings'})
    with pytest.raises(NotMeasurable, match='reads no poses'):
        STATISTICS['reader_error'].of(seen['labels'], Reference(seen['labels']))
