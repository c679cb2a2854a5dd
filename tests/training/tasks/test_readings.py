"""The law of cameras that is read off pictures: what is remembered, what is drawn from it, and what is believed."""

import math
from collections import deque
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dnnlib.errors import UsageError
from metrics.pose_distribution import circular_std_deg
from torch_utils.rng import Stream
from training.cameras.distributions import UniformBand, Wide
from training.cameras.orbit import angles_of
from training.cameras.rig import rig_of
from training.tasks.arrangement import ArrangedPhotographs
from training.tasks.readings import LEAST_MEMORY, ReadConditions, ReadingConfig, Readings

CPU = torch.device('cpu')
LAW = UniformBand(pitch_min_deg=-10, pitch_max_deg=50)


def stream(rows: int, step: int = 0) -> Stream:
    return Stream(seed=1, step=step, phase='G', rows=tuple(range(rows)))


def numbered(count: int, start: int = 0) -> Tensor:
    """Codes [count, 3] that can be told apart."""
    return torch.arange(start, start + count, dtype=torch.float32)[:, None] + torch.tensor([0.0, 0.25, 0.5])


@pytest.mark.parametrize('num_classes', [0, 3])
def test_the_last_readings_of_each_class_are_kept(num_classes: int) -> None:
    """Beside a queue per class, through batches of all sizes, several times around."""
    readings = Readings(ReadingConfig(memory=LEAST_MEMORY), num_classes)
    queues = [deque(maxlen=LEAST_MEMORY) for _ in range(max(num_classes, 1))]
    generator, seen = torch.Generator().manual_seed(0), 0
    for size in (1, 7, 64, 3, 150, 190, 200, 33, 180):
        codes = numbered(size, seen)
        classes = torch.randint(num_classes, (size,), generator=generator) if num_classes else None
        readings.add(codes, classes)
        for row in range(size):
            queues[0 if classes is None else int(classes[row])].append(tuple(codes[row].tolist()))
        seen += size
    assert int(readings.written.sum()) == seen
    for name, queue in enumerate(queues):
        kept = readings.codes[name][: int(readings.written[name].clamp(max=readings.capacity))]
        assert sorted(map(tuple, kept.tolist())) == sorted(queue)


def test_a_batch_larger_than_the_memory_leaves_its_end() -> None:
    readings = Readings(ReadingConfig(memory=LEAST_MEMORY), 0)
    readings.add(numbered(3 * LEAST_MEMORY + 5), None)
    assert sorted(readings.codes[0, : readings.capacity, 0].tolist()) == list(range(2 * LEAST_MEMORY + 5, 3 * LEAST_MEMORY + 5))


def test_a_beginning_larger_than_the_memory_is_taken_from_all_over() -> None:
    readings = Readings(ReadingConfig(memory=200), 0)
    readings.begin_with(torch.linspace(-1, 1, 1000)[:, None].expand(-1, 3), None)
    kept = readings.kept(0)[:, 0]
    assert len(kept) == 200 and abs(kept.mean()) < 0.15 and kept.std() == pytest.approx(1 / 3**0.5, rel=0.15)


def test_memory_is_shared_by_the_classes_and_never_too_short() -> None:
    assert [Readings(ReadingConfig(memory=3000), n).capacity for n in (0, 1, 10, 1000)] == [3000, 3000, 300, LEAST_MEMORY]


def test_draws_follow_the_class_and_reach_every_reading() -> None:
    readings = Readings(ReadingConfig(memory=LEAST_MEMORY), 3)
    readings.add(numbered(5), torch.tensor([0, 2, 2, 0, 2]))
    classes = torch.tensor([0, 2]).repeat(500)
    codes, written = readings.draw(stream(1000), classes, CPU)
    assert set(codes[classes == 0, 0].tolist()) == {0.0, 3.0} and set(codes[classes == 2, 0].tolist()) == {1.0, 2.0, 4.0}
    assert written.tolist() == [2, 3] * 500
    share = torch.bincount(codes[classes == 2, 0].long(), minlength=5)[[1, 2, 4]] / 500
    assert (share - 1 / 3).abs().max() < 0.1
    half, _ = readings.draw(stream(1000).for_rows(600, 1000), classes[600:], CPU)
    assert torch.equal(half, codes[600:]), 'a draw belongs to its row'


def conditions_with(yaw_deg: float, classes: Tensor | None, config: ReadingConfig, num_classes: int, count: int = 600) -> ReadConditions:
    """Every reading, of the last class, is the same view."""
    readings = Readings(config, num_classes)
    rig = rig_of(LAW)
    code = rig.code(torch.full((count,), math.radians(yaw_deg)), torch.full((count,), math.radians(20.0)))
    readings.add(code, torch.full((count,), num_classes - 1) if num_classes else None)
    return ReadConditions(classes, LAW, readings)


def yaw_deg(conditions: ReadConditions, classes: Tensor | None, rows: int = 4000) -> Tensor:
    return torch.rad2deg(angles_of(conditions.cameras(classes, stream(rows), CPU).checked(), LAW.target)[0])


def test_classes_that_nobody_has_read_are_looked_at_from_anywhere() -> None:
    conditions = conditions_with(40.0, None, ReadingConfig(memory=600, exploration=0.0, jitter_deg=0.0, warmup_kimg=0.0), 3)
    classes = torch.tensor([0, 1, 2, 2]).repeat(1000)
    for source in (conditions, conditions.believed()):
        yaw = yaw_deg(source, classes)
        torch.testing.assert_close(yaw[classes == 2], torch.full((2000,), 40.0), rtol=0, atol=1e-3)
        law = torch.rad2deg(angles_of(LAW.sample(stream(4000), CPU), LAW.target)[0])
        torch.testing.assert_close(yaw[classes < 2], law[classes < 2], rtol=0, atol=1e-2)


def test_the_warmup_counts_readings_of_the_class() -> None:
    for readings_of_last, is_used in ((99, False), (100, True)):
        config = ReadingConfig(memory=400, exploration=0.0, jitter_deg=0.0, warmup_kimg=0.2)  # 200 readings for two classes
        conditions = conditions_with(40.0, None, config, 2, readings_of_last)
        yaw = yaw_deg(conditions, torch.ones(200, dtype=torch.int64), 200)
        assert bool((yaw - 40).abs().max() < 1e-3) == is_used
        assert (yaw_deg(conditions.believed(), torch.ones(200, dtype=torch.int64), 200) - 40).abs().max() < 1e-3, 'belief needs no warmup'


def test_training_jitters_and_explores_and_belief_does_not() -> None:
    conditions = conditions_with(0.0, None, ReadingConfig(memory=600, exploration=0.25, jitter_deg=8.0, warmup_kimg=0.0), 0)
    trained, believed = yaw_deg(conditions, None), yaw_deg(conditions.believed(), None)
    assert believed.abs().max() < 1e-3
    far = trained.abs() > 40  # five standard deviations of the jitter; the band's yaws are uniform
    assert abs(far.double().mean() / (0.25 * 140 / 180) - 1) < 0.15
    near = trained[trained.abs() < 24]
    assert 6.5 < float(near.std()) < 9.0


def test_a_class_that_likeness_arranged_may_be_seen_from_where_likeness_found_it() -> None:
    """Readings say 0 degrees; likeness saw class 1 at 60 and class 2 at -60 and 120, and did not arrange class 0."""
    rig = rig_of(LAW)
    found = torch.deg2rad(torch.tensor([60.0, -60.0, 120.0]))
    arranged = ArrangedPhotographs(rig.code(found, torch.zeros(3)), torch.tensor([1, 2, 2]), torch.empty(0), torch.empty(0))
    classes = torch.tensor([0, 1, 2]).repeat(4000)
    law = torch.rad2deg(angles_of(LAW.sample(stream(12000), CPU), LAW.target)[0])[classes == 0]
    for way in ('read', 'arranged'):
        config = ReadingConfig(memory=600, exploration=0.25, jitter_deg=0.0, warmup_kimg=0.0, law=way)
        conditions = replace(conditions_with(0.0, None, config, 0), arranged=arranged)
        conditions.readings.codes, conditions.readings.written = conditions.readings.codes.repeat(3, 1, 1), conditions.readings.written.repeat(3)
        for source, explored in ((conditions, 0.25), (conditions.believed(), 0.0)):
            yaw = yaw_deg(source, classes, 12000)
            is_law = yaw[classes == 0].abs() > 1e-2
            assert float(is_law.double().mean()) == pytest.approx(explored, abs=0.03)
            torch.testing.assert_close(yaw[classes == 0][is_law], law[is_law], rtol=0, atol=1e-2)
            for number, places in ((1, [60.0]), (2, [-60.0, 120.0])):
                shares = [float(((yaw[classes == number] - place).abs() < 1e-2).double().mean()) for place in (0.0, *places)]
                expected = [0.0] + [1 / len(places)] * len(places) if way == 'arranged' else [1 - explored] + [0.0] * len(places)
                assert shares == pytest.approx(expected, abs=0.03)


def test_without_classes_everything_was_arranged_together() -> None:
    rig = rig_of(LAW)
    arranged = ArrangedPhotographs(rig.code(torch.arange(5.0) / 5, torch.zeros(5)), None, torch.empty(0), torch.empty(0))
    code, known = arranged.draw_code(stream(2000), None, CPU)
    assert known.all()
    counts = (code[:, None] == arranged.codes).all(dim=2).double().mean(dim=0)
    assert counts.sum() == pytest.approx(1) and (counts - 0.2).abs().max() < 0.04


def test_jitter_stays_within_the_pitches_of_the_rig() -> None:
    conditions = conditions_with(0.0, None, ReadingConfig(memory=600, exploration=0.0, jitter_deg=90.0, warmup_kimg=0.0), 0)
    pitch = torch.rad2deg(angles_of(conditions.cameras(None, stream(2000), CPU), LAW.target)[1])
    assert -10.001 < float(pitch.min()) < -9.9 and 49.9 < float(pitch.max()) < 50.001


def test_a_round_trip_of_the_state() -> None:
    config = ReadingConfig(memory=LEAST_MEMORY)
    before, after = Readings(config, 2), Readings(config, 2)
    before.add(numbered(270), torch.arange(270) % 2)
    state = before.state_dict()
    after.load_state_dict(state)
    for readings in (before, after):
        readings.add(numbered(50, 1000), torch.arange(50) % 2)
    assert torch.equal(before.codes, after.codes) and torch.equal(before.written, after.written)
    assert not torch.equal(state['codes'], before.codes), 'a state is a copy: it does not change with what it was taken of'


def test_belief_is_live() -> None:
    conditions = conditions_with(0.0, None, ReadingConfig(memory=LEAST_MEMORY, warmup_kimg=0.0), 0)
    believed = conditions.believed()
    rig = rig_of(LAW)
    conditions.readings.add(rig.code(torch.full((LEAST_MEMORY,), 1.0), torch.zeros(LEAST_MEMORY)), None)
    torch.testing.assert_close(yaw_deg(believed, None, 50), torch.full((50,), math.degrees(1.0)), rtol=0, atol=1e-3)


def test_readings_of_a_law_are_that_law() -> None:
    """As many readings of `Wide` as are kept: the spread of yaws, and mean and spread of pitches, come back within their sampling error."""
    count, rig = 8000, rig_of(Wide())
    readings = Readings(ReadingConfig(memory=count), 0)
    seen = Wide().sample(stream(count, step=1), CPU)
    readings.add(rig.code_of(seen), None)
    believed = ReadConditions(None, Wide(), readings).believed().sample(stream(count), CPU).camera
    (yaw, pitch, _), (law_yaw, law_pitch, _) = angles_of(believed), angles_of(Wide().sample(stream(count, step=2), CPU))
    # The circular spread of 8000 yaws varies by about 1 degree from sample to sample, a mean pitch by 0.1.
    assert circular_std_deg(yaw.numpy()) == pytest.approx(circular_std_deg(law_yaw.numpy()), abs=3.0)
    assert math.degrees(pitch.mean() - law_pitch.mean()) == pytest.approx(0, abs=0.5)
    assert math.degrees(pitch.std()) == pytest.approx(math.degrees(law_pitch.std()), abs=0.5)


@pytest.mark.parametrize('setting', [{'memory': 0}, {'exploration': 1.5}, {'jitter_deg': -1.0}, {'warmup_kimg': -1.0}])
def test_numbers_that_mean_nothing(setting: dict[str, float]) -> None:
    with pytest.raises(UsageError, match='reading: memory must be at least 1'):
        ReadingConfig(**setting)
