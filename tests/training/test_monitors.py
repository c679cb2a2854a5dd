"""Monitors: every alarm is raised by a generator or by statistics of that one defect, none by real scenes, and training does not notice."""

import json
import math
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from metrics.features import PhotoFeatures
from metrics.response_pairs import turned
from metrics.subject import Views
from metrics.toy_subject import toy_views
from tests.training.test_loop import assert_same_state
from tests.training.tiny import config_of, full_config, tiny_config, trainer_of
from torch_utils import checkpoint, statistics
from torch_utils.distributed import World
from torch_utils.interrupt import StopRequest
from torch_utils.rng import Stream
from training.build import Built
from training.cameras.camera import Camera
from training.cameras.distributions import Fixed, Gaussian, Wide
from training.cameras.orbit import orbit
from training.cameras.rays import rays
from training.cameras.rig import rig_of
from training.config import TrainingConfig
from training.data.item import from_uint8
from training.data.synthetic import SyntheticImages
from training.data.toyworld.catalogue import CATALOGUE
from training.data.toyworld.world import Toyworld, ToyworldConfig, render_scenes
from training.evaluation import asked_scenes, law_outputs
from training.hooks import Log
from training.loop import Trainer
from training.monitors import watch
from training.monitors.alarms import ALARMS, Measures, Reference, alarms, announced, is_heard
from training.monitors.look import TURN_DEG, Look, Seen, look_at_generator, meant_conditions, reader_of, reference_of
from training.monitors.measures import Reported, average_gap, law_kept, measure, pooled_mean
from training.monitors.shape import pose_spread_deg
from training.monitors.watch import Monitors, is_due
from training.networks.generator3d import Generator3D, GeneratorConfig
from training.rendering.renderer import RenderingConfig
from training.sampling import Truncation, sample
from training.tasks.arrangement import ArrangedPhotographs
from training.tasks.conditions import DrawnConditions
from training.tasks.readings import ReadConditions, ReadingConfig, Readings

COUNT, SIDE = 24, 32
ROOT = Path(__file__).resolve().parents[2]
WHITE = GeneratorConfig(image_resolution=SIDE, render_resolution=SIDE, superres=None, rendering=RenderingConfig(background='white'))

NORMAL = {  # what a healthy run reports
    'Loss/scores/real': 0.7, 'Loss/scores/fake': -0.9, 'Loss/signs/real': 0.5, 'Loss/signs/fake': -0.6, 'Loss/G/loss': 1.3, 'Loss/D/loss': 1.0,
    'Gradients/G/norm': 0.5, 'Gradients/D/norm': 2.0, 'Progress/augment': 0.2,
}  # fmt: skip


@pytest.fixture(scope='module')
def features() -> PhotoFeatures:
    return PhotoFeatures()


def real_look(classes: tuple[str, ...], poses: str = 'wide', camera: Camera | None = None) -> Look:
    """What a perfect generator of toyworld would show; from `camera` alone, or under the law."""
    world = Toyworld(ToyworldConfig(classes, poses=poses, seed=5))
    scenes = [world.scene(i) for i in range(COUNT)]
    own = world.cameras(range(COUNT))
    own = own if camera is None else camera[[0] * COUNT]
    truth = render_scenes(scenes, own, SIDE)
    numbers = torch.tensor([world.class_id(i) for i in range(COUNT)]) if len(classes) > 1 else None
    views = Views(from_uint8(torch.from_numpy(truth.image)), torch.from_numpy(truth.distance), torch.from_numpy(truth.alpha), own, numbers)
    shared = from_uint8(torch.from_numpy(render_scenes(scenes, own[0], SIDE).image))
    left, right = (toy_views(scenes, turned(own, sign * TURN_DEG), SIDE) for sign in (-1, 1))
    return Look(views, shared, torch.full((COUNT,), 1.75), torch.full((COUNT,), 3.65), left, right)


@pytest.fixture(scope='module')
def car() -> Look:
    return real_look(('car',))


@pytest.fixture(scope='module')
def reference() -> Reference:
    data = SyntheticImages.from_spec('synthetic:car?seed=6&count=100')
    return reference_of(data, DrawnConditions(None, Wide()), WHITE, COUNT)


def reported(**changes: float) -> Reported:
    names = {name.replace('/', '_'): name for name in NORMAL}
    means = NORMAL | {names[name]: value for name, value in changes.items()}
    summary = {name: {'num': 16, 'mean': value, 'std': 1.0} for name, value in means.items()}
    return Reported([summary], [summary], average_gap=0.01, augment_adapts=True)


def names_of(measures: Measures, reference: Reference) -> set[str]:
    return {alarm.name for alarm in alarms(measures, reference)}


@pytest.mark.parametrize('classes, poses', [(('car',), 'wide'), (('car',), 'narrow'), (tuple(CATALOGUE), 'wide'), (tuple(CATALOGUE), 'sphere')])
def test_real_scenes_raise_nothing(features, classes: tuple[str, ...], poses: str) -> None:
    spec = f'synthetic:{",".join(classes)}?poses={poses}&seed=6&count=100'
    data = SyntheticImages.from_spec(spec)
    reference = reference_of(data, DrawnConditions(None, Wide()), WHITE, COUNT)
    measures = measure(real_look(classes, poses), reported(), features, reader_of(data))
    assert names_of(measures, reference) == set()
    assert 0.7 < measures.thickness / reference.thickness < 1.4
    assert abs(measures.bulge - reference.bulge) < 0.15
    assert measures.reprojection < 15 and measures.co_visible > 0.6
    assert 0.8 < measures.turn_response < 1.1 or poses == 'sphere', 'the oracle knows hardly a class from below'
    assert measures.nfs_object > 8 and measures.empty == measures.duplicates == measures.not_finite == 0
    unmeasured = {field.name for field in fields(Measures) if math.isnan(getattr(measures, field.name))}
    expected = {'worst_class_recall', 'law_kept'}  # of few pictures a class, and of cameras that nobody looks for
    assert unmeasured - {'turn_response'} == expected | (set() if len(classes) > 1 else {'class_kl'})


def of_views(**changes: torch.Tensor) -> Callable[[Look], Look]:
    return lambda look: replace(look, views=replace(look.views, **changes))


def squashed(look: Look) -> Look:
    """Relief along the viewing direction, a fiftieth of what it was."""
    camera = look.views.camera
    cosine = (rays(camera, SIDE).directions @ camera.forwards[:, :, None]).mT.unflatten(2, (SIDE, SIDE))
    return of_views(depth=(2.7 + 0.02 * (look.views.depth * cosine - 2.7)) / cosine)(look)


def hollow(look: Look) -> Look:
    """Relief inverted along the viewing direction."""
    camera = look.views.camera
    cosine = (rays(camera, SIDE).directions @ camera.forwards[:, :, None]).mT.unflatten(2, (SIDE, SIDE))
    return of_views(depth=(5.4 - look.views.depth * cosine) / cosine)(look)


def foggy(look: Look) -> Look:
    noise = torch.randn(COUNT, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    return of_views(depth=2.7 + 0.5 * noise, opacity=torch.ones(COUNT, 1, SIDE, SIDE))(look)


ONES = torch.ones(COUNT, 1, SIDE, SIDE)
DEFECTS: dict[str, tuple[set[str], Callable[[Look], Look], dict[str, float]]] = {
    'relief squashed': ({'flat-depth'}, squashed, {}),
    'relief inverted': ({'hollow'}, hollow, {}),
    'fog': ({'thick-depth'}, foggy, {}),
    'a wall around the camera': ({'one-depth', 'hollow'}, of_views(depth=2.7 * ONES, opacity=ONES), {}),
    'an object on that wall': ({'flat-depth', 'one-depth', 'hollow'}, of_views(depth=2.7 * ONES), {}),
    'nothing there': ({'no-object'}, of_views(opacity=0 * ONES), {}),
    'half transparent': ({'no-object'}, of_views(opacity=0.4 * ONES), {}),
    'NaN in one depth': ({'not-finite'}, lambda look: of_views(depth=look.views.depth.index_fill(0, torch.tensor([3]), torch.nan))(look), {}),
    'nothing but NaN': ({'not-finite'}, of_views(image=torch.full((COUNT, 3, SIDE, SIDE), torch.nan)), {}),
    'one scene': ({'duplicates'}, lambda look: replace(look, from_one_camera=look.from_one_camera[:1].expand(COUNT, -1, -1, -1)), {}),
    'each scene twice': ({'duplicates'}, lambda look: replace(look, from_one_camera=look.from_one_camera[torch.arange(COUNT) // 2]), {}),
    'one camera': ({'pose-collapse'}, lambda look: real_look(('car',), camera=look.views.camera), {}),
    'scores run away': ({'margin'}, lambda look: look, {'Loss_scores_real': 5.0, 'Loss_scores_fake': -3.5}),
    'scores run away, the other way': ({'margin'}, lambda look: look, {'Loss_scores_real': -41.0, 'Loss_scores_fake': 41.0}),
    'loss of the generator': ({'generator-loss'}, lambda look: look, {'Loss_G_loss': 29.0}),
    'all told apart': ({'discriminator-saturated'}, lambda look: look, {'Loss_signs_real': 1.0, 'Loss_signs_fake': -0.95}),
    'augmentation at its cap': ({'augment-at-cap'}, lambda look: look, {'Progress_augment': 1.0}),
}


@pytest.mark.parametrize('expected, spoil, numbers', DEFECTS.values(), ids=DEFECTS)
def test_each_defect_raises_its_alarm_at_the_first_check(features, car, reference, expected, spoil, numbers) -> None:
    measures = measure(spoil(car), reported(**numbers), features)
    assert names_of(measures, reference) == expected
    raised, lines = announced([], measures, reference, 4.0, 4.0)
    assert {alarm.name for alarm in raised} == expected and len(lines) == len(expected)


def test_a_generator_far_from_its_average_raises_average_gap(features, car, reference) -> None:
    assert names_of(measure(car, replace(reported(), average_gap=0.3), features), reference) == {'average-gap'}


def test_one_class_for_all_raises_class_collapse(features) -> None:
    data = SyntheticImages.from_spec('synthetic:toyworld8?seed=6&count=100')
    reference = reference_of(data, DrawnConditions(None, Wide()), WHITE, COUNT)
    everything, cars = real_look(tuple(CATALOGUE)), real_look(('car',))
    asked = replace(cars, views=replace(cars.views, classes=everything.views.classes))
    assert 'class-collapse' in names_of(measure(asked, reported(), features, reader_of(data)), reference)


@pytest.fixture(scope='module')
def cars() -> SyntheticImages:
    return SyntheticImages.from_spec('synthetic:car?seed=6&count=100')


@pytest.mark.parametrize('turns, alarmed', [((1, 1), True), ((-1, 1), False), ((1, -1), True)], ids=['billboard', 'right', 'the wrong way'])
def test_pictures_that_do_not_turn_raise_janus(features, car, cars, reference, turns: tuple[int, int], alarmed: bool) -> None:
    sides = {-1: car.left, 1: car.right}
    look = replace(car, left=sides[turns[0]], right=sides[turns[1]])
    measures = measure(look, reported(), features, reader_of(cars))
    assert ('janus' in names_of(measures, reference)) == alarmed
    assert abs(measures.turn_response - (turns[1] - turns[0]) / 2) < 0.15


def test_nobody_reads_angles_off_pictures_that_show_something_else(features, car, cars) -> None:
    mugs = real_look(('mug',))
    assert math.isnan(measure(mugs, reported(), features, reader_of(cars)).turn_response)
    assert math.isnan(measure(car, reported(), features).turn_response), 'nobody reads'


def test_recall_is_that_of_the_worst_class(features) -> None:
    """Half of the pictures are cars and read as such; of the others half are."""
    look = real_look(('car',))
    asked = torch.arange(COUNT) % 2
    shown = np.where(asked.numpy() == 0, 0, torch.arange(COUNT).numpy() // 2 % 2)
    read = lambda images: Seen(shown[: len(images)], torch.zeros(len(images)))
    measures = measure(replace(look, views=replace(look.views, classes=asked)), reported(), features, read)
    assert measures.worst_class_recall == 0.5
    few = torch.cat([torch.zeros(COUNT - 4, dtype=torch.int64), torch.ones(4, dtype=torch.int64)])
    measures = measure(replace(look, views=replace(look.views, classes=few)), reported(), features, read)
    assert measures.worst_class_recall == pytest.approx(float((shown[:-4] == 0).mean())), 'four pictures of a class are no share'


def test_a_field_that_is_its_own_background_has_no_bulge(features, car) -> None:
    assert math.isnan(measure(replace(car, tells_object=False), reported(), features).bulge)
    assert measure(car, reported(), features).bulge > 0.1


def test_a_law_that_is_found_collapses_earlier() -> None:
    """10 degrees of a wide law; a third of a narrow one, so that a law of faces is none."""
    for meant, bound in ((150.0, 10.0), (math.nan, 10.0), (18.0, 6.0)):
        reference = Reference(pose_spread_deg=meant, finds_cameras=True)
        assert 'pose-collapse' in names_of(Measures(pose_spread_deg=bound - 0.1), reference)
        assert 'pose-collapse' not in names_of(Measures(pose_spread_deg=bound + 0.1), reference)
    assert 'pose-collapse' not in names_of(Measures(pose_spread_deg=8.0), Reference(pose_spread_deg=150.0)), 'a law that is given stays'


@pytest.mark.parametrize('way', ['poses learned', 'poses read'])
def test_what_is_meant_of_found_cameras_is_where_one_explores(tmp_path: Path, way: str) -> None:
    trainer, built = trainer_of(config_of(way), tmp_path, World())
    if way == 'poses read':  # everything is read at one place
        yaw = torch.full((200,), 0.5)
        for number in (0, 1):
            built.conditions.readings.add(built.conditions.rig.code(yaw, yaw * 0 + 0.2), torch.full((200,), number))
    else:
        torch.nn.init.zeros_(trainer.averages['generator'].module.pose_learner.out.weight)
    reference = reference_of(built.dataset, meant_conditions(built), built.config.generator, 10, True)
    assert reference.pose_spread_deg > 100
    look = look_at_generator(trainer.averages['generator'].module, built.conditions, 20, torch.device('cpu'))
    measures = Measures(pose_spread_deg=pose_spread_deg(look.views.camera))
    assert measures.pose_spread_deg < 1 and names_of(measures, reference) == {'pose-collapse'}


def narrowed(yaw_deg: np.ndarray, share: float, law: str = 'read') -> float:
    """law_kept of two classes: the readings of the second are its arrangement, the yaws of the first are drawn together to this share."""
    rig = rig_of(Wide())
    yaw = torch.from_numpy(np.radians(yaw_deg)).float()
    first, second = (rig.code(yaw * factor, torch.zeros(len(yaw))) for factor in (share, 1.0))
    classes = torch.arange(2).repeat_interleave(len(yaw))
    readings = Readings(ReadingConfig(memory=3 * len(yaw), law=law), 3)  # nobody has arranged or read the third
    readings.add(torch.cat([first, second]), classes)
    found = ArrangedPhotographs(torch.cat([second, second]), classes, torch.empty(0), torch.empty(0))
    return law_kept(ReadConditions(None, Wide(), readings, arranged=found))


def test_a_law_that_shrinks_below_half_of_what_likeness_saw_is_an_alarm() -> None:
    yaw = np.random.RandomState(0).normal(0, 40, 400)
    for share, alarm in ((1.0, set()), (0.6, set()), (0.4, {'law-shrinks'})):
        assert narrowed(yaw, share) == pytest.approx(share, rel=0.1)
        assert names_of(Measures(law_kept=narrowed(yaw, share)), Reference()) == alarm
    around = np.linspace(-179, 179, 400)
    assert narrowed(around, 0.9) == 1.0, 'nearly all around is all around'
    assert math.isnan(law_kept(DrawnConditions(None, Wide()))) and math.isnan(narrowed(yaw, 0.4, law='arranged'))


def test_every_alarm_has_a_defect() -> None:
    assert set.union(*(expected for expected, _, _ in DEFECTS.values())) | {'average-gap', 'class-collapse', 'janus', 'law-shrinks'} == {alarm.name for alarm in ALARMS}


def test_without_real_depth_only_flatness_is_judged(features, car, reference) -> None:
    nobody = replace(reference, thickness=math.nan)
    assert names_of(measure(squashed(car), reported(), features), nobody) == {'flat-depth'}
    assert names_of(measure(foggy(car), reported(), features), nobody) == set()


def test_augmentation_of_fixed_strength_is_at_no_cap(features, car, reference) -> None:
    fixed = replace(reported(Progress_augment=1.0), augment_adapts=False)
    assert names_of(measure(car, fixed, features), reference) == set()


@pytest.mark.parametrize('law', [Gaussian(yaw_std_deg=4.0), Fixed(yaw_deg=30.0)], ids=['narrow', 'fixed'])
def test_a_narrow_law_is_not_a_collapse(features, car, law) -> None:
    conditions = DrawnConditions(None, law)
    data = SyntheticImages.from_spec('synthetic:car?seed=6&count=10')
    reference = reference_of(data, conditions, WHITE, 10)
    look = of_views(camera=law.sample(Stream(1, 0, 'another', tuple(range(COUNT)))))(car)
    measures = measure(look, reported(), features)
    assert measures.pose_spread_deg < 5
    assert 'pose-collapse' not in names_of(measures, reference)
    assert ('pose-collapse' in names_of(replace(measures, pose_spread_deg=1.0), reference)) == (not isinstance(law, Fixed))


def test_pose_spread_by_hand() -> None:
    """Half of the cameras at +30 and half at -30 degrees: the mean direction has length cos 30."""
    camera = orbit(torch.tensor([math.pi / 6, -math.pi / 6] * 10), 0.3, 2.7, (0.1, 0.2, -0.3), focal=1.5)
    assert pose_spread_deg(camera) == pytest.approx(math.degrees(math.sqrt(-2 * math.log(math.cos(math.pi / 6)))), rel=1e-5)
    assert pose_spread_deg(camera[[0] * 20]) == pytest.approx(0, abs=1e-5)


def test_pooled_mean_and_average_gap_by_hand() -> None:
    summaries = [{'a': {'num': 3, 'mean': 1.0, 'std': 0}}, {'b': {'num': 9, 'mean': 7.0, 'std': 0}}, {'a': {'num': 1, 'mean': 5.0, 'std': 0}}]
    assert pooled_mean(summaries, 'a') == 2 and math.isnan(pooled_mean(summaries, 'c'))
    average, trained = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
    for network, values in ((average, (3.0, 1.0, 5.0)), (trained, (3.0, 4.0, 1.0))):
        torch.nn.utils.vector_to_parameters(torch.tensor(values), network.parameters())
    assert float(average_gap(average, trained)) == pytest.approx(5 / math.sqrt(26))


def test_real_depth_is_no_reference_for_a_field_that_is_its_own_background() -> None:
    data = SyntheticImages.from_spec('synthetic:car?seed=6&count=10')
    field = replace(WHITE, rendering=RenderingConfig(background='field'))
    assert math.isnan(reference_of(data, DrawnConditions(None, Wide()), field, 10).thickness)


def test_shuffled_labels_do_not_change_the_reference(reference) -> None:
    data = SyntheticImages.from_spec('synthetic:car?seed=6&count=100&cameras=shuffled')
    assert reference_of(data, DrawnConditions(None, Wide()), WHITE, COUNT) == reference


def test_an_alarm_is_said_when_it_begins_and_when_it_ends(reference) -> None:
    good = Measures(thickness=reference.thickness, margin=1.0)
    flat, gone = replace(good, thickness=0.01, margin=1.0), replace(good, thickness=math.nan)
    said, raised = [], []
    for kimg, measures in enumerate((flat, flat, flat, flat, gone, flat, good, good, flat), start=2):
        raised, lines = announced(raised, measures, reference, kimg, 0.0)
        said.append(lines)
    assert [len(lines) for lines in said] == [0, 0, 1, 0, 0, 0, 1, 0, 1]
    low, high = 0.3 * reference.thickness, 2 * reference.thickness
    assert said[2][0].startswith(f'warning: flat-depth: thickness 0.01 at 4.0 kimg, expected {low:.2g} to {high:.2g}: the scenes are nearly flat. ')
    assert said[6] == [f'over: flat-depth: thickness {reference.thickness:.2g} at 8.0 kimg, expected {low:.2g} to {high:.2g}.']


def test_alarms_about_pictures_wait_until_blur_has_gone() -> None:
    for alarm in ALARMS:
        assert not is_heard(alarm, 3.9, 0.0) and is_heard(alarm, 4.0, 4.0)
        assert is_heard(alarm, 10.0, 50.0) != alarm.of_pictures and is_heard(alarm, 50.0, 50.0)


def test_alarms_are_documented_and_named_once() -> None:
    table = (ROOT / 'docs' / 'training.md').read_text()
    assert len({alarm.name for alarm in ALARMS}) == len(ALARMS)
    for alarm in ALARMS:
        assert alarm.measure in {field.name for field in fields(Measures)}
        assert f'| `{alarm.name}` |' in table
    assert all(f'`{field.name}`' in table for field in fields(Measures))


@pytest.mark.parametrize('batch, tick_kimg, every_kimg', [(16, 0.5, 2.0), (16, 0.3, 1.0), (32, 0.016, 0.016), (24, 0.1, 0.05), (16, 0.5, 0.7)])
def test_checks_fall_on_the_first_tick_after_each_multiple(batch: int, tick_kimg: float, every_kimg: float) -> None:
    tick, every = tick_kimg * 1000, every_kimg * 1000
    counts = range(batch, 10_000, batch)
    ticks, next_tick = [], tick  # as the loop makes them
    for nimg in counts:
        if nimg >= next_tick:
            ticks.append(nimg)
            next_tick = (nimg // tick + 1) * tick
    multiples = [k * every for k in range(1, int(10_000 // every) + 1)]
    # A tick stands for the multiple of its interval that it passed.
    passed = [(nimg // tick * tick, nimg) for nimg in ticks]
    expected = sorted({min((nimg for at, nimg in passed if at >= multiple), default=None) for multiple in multiples} - {None})
    assert [nimg for nimg in counts if is_due(nimg, batch, tick_kimg, every_kimg)] == expected
    assert set(expected) <= set(ticks)


def watched(*settings: str) -> TrainingConfig:
    return tiny_config('monitors.every_kimg=0.032', 'monitors.images=20', 'loop.kimg=0.064', *settings)


def run_with_monitors(config: TrainingConfig, folder: Path, nimg: int = 0) -> Trainer:
    folder.mkdir(exist_ok=True)
    trainer, built = trainer_of(config, folder, World())
    if nimg:
        trainer.resume(checkpoint.newest_state(folder))
        assert trainer.nimg == nimg
    trainer.run([Monitors(built), Log(folder, show_bar=False)], StopRequest())
    return trainer


def monitored(folder: Path) -> list[tuple[float, dict[str, float | None]]]:
    """(kimg, measures) of the lines of stats.jsonl that hold any."""
    lines = [json.loads(line) for line in (folder / 'stats.jsonl').read_text().splitlines()]
    found = [(line['Progress/kimg']['mean'], {name[8:]: entry['mean'] for name, entry in line.items() if name.startswith('Monitor/')}) for line in lines]
    return [(kimg, measures) for kimg, measures in found if measures]


def test_a_run_with_monitors_is_the_run_without_and_resumes_as_itself(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(statistics, '_tensorboard_writer', lambda folder, nimg: None)  # its import takes seconds
    on = run_with_monitors(watched(), tmp_path / 'on')
    off = run_with_monitors(watched('monitors.every_kimg=0'), tmp_path / 'off')
    assert_same_state(on, off)
    assert monitored(tmp_path / 'off') == []
    checks = monitored(tmp_path / 'on')
    assert [kimg for kimg, _ in checks] == [0.032, 0.064]
    assert all(set(measures) == {field.name for field in fields(Measures)} for _, measures in checks)
    assert all(measures['gradient_ratio'] > 0 and measures['average_gap'] > 0 and 30 < measures['pose_spread_deg'] < 90 for _, measures in checks)

    run_with_monitors(watched('loop.kimg=0.032'), tmp_path / 'part')
    resumed = run_with_monitors(watched(), tmp_path / 'part', nimg=32)
    assert_same_state(on, resumed)
    assert monitored(tmp_path / 'part') == checks


def test_without_monitors_nothing_is_looked_at(tmp_path: Path, monkeypatch) -> None:
    def refuse(*arguments, **options):
        raise AssertionError('monitors are off')

    for name in ('PhotoFeatures', 'reference_of', 'look_at_generator', 'average_gap'):
        monkeypatch.setattr(watch, name, refuse)
    trainer, built = trainer_of(watched('monitors.every_kimg=0', 'loop.kimg=0.032'), tmp_path, World())
    trainer.run([Monitors(built)], StopRequest())


def test_an_empty_generator_is_reported_within_one_interval(tmp_path: Path, capsys) -> None:
    """Also the whole way: hook, console, and once only."""
    config = watched('generator.rendering.density_scale=1e-6', 'loop.kimg=4.064')
    trainer, built = trainer_of(config, tmp_path, World())
    trainer.nimg = 4000
    trainer.run([Monitors(built)], StopRequest())
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith('warning: no-object')]
    assert len(warnings) == 1 and 'share of pictures without an object 1 at 4.0 kimg, expected at most 0.5: rays meet nothing.' in warnings[0]


@pytest.mark.parametrize('config', [tiny_config(), full_config()], ids=['plain', 'conditioned'])
def test_the_scenes_are_those_that_metrics_look_at(tmp_path: Path, config: TrainingConfig) -> None:
    trainer, built = trainer_of(config, tmp_path, World())
    generator = trainer.averages['generator'].module
    before = generator.config
    look = look_at_generator(generator, built.conditions, 16, torch.device('cpu'))
    assert generator.config is before
    quick = replace(before, rendering=replace(before.rendering, evaluation_factor=1))
    generator.config = quick
    output, camera = law_outputs(generator, built.conditions, 'cpu', Truncation())(0, 16)
    assert torch.equal(look.views.image, output.image) and torch.equal(look.views.depth, output.depth)
    assert torch.equal(look.views.camera.world_from_camera, camera.world_from_camera)
    # Scene 0 is seen from its own camera both times; of the others only the view may differ.
    torch.testing.assert_close(look.from_one_camera[0], output.image[0])
    assert not torch.equal(look.from_one_camera[1], output.image[1])
    assert (look.near < look.far).all()
    for views, turn in ((look.left, -TURN_DEG), (look.right, TURN_DEG)):
        expected = sample(generator, *scenes_of(built, generator), turned(camera, turn), condition=camera)
        torch.testing.assert_close(views.image, expected.image)
        torch.testing.assert_close(views.camera.origins, turned(camera, turn).origins)


def scenes_of(built: Built, generator: Generator3D) -> tuple[torch.Tensor, torch.Tensor | None]:
    asked = asked_scenes(generator, built.conditions, torch.device('cpu'))(0, 16)
    return asked.z, asked.classes
