"""Nothing that finds cameras is ever NaN: the game of learner and reader on every law, under steps far larger than any training takes."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.training.tiny import config_of, trainer_of
from torch_utils.distributed import World
from torch_utils.rng import Stream
from training.cameras.camera import Camera
from training.cameras.distributions import LAWS
from training.cameras.rays import rays
from training.cameras.rig import as_read, bounded, rig_of
from training.losses.pose import pose_error
from training.networks.pose import GreyReader, PoseLearner, PoseLearnerConfig, PoseReaderConfig, TrunkReader
from training.tasks.views import mirrored

SIDE, BATCH, W_DIM = 8, 8, 16


def picture(camera: Camera) -> Tensor:
    """[N, 3, SIDE, SIDE] in [-1, 1]: a smooth scene from every camera, differentiable in it."""
    seen = rays(camera, SIDE)
    return torch.sin(2 * (seen.origins + 0.9 * seen.origins.norm(dim=-1, keepdim=True) * seen.directions)).mT.unflatten(2, (SIDE, SIDE))


def play(law: str, seed: int, steps: int, learning_rate: float) -> None:
    """The learner invents cameras and agrees with both readers; the readers read pictures from there; all of it is looked at."""
    rig = rig_of(LAWS[law]())
    with torch.random.fork_rng():
        torch.random.manual_seed(seed)
        learner = PoseLearner(W_DIM, PoseLearnerConfig(lr_multiplier=1.0, spread=2.0, radius_range=0.5, target_range=0.2, rig=rig))
        reading = PoseReaderConfig(hidden=16, channels=(4, 6), rig=rig)
        trunk, grey = TrunkReader(3 * SIDE**2, reading), GreyReader(SIDE, reading)
    parameters = [*learner.parameters(), *trunk.parameters(), *grey.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=learning_rate, betas=(0.0, 0.99), fused=True)
    for step in range(steps):
        stream = Stream(seed, step, 'G', tuple(range(BATCH)))
        code = learner(stream.normal('w', W_DIM))
        camera = learner.camera(code)
        other = mirrored(camera, 'PoF3D_2023', stream)
        image = picture(camera)
        loss = torch.zeros(())
        for read in (trunk(image.flatten(1)), grey(image, stream)):
            loss = loss + pose_error(read, code.detach()).mean() + pose_error(as_read(read).detach(), code).mean()
        # The law's own cameras are read, too, and their codes followed back.
        drawn = LAWS[law]().sample(stream)
        again = rig.camera(rig.code_of(drawn))
        optimiser.zero_grad()
        loss.backward()
        for what in (loss, code, rig.code_of(other), again.world_from_camera, *(t for c in (camera, other) for t in (c.world_from_camera, c.intrinsics))):
            assert what.isfinite().all(), (law, seed, step)
        assert torch.stack(torch._foreach_norm([p.grad for p in parameters])).isfinite().all(), (law, seed, step)
        camera.detach().checked()
        assert code.abs().max() <= 1 + 1e-6
        optimiser.step()


@pytest.mark.parametrize('law', LAWS)
@pytest.mark.parametrize('seed', range(3))
def test_learner_and_readers(law: str, seed: int) -> None:
    play(law, seed, steps=30, learning_rate=0.1)


@pytest.mark.slow
@pytest.mark.parametrize('law', LAWS)
@pytest.mark.parametrize('seed', range(20))
def test_learner_and_readers_for_long(law: str, seed: int) -> None:
    play(law, seed, steps=2000, learning_rate=0.01)


@pytest.mark.slow
@pytest.mark.parametrize('way', ['poses learned', 'poses read'])
def test_the_whole_task_for_a_while(tmp_path: Path, way: str) -> None:
    """Gradients that are not finite stop the trainer by themselves; losses and poses are looked at here."""
    for seed in range(3):
        trainer, _ = trainer_of(config_of(way, f'loop.seed={seed}'), tmp_path, World())
        for _ in range(150):
            trainer.iterate()
        summary = trainer.statistics.reduce(World())
        assert all(torch.isfinite(torch.tensor([values['mean'], values['std']])).all() for values in summary.values())


@pytest.mark.parametrize('numbers', [[0.0, 0.0, 0.0], [1e-30, -1e-30, 0.0], [1e18, 1e18, 1e18], [0.0, -1e-8, -1e4]])
def test_numbers_without_a_direction(numbers: list[float]) -> None:
    free = torch.tensor([numbers], requires_grad=True)
    code = bounded(free)
    camera = rig_of(LAWS['sphere']()).camera(code)
    (camera.world_from_camera.sum() + code.sum()).backward()
    assert code.isfinite().all() and camera.world_from_camera.isfinite().all() and free.grad.isfinite().all()
