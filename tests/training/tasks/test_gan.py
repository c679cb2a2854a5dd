"""The one task in all its ways: exact under splits and interruptions, and every loss moves what it is meant to move."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.training.tiny import WAYS, config_of, full_config, trainer_of
from torch_utils import checkpoint
from torch_utils.distributed import World
from torch_utils.rng import Stream
from training.config import TrainingConfig
from training.loop import Trainer
from training.networks.discriminator import Discriminator, Judgement, minibatch_deviation
from training.task import Moment
from training.tasks.gan import GanTask
from training.tasks.gan_config import GanConfig
from training.tasks.showing import Showing

STILL = ('generator_optimiser.learning_rate=0', 'discriminator_optimiser.learning_rate=0')  # gradients of several steps at the same weights
every_way = pytest.mark.parametrize('way', WAYS)


def tensors_of(parts: object, path: str = '') -> Iterator[tuple[str, object]]:
    """Every leaf of nested state, by its path."""
    items = parts.items() if isinstance(parts, dict) else enumerate(parts) if isinstance(parts, (list, tuple)) else None
    if items is None:
        yield path, parts
        return
    for key, value in items:
        yield from tensors_of(value, f'{path}/{key}')


def gradients_of(trainer: Trainer) -> dict[str, Tensor]:
    """Of the last step of every network, by name; those that there are."""
    return {
        f'{name}.{part}': parameter.grad.clone()
        for name, network in trainer.task.networks.items()
        for part, parameter in network.named_parameters()
        if parameter.grad is not None
    }


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor], where: str) -> None:
    """Up to the order of summation, against the largest entry of each tensor."""
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        error = (found[name] - tensor).abs().max()
        assert error <= 2e-4 * tensor.abs().max() + 1e-6, f'{where}, {name}: {error:.1e} beside {tensor.abs().max():.1e}'


@every_way
def test_two_half_batches_are_one_batch(tmp_path: Path, way: str) -> None:
    """A half batch of four is a whole number of groups of the minibatch deviation, whatever the number and the order of views."""
    whole, halves = (trainer_of(config_of(way, *STILL, *more), tmp_path, World())[0] for more in ((), ('loop.batch_gpu=4',)))
    for step in range(3):
        whole.iterate()
        halves.iterate()
        expected = gradients_of(whole)
        assert sum(bool(tensor.any()) for tensor in expected.values()) > 30
        assert_close(gradients_of(halves), expected, f'step {step}')
    if way == 'poses read':
        found, expected = (trainer.task.conditions.readings for trainer in (halves, whole))
        assert torch.equal(found.written, expected.written) and int(found.written.sum()) == 24
        torch.testing.assert_close(found.codes, expected.codes, rtol=1e-4, atol=1e-5)


@every_way
def test_an_interrupted_run_is_the_uninterrupted_one(tmp_path: Path, way: str) -> None:
    config = config_of(way)
    whole, _ = trainer_of(config, tmp_path, World())
    first, _ = trainer_of(config, tmp_path, World())
    for step in range(6):
        whole.iterate()
        if step < 3:
            first.iterate()
    first.save()
    second, _ = trainer_of(config, tmp_path, World())
    second.resume(checkpoint.newest_state(tmp_path))
    for _ in range(3):
        second.iterate()
    ours, theirs = (dict(tensors_of(trainer.parts())) for trainer in (second, whole))
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        if isinstance(value, Tensor):
            assert torch.equal(ours[name], value), name
        elif name != '/progress/seconds':
            assert ours[name] == value, name
    if way == 'poses read':
        assert int(theirs['/task/readings/written'].sum()) == 48


class Ear:
    """Stands where `discriminator.judge` stood and notes the rows of every call with a stream."""

    def __init__(self, discriminator: Discriminator) -> None:
        self.judge = discriminator.judge
        self.calls: list[tuple[str, tuple[int, ...]]] = []
        discriminator.judge = self

    def __call__(self, *arguments: object) -> Judgement:
        stream = arguments[-1]
        assert isinstance(stream, Stream)
        self.calls.append((stream.phase, stream.rows))
        return self.judge(*arguments)


def groups(rows: int) -> list[list[int]]:
    """Who shares a group of the minibatch deviation: changing one row changes the numbers of its group."""
    x = torch.randn(rows, 1, 1, 1)
    before = minibatch_deviation(x, 4, 'consecutive')
    return [
        (minibatch_deviation(x.index_add(0, torch.tensor([row]), torch.ones(1, 1, 1, 1) * 9), 4, 'consecutive') != before).flatten().nonzero().flatten().tolist()
        for row in range(rows)
    ]


@pytest.mark.parametrize('way, separates', [('views apart', True), ('views together', False)])
@pytest.mark.parametrize('batch_gpu', [4, 8])
def test_views_of_a_scene_meet_in_a_group_only_where_they_are_together(tmp_path: Path, way: str, separates: bool, batch_gpu: int) -> None:
    trainer, _ = trainer_of(config_of(way, f'loop.batch_gpu={batch_gpu}'), tmp_path, World())
    ear = Ear(trainer.task.discriminator)
    trainer.iterate()
    of_fakes = [rows for phase, rows in ear.calls if phase in ('G', 'D')]
    assert len(of_fakes) == 2 * (8 // batch_gpu)
    for rows in of_fakes:
        scenes = [row // 2 for row in rows]
        assert len(rows) == 2 * batch_gpu and sorted(scenes) == sorted([*set(scenes)] * 2)
        shared = [len({scenes[i] for i in group}) < len(group) for group in groups(len(rows))]
        assert not any(shared) if separates else all(shared)


@pytest.mark.parametrize(
    'way, of_generator, of_discriminator',
    [('views apart', 16, 16), ('one of two views for the discriminator', 16, 8), ('views jointly', 16, 16), ('poses learned', 16, 16)],
)
def test_how_many_pictures_are_judged(tmp_path: Path, way: str, of_generator: int, of_discriminator: int) -> None:
    trainer, _ = trainer_of(config_of(way), tmp_path, World())
    ear = Ear(trainer.task.discriminator)
    trainer.iterate()
    assert [(phase, len(rows)) for phase, rows in ear.calls] == [('G', of_generator), ('D', of_discriminator), ('D/real', 8)]


@every_way
def test_the_average_over_views_is_what_a_scene_costs(tmp_path: Path, way: str) -> None:
    """One term per scene and phase part, whatever the number of views: the loop divides by the batch."""
    trainer, _ = trainer_of(config_of(way), tmp_path, World())
    for phase in trainer.task.phases:
        rows = tuple(range(8))
        batch = trainer.loader.batch(0, rows)
        for terms in trainer.task.terms(phase, batch, trainer._moment(phase.name, rows)):
            assert terms.shape == (8,) and terms.isfinite().all()


@pytest.mark.parametrize('shares', [False, True])
def test_shared_pictures_are_the_generators_and_shown_anew(tmp_path: Path, shares: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, _ = trainer_of(config_of('views apart', f'gan.shares_fakes={str(shares).lower()}', 'ada.mode=fixed', 'ada.initial=1'), tmp_path, World())
    show, render, given, shown, rendered = trainer.task.showing, trainer.task.generator.render, [], [], []

    def note(image: Tensor, raw: Tensor | None, nimg: int, stream: Stream, *, is_real: bool) -> tuple[Tensor, Tensor | None]:
        out = show(image, raw, nimg, stream, is_real=is_real)
        if not is_real:
            given.append(image.detach().clone())
            shown.append(out[0].detach().clone())
        return out

    note.raw_of_fake, note.raw_of_real, note.resolution = show.raw_of_fake, show.raw_of_real, show.resolution
    monkeypatch.setattr(trainer.task, 'showing', note)
    monkeypatch.setattr(trainer.task.generator, 'render', lambda *args, **options: rendered.append(1) or render(*args, **options))
    trainer.iterate()
    of_generator, of_discriminator = (given[:2], given[2:])
    assert len(given) == 4 and len(rendered) == (2 if shares else 4)
    assert all(torch.equal(a, b) == shares for a, b in zip(of_generator, of_discriminator, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(shown[:2], shown[2:], strict=True)), 'augmented anew'


@pytest.mark.parametrize('way', ['views apart', 'views jointly'])
def test_penalties_are_means_over_answers(tmp_path: Path, way: str) -> None:
    """Of an answer about several pictures the penalty is that of all of them, weighed as its loss is."""
    trainer, _ = trainer_of(config_of(way, 'discriminator.mbstd_group=1', 'gan.loss=relativistic', 'gan.r2_gamma=0.5', 'gan.blur_fade_kimg=0'), tmp_path, World())
    task, rows, reported = trainer.task, tuple(range(8)), {}
    batch = trainer.loader.batch(0, rows)
    moment = Moment(0, 0, Stream(0, 0, 'D', rows), lambda name, values: reported.update({name: values}))
    judge, calls = task.discriminator.judge, []

    def noted(image: Tensor, raw: None, classes: Tensor, *rest: object) -> Judgement:
        calls.append((image.detach().clone().requires_grad_(), raw, classes))
        return judge(image, raw, classes, *rest)

    task.discriminator.judge = noted
    list(task.terms(next(p for p in task.phases if p.name == 'D'), batch, moment))
    task.discriminator.judge = judge
    for name, call in zip(('Loss/r2_penalty', 'Loss/r1_penalty'), calls, strict=True):
        answers = [torch.autograd.grad(logit, call[0], retain_graph=True)[0].square().sum() for logit in task.discriminator(*call)]
        torch.testing.assert_close(reported[name].mean(), torch.stack(answers).mean(), rtol=1e-4, atol=1e-9)


# What each loss moves. A loss is linear in its weight, so the difference of two gradients is that of the term alone.


def pulls(config: TrainingConfig, phase: str, **changes: object) -> dict[str, Tensor]:
    """Gradients of all parameters of both networks, frozen or not, in the first step's phase; zeros where there are none."""
    trainer, built = trainer_of(config, Path(), World())
    task = trainer.task
    gan: GanConfig = replace(config.gan, **changes)
    task = GanTask(gan, task.generator, task.discriminator, task.conditions, task.showing.augment, task.ada)
    chosen = next(p for p in task.phases if p.name == phase)
    for name, network in task.networks.items():
        network.requires_grad_(name == chosen.trains)
    rows = tuple(range(8))
    moment = Moment(0, 1, Stream(seed=0, step=8, phase=phase, rows=rows), lambda *_: None)  # step 1: no penalty is due
    for terms in task.terms(chosen, trainer.loader.batch(8, rows), moment):
        (terms.sum() / 8).backward()
    assert built.task.generator is task.generator
    return {
        f'{name}.{part}': torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        for name, network in task.networks.items()
        for part, parameter in network.named_parameters()
    }


def moved_by(config: TrainingConfig, phase: str, weight: str) -> set[str]:
    """The parameters on which the term with this weight has a gradient."""
    off, on = pulls(config, phase, **{weight: 0.0}), pulls(config, phase, **{weight: 1.0})
    return {name for name in on if (on[name] - off[name]).abs().max() > 1e-6 * (1e-6 + off[name].abs().max())}


def starting(names: set[str] | dict[str, Tensor], *prefixes: str) -> set[str]:
    return {name for name in names if name.startswith(prefixes)}


LEARNER, READER, TRUNK = 'generator.pose_learner.', 'discriminator.reader.', 'discriminator.trunk.'


def test_a_discriminator_that_looks_moves_the_learned_poses() -> None:
    found = pulls(config_of('poses learned'), 'G', pose_told_weight=0.0, pose_learner_weight=0.0)
    assert all(found[name].any() for name in starting(found, LEARNER))
    assert not any(found[name].any() for name in starting(found, 'discriminator.'))


def test_agreement_moves_the_pose_learner_and_nothing_else() -> None:
    config = config_of('poses learned')
    every = pulls(config, 'G')
    assert moved_by(config, 'G', 'pose_learner_weight') == starting(every, LEARNER)


@pytest.mark.parametrize('way', ['poses learned', 'poses read'])
def test_telling_the_pose_moves_the_generator_and_not_the_reader(way: str) -> None:
    moved = moved_by(config_of(way), 'G', 'pose_told_weight')
    assert not starting(moved, 'discriminator.')
    assert starting(moved, 'generator.synthesis.') and starting(moved, 'generator.mapping_network.') and starting(moved, 'generator.radiance.')


@pytest.mark.parametrize('way', ['poses learned', 'poses read'])
def test_the_reader_learns_from_readings_alone(way: str) -> None:
    config = config_of(way)
    scored = pulls(config, 'D', pose_reading_weight=0.0)
    assert not any(scored[name].any() for name in starting(scored, READER, 'generator.'))
    assert any(scored[name].any() for name in starting(scored, TRUNK))
    moved = moved_by(config, 'D', 'pose_reading_weight')
    assert starting(moved, READER) == starting(scored, READER)
    sees_trunk = config.discriminator.pose.sees == 'trunk'
    assert bool(starting(moved, TRUNK)) == sees_trunk and not starting(moved, 'discriminator.realness.', 'generator.')


def test_a_discriminator_that_conditions_on_poses_uses_them() -> None:
    found = pulls(config_of('poses learned'), 'D', pose_reading_weight=0.0)
    assert found['discriminator.realness.mapping_network.embed_pose.weight'].any()


def test_the_mirrored_view_is_no_lesson_for_the_reader() -> None:
    config = config_of('poses learned', 'gan.mirror_every=1')
    lessons = [
        {name: pulls(config, 'D', mirror_weight=weight, pose_reading_weight=1.0)[name] for name in starting(pulls(config, 'D'), READER)}
        for weight in (0.0, 1.0)
    ]
    for name in lessons[0]:
        # Only the minibatch deviation could carry something over, and views of the two kinds stand in groups of their own.
        torch.testing.assert_close(lessons[0][name], lessons[1][name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('way', ['pairs', 'pairs of a class'])
def test_both_sides_of_a_pair_pull_against_each_other(way: str) -> None:
    """Of a relativistic pair the generator lowers what the discriminator raises: raising every score alike changes nothing for either."""
    found = pulls(config_of(way), 'D', r1_gamma=0.0, r2_gamma=0.0)
    bias = found.get('discriminator.realness.out.bias')
    assert bias is not None
    if way == 'pairs':  # without a condition the bias is added to every score
        assert bias.abs().max() < 1e-6
    assert any(tensor.any() for name, tensor in found.items() if name.startswith(TRUNK))


@pytest.mark.parametrize('way', ['pairs', 'pairs of a class'])
def test_who_wins_a_pair_does_not_depend_on_where_logits_have_their_zero(tmp_path: Path, way: str) -> None:
    """Nothing holds the offset of all logits in place, so augmentation and monitors must not read it."""
    reported = []
    for offset in (-20.0, 0.0, 20.0):
        task, signs = trainer_of(config_of(way), tmp_path, World())[0], {}
        rows, discriminator = tuple(range(8)), task.task.discriminator
        judge = discriminator.judge
        discriminator.judge = lambda *arguments, judge=judge, offset=offset: replace(judged := judge(*arguments), logits=judged.logits + offset)
        for phase in task.task.phases:
            moment = Moment(0, 1, Stream(seed=0, step=1, phase=phase.name, rows=rows), signs.__setitem__)
            list(task.task.terms(phase, task.loader.batch(0, rows), moment))
        reported.append([signs[f'Loss/signs/{kind}'].tolist() for kind in ('real', 'fake')] + task.task._seen_signs[-1].tolist())
    assert reported[0] == reported[1] == reported[2]


def test_the_mirrored_view_has_the_mirrored_code_wherever_the_scene_looks_from(tmp_path: Path) -> None:
    """Also where the generator chooses the target, which is mirrored with the scene."""
    trainer, _ = trainer_of(config_of('poses learned', 'gan.mirror=left_right', 'gan.mirror_every=1', 'generator.pose.target_range=0.2'), tmp_path, World())
    task, rows = trainer.task, tuple(range(8))
    for parameter in task.generator.pose_learner.parameters():
        parameter.data.normal_(generator=torch.Generator().manual_seed(0))
    moment = trainer._moment('G', rows)
    conditions = task._conditions(trainer.loader.batch(0, rows), moment)
    own, mirrored = task._views(conditions, task.generator.pose(task._ws(conditions, moment)[:, 0]), 1, moment)
    assert torch.equal(mirrored.code, own.code * torch.tensor([-1.0, 1.0, 1.0])) and mirrored.is_mirrored
    assert (task.rig.code_of(own.camera) - own.code).abs().max() > 0.01, 'this test needs targets that matter'


@pytest.mark.parametrize('at', ['real', 'EG3D_2022'])
def test_a_difference_between_picture_and_raw_companion_has_its_price(tmp_path: Path, at: str) -> None:
    """METHODS of the papers: |d logit / d image|^2 + |d logit / d raw|^2, at a pair that is not bound to each other."""
    config = full_config(f'gan.r1_at={at}', 'gan.blur_fade_kimg=0', 'ada.mode=noaug', 'gan.render_resolution_final=none')
    trainer = trainer_of(config, tmp_path, World())[0]
    task, rows, reported = trainer.task, tuple(range(8)), {}
    size = task.showing.render_resolution

    def compares(image: Tensor, raw: Tensor, *_: object) -> Judgement:
        smaller = torch.nn.functional.interpolate(image, (size, size), mode='bilinear', antialias=True)
        return Judgement(100 * (raw - smaller).mean(dim=(1, 2, 3)), None)

    task.discriminator.judge = compares
    list(task.terms(next(p for p in task.phases if p.name == 'D'), trainer.loader.batch(0, rows), Moment(0, 0, Stream(0, 0, 'D', rows), reported.__setitem__)))
    of_raw, of_image = 100**2 / (3 * size**2), 100**2 / (3 * config.generator.image_resolution**2)
    assert of_raw < reported['Loss/r1_penalty'].mean() < of_raw + 1.5 * of_image


def test_smoothness_is_asked_of_what_can_be_learned(tmp_path: Path) -> None:
    """The priors of a field are as rough as they were made; they must not fill the regulariser."""
    found = []
    for strength in (0, 20):
        task = trainer_of(config_of('poses learned', f'generator.radiance.outside.strength={strength}'), tmp_path, World())[0].task
        planes = task.generator.planes(task.generator.mapping(torch.zeros(2, task.generator.z_dim), None, None).detach())
        found.append(task._roughness(planes, Stream(0, 0, 'G', (0, 1))))
    assert torch.equal(*found) and found[0].max() > 0


def test_a_penalty_on_what_is_shown_counts_the_raw_companion_once(tmp_path: Path) -> None:
    """The picture's gradient is that of the picture, whether or not blur and augmentation have made another tensor of it."""
    config = full_config('gan.r1_at=EG3D_2022', 'gan.blur_fade_kimg=0', 'ada.mode=noaug', 'gan.render_resolution_final=none')
    norms = []
    for copied in (False, True):
        task = trainer_of(config, tmp_path, World())[0]
        show = task.task.showing
        if copied:  # the same values in another tensor, as blur and augmentation leave them
            task.task.showing = Copying(show.config, show.augment, show.ada, show.dual, show.render_resolution)
        rows, reported = tuple(range(8)), {}
        moment = Moment(0, 0, Stream(seed=0, step=0, phase='D', rows=rows), reported.__setitem__)
        list(task.task.terms(task.task.phases[1], task.loader.batch(0, rows), moment))
        norms.append(reported['Loss/r1_penalty'].mean().item())
    assert norms[0] == pytest.approx(norms[1], rel=1e-5)


class Copying(Showing):
    """Shows copies."""

    def __call__(self, image: Tensor, raw: Tensor | None, nimg: int, stream: Stream, is_real: bool) -> tuple[Tensor, Tensor | None]:
        shown, raw = super().__call__(image, raw, nimg, stream, is_real)
        return shown * 1.0, raw


def test_pairs_of_a_class_hold_one_class(tmp_path: Path) -> None:
    trainer, _ = trainer_of(config_of('pairs of a class'), tmp_path, World())
    rows = tuple(range(8))
    batch, moment = trainer.loader.batch(0, rows), trainer._moment('G', rows)
    assert torch.equal(trainer.task._conditions(batch, moment).classes, batch.classes) and len(batch.classes.unique()) == 2


def test_far_moves_by_the_schedule_and_everything_follows(tmp_path: Path) -> None:
    config = config_of('poses read', 'gan.far_hold_kimg=0.016', 'gan.far_fade_kimg=0.016')
    rendering = config.generator.rendering
    trainer, _ = trainer_of(config, tmp_path, World())
    seen = []
    for _ in range(5):
        trainer.iterate()
        seen.append(float(trainer.task.generator.far))
        assert float(trainer.averages['generator'].module.far) == seen[-1], 'the average renders what training renders'
    middle = (rendering.far_at_start + rendering.far) / 2
    assert seen == pytest.approx([rendering.far_at_start, rendering.far_at_start, rendering.far_at_start, middle, rendering.far])
    trainer.save()
    second, _ = trainer_of(config, tmp_path, World())
    second.resume(checkpoint.newest_state(tmp_path))
    assert float(second.task.generator.far) == float(second.averages['generator'].module.far) == seen[-1]
