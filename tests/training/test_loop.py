"""Exactness of training: a resumed run is the same run, two half batches are one, and a NaN stops it before a weight is touched."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from dnnlib.errors import NumericalError, UsageError
from tests.training.tiny import full_config, tiny_config, trainer_of
from torch_utils import checkpoint
from torch_utils.distributed import World
from torch_utils.gradients import Watch
from torch_utils.interrupt import StopRequest
from training.loop import Hook, Trainer


def tensors_of(parts: object, prefix: str = '') -> dict[str, torch.Tensor]:
    """Every tensor of nested state, by its path."""
    if isinstance(parts, torch.Tensor):
        return {prefix: parts}
    items = parts.items() if isinstance(parts, dict) else enumerate(parts) if isinstance(parts, (list, tuple)) else ()
    return {name: tensor for key, value in items for name, tensor in tensors_of(value, f'{prefix}/{key}').items()}


def assert_same_state(left: Trainer, right: Trainer, exact: bool = True) -> None:
    ours, theirs = tensors_of(left.parts()), tensors_of(right.parts())
    assert ours.keys() == theirs.keys() and len(ours) > 50
    for name in ours:
        if exact:
            assert torch.equal(ours[name], theirs[name]), name
        else:
            torch.testing.assert_close(ours[name], theirs[name], rtol=2e-4, atol=2e-5, msg=lambda message, name=name: f'{name}: {message}')
    assert left.task.state_dict() == right.task.state_dict() or not exact


FULL = (
    'ada.mode=ada', 'ada.initial=0.3', 'ada.interval=2', 'data.mirror=true', 'gan.style_mixing_probability=0.5',
    'generator.conditions_on_camera=true', 'gan.blur_fade_kimg=1', 'gan.blur_sigma_px=2',
)  # fmt: skip


@pytest.mark.parametrize('settings', [(), FULL], ids=['plain', 'everything'])
def test_resume_is_bit_identical(tmp_path: Path, settings: tuple[str, ...]) -> None:
    config = tiny_config(*settings)
    whole, _ = trainer_of(config, tmp_path / 'whole', World())
    for _ in range(6):
        whole.iterate()

    (tmp_path / 'part').mkdir()
    first, _ = trainer_of(config, tmp_path / 'part', World())
    for _ in range(3):
        first.iterate()
    first.save()
    second, _ = trainer_of(config, tmp_path / 'part', World())
    second.resume(checkpoint.newest_state(tmp_path / 'part'))
    for _ in range(3):
        second.iterate()
    assert second.nimg == whole.nimg == 48
    assert_same_state(whole, second)


def test_another_seed_is_another_run(tmp_path: Path) -> None:
    trainers = [trainer_of(tiny_config(f'loop.seed={seed}'), tmp_path, World())[0] for seed in (0, 0, 1)]
    for trainer in trainers:
        trainer.iterate()
    assert_same_state(trainers[0], trainers[1])
    weights = [torch.cat([parameter.flatten() for parameter in trainer.task.generator.parameters()]) for trainer in trainers]
    assert not torch.equal(weights[0], weights[2])


def test_accumulated_gradients_are_the_whole_batch(tmp_path: Path) -> None:
    """Minibatch-std groups are consecutive and of four, so micro-batches of four see the same groups."""
    whole, _ = trainer_of(tiny_config('discriminator.mbstd_group=4'), tmp_path, World())
    parts, _ = trainer_of(tiny_config('discriminator.mbstd_group=4', 'loop.batch_gpu=4'), tmp_path, World())
    for _ in range(3):
        whole.iterate()
        parts.iterate()
    assert_same_state(whole, parts, exact=False)


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path: Path) -> None:
    config = tiny_config().loop
    with pytest.raises(UsageError, match='multiple of 3'):
        config.rows_per_device(World(rank=0, size=3))
    with pytest.raises(UsageError, match='does not divide'):
        replace(config, batch_gpu=3).rows_per_device(World())


@pytest.mark.parametrize('late', [False, True], ids=['at once', 'a step late'])
def test_a_gradient_that_is_not_finite_never_reaches_a_weight(tmp_path: Path, late: bool) -> None:
    trainer, _ = trainer_of(tiny_config('ada.mode=noaug'), tmp_path, World())
    trainer.watch = Watch(late)
    trainer.iterate()
    before = tensors_of({'network': trainer.task.discriminator.state_dict(), 'moments': trainer.optimisers['discriminator'].state_dict()})
    before = {name: tensor.clone() for name, tensor in before.items()}
    batch = trainer.loader.batch
    trainer.loader.batch = lambda nimg, rows: replace(batch(nimg, rows), images=batch(nimg, rows).images.index_fill(0, torch.tensor([1]), torch.nan))
    if late:
        trainer.iterate()
    else:
        with pytest.raises(NumericalError, match="phase 'D'"):
            trainer.iterate()
    after = tensors_of({'network': trainer.task.discriminator.state_dict(), 'moments': trainer.optimisers['discriminator'].state_dict()})
    for name, tensor in after.items():
        assert torch.equal(tensor, before[name]), name
    if late:
        with pytest.raises(NumericalError, match="Step 1, phase 'D'"):
            trainer.save()
        assert checkpoint.newest_state(tmp_path) is None


class Recorder(Hook):
    """A hook that notes when it was called."""

    def __init__(self) -> None:
        self.ticks: list[int] = []
        self.snapshots: list[int] = []

    def at_tick(self, trainer, tick) -> None:
        self.ticks.append(trainer.nimg)
        assert tick.statistics['Loss/G/loss']['num'] == tick.images

    def at_snapshot(self, trainer) -> None:
        self.snapshots.append(trainer.nimg)


def test_ticks_snapshots_and_the_end(tmp_path: Path) -> None:
    trainer, _ = trainer_of(tiny_config('loop.kimg=0.072'), tmp_path, World())
    recorder = Recorder()
    trainer.run([recorder], StopRequest())
    assert recorder.ticks == [16, 32, 48, 64, 72]
    assert recorder.snapshots == [32, 64, 72]
    assert checkpoint.newest_state(tmp_path).name == 'training-state-000000072.pt'
    assert len(list(tmp_path.glob('training-state-*.pt'))) == trainer.config.keep_states


def test_a_request_to_stop_saves_where_it_is(tmp_path: Path) -> None:
    trainer, _ = trainer_of(tiny_config(), tmp_path, World())
    stop, recorder = StopRequest(), Recorder()
    stop.requested = True
    trainer.run([recorder], stop)
    assert trainer.nimg == 8 and recorder.snapshots == []
    assert checkpoint.newest_state(tmp_path).name == 'training-state-000000008.pt'


BF16 = ('gan.precision_discriminator=bf16', 'gan.precision_backbone=bf16', 'generator.superres.precision=bf16')


@pytest.mark.parametrize('settings', [(), BF16,
                                      ('gan.r1_at=EG3D_2022', 'gan.density_region=EG3D_2022')], ids=['fp32', 'bf16', 'published'])
def test_the_whole_of_eg3d_trains(tmp_path: Path, settings: tuple[str, ...]) -> None:
    trainer, _ = trainer_of(full_config(*settings), tmp_path, World())
    before = {name: parameter.detach().clone() for name, parameter in trainer.task.generator.named_parameters()}
    for _ in range(4):
        trainer.iterate()
    still = [name for name, parameter in trainer.task.generator.named_parameters() if torch.equal(parameter, before[name])]
    assert not still, 'the optimiser never reached these'
    summary = trainer.statistics.reduce(World())
    assert all(torch.isfinite(torch.tensor(values['mean'])) for values in summary.values())
    assert summary['Loss/r1_penalty']['mean'] > 0 and summary['Loss/G/density']['num'] == 16
    assert trainer.task.showing.resolution(trainer.nimg) == 16, 'the render resolution has reached the end of its schedule'


def test_sixteen_bits_stay_close_to_thirty_two(tmp_path: Path) -> None:
    """Gradients of both networks point the same way in the first step, R1 included, and the losses of a few steps are nearly the same."""
    trainers = [trainer_of(full_config(*settings), tmp_path, World())[0] for settings in ((), BF16)]
    for trainer in trainers:
        trainer.iterate()
    for name in ('generator', 'discriminator'):
        exact, rounded = (
            torch.cat([parameter.grad.flatten() for parameter in trainer.task.networks[name].parameters()]) for trainer in trainers
        )
        assert 0.98 < F.cosine_similarity(exact, rounded, dim=0) < 1 - 1e-9, f'{name}: too far apart, or nothing was computed in 16 bits'
    assert_nearly_the_same(*trainers, ('Loss/G/loss', 'Loss/D/loss', 'Loss/r1_penalty', 'Loss/G/density'), rel=0.06)
    for trainer in trainers:
        for _ in range(3):
            trainer.iterate()
    # By now the weights differ: Adam's first steps have one length whatever the gradient, and where it is nearly zero rounding gives the sign.
    assert_nearly_the_same(*trainers, ('Loss/G/loss', 'Loss/D/loss'), rel=0.03)


def assert_nearly_the_same(left: Trainer, right: Trainer, names: tuple[str, ...], rel: float) -> None:
    ours, theirs = (trainer.statistics.reduce(World()) for trainer in (left, right))
    for name in names:
        assert ours[name]['mean'] == pytest.approx(theirs[name]['mean'], rel=rel), name
