"""Every arm of the catalogue learns: its networks at their real size, two iterations with every term due, on few pictures."""

from pathlib import Path

import pytest
import torch

from dnnlib import config as configs
from experiments.catalogue import EXPERIMENTS
from experiments.runs import Run
from tests.training.tiny import trainer_of
from torch_utils.distributed import World
from training.build import build
from training.config import TrainingConfig
from training.presets import find_preset

SMALL = ('loop.batch=4', 'gan.r1_every=1', 'gan.mirror_every=1', 'generator.rendering.samples_coarse=4')
ARMS = [(experiment.name, arm) for experiment in EXPERIMENTS.values() for arm in experiment.arms]


def config_of(name: str, arm: str, *settings: str) -> TrainingConfig:
    experiment = EXPERIMENTS[name]
    run = Run(experiment, arm, 0, Path())
    wanted = [f'data.path={experiment.data}', *run.settings]
    return configs.override(find_preset(run.preset), [setting.replace('count=10000', 'count=40') for setting in wanted] + [*settings])


@pytest.mark.parametrize(('name', 'arm'), ARMS)
def test_two_iterations(name: str, arm: str, tmp_path: Path) -> None:
    trainer, _ = trainer_of(config_of(name, arm, *SMALL), tmp_path, World())
    before = [parameter.clone() for network in trainer.task.networks.values() for parameter in network.parameters()]
    for _ in range(2):
        trainer.iterate()
    after = [parameter for network in trainer.task.networks.values() for parameter in network.parameters()]
    assert trainer.nimg == 8 and all(torch.isfinite(parameter).all() for parameter in after)
    assert sum(not torch.equal(old, new) for old, new in zip(before, after, strict=True)) > 0.9 * len(after)


def weights(name: str, arm: str) -> tuple[int, int]:
    """Of generator and discriminator."""
    networks = build(config_of(name, arm)).task.networks
    return tuple(sum(p.numel() for p in networks[part].parameters()) for part in ('generator', 'discriminator'))


def test_a_larger_discriminator_is_as_much_larger_as_the_generator_of_the_preset_is() -> None:
    (generator, discriminator), (small, same), (smallest, larger) = (weights(name, arm) for name, arm in (('E3', 'A'), ('E3', 'E'), ('E3x', 'L')))
    assert discriminator == same and small == smallest
    assert larger - discriminator == pytest.approx(generator - small, rel=0.05)


def test_the_laws_of_cameras_that_arms_are_given() -> None:
    narrow, true, learned = (build(config_of('E2', arm)) for arm in 'CDA')
    law = narrow.config.cameras
    assert narrow.config.generator.pose is narrow.config.discriminator.pose is None
    for low, high, spread in ((law.yaw_min_deg, law.yaw_max_deg, 18), (law.pitch_min_deg, law.pitch_max_deg, 6)):
        assert (high - low) / 12**0.5 == pytest.approx(spread, rel=0.01), 'the standard deviation of a uniform law'
    assert (law.pitch_min_deg + law.pitch_max_deg) / 2 == 12 and law.yaw_min_deg == -law.yaw_max_deg
    assert true.config.cameras is None and not true.config.discriminator.conditions_on_camera
    assert sorted(map(tuple, true.example_cameras.tolist())) == sorted(tuple(true.dataset.world.camera25(i).tolist()) for i in range(40))
    assert learned.config.generator.pose is not None
