"""Statistics are those of all elements, and their file is JSON whatever happens."""

import json
import math
from dataclasses import dataclass

import pytest
import torch

from torch_utils import statistics
from torch_utils.distributed import World
from torch_utils.statistics import PROGRESS, Statistics, StatisticsWriter, peak_memory_bytes


def test_against_brute_force() -> None:
    values = [
        torch.randn(5, generator=torch.Generator().manual_seed(1)) + 1000,
        torch.tensor(3.0, requires_grad=True),
        torch.arange(4),
        torch.ones(2, 3).bfloat16(),
    ]
    collected = Statistics()
    for value in values:
        collected.report('x', value)
    collected.report('x', 2.5)
    collected.report('y', True)
    elements = torch.cat([*(value.detach().double().flatten() for value in values), torch.tensor([2.5]).double()])
    result = collected.reduce(World())
    assert list(result) == ['x', 'y']
    assert result['x']['num'] == 17
    assert result['x']['mean'] == pytest.approx(float(elements.mean()), rel=1e-12)
    assert result['x']['std'] == pytest.approx(float(elements.std(correction=0)), rel=1e-9)
    assert result['y'] == {'num': 1, 'mean': 1.0, 'std': 0.0}
    collected.reset()
    assert collected.reduce(World()) == {}


def test_constants_have_no_deviation_and_nan_stays_visible() -> None:
    collected = Statistics()
    for _ in range(3):
        collected.report('constant', torch.full((7,), 0.1))
        collected.report('empty', torch.zeros(0))
    collected.report('broken', torch.tensor([1.0, math.nan]))
    collected.report('infinite', math.inf)
    result = collected.reduce(World())
    assert result['constant']['std'] < 1e-8
    assert 'empty' not in result
    assert math.isnan(result['broken']['mean'])
    assert math.isnan(result['broken']['std'])
    assert result['infinite']['mean'] == math.inf


def test_reporting_leaves_the_value_alone() -> None:
    value = torch.ones(3)
    collected = Statistics()
    collected.report('x', value)
    value.mul_(100)
    collected.report('x', 1.0)
    assert collected.reduce(World())['x'] == {'num': 4, 'mean': 1.0, 'std': 0.0}


@dataclass(frozen=True)
class TwoRanks:
    """A world whose other rank reported other things."""

    def all_gather_object(self, value: dict) -> list[dict]:
        return [value, {'x': (1, 4.0, 16.0), 'z': (1, 1.0, 1.0)}]


def test_ranks_are_merged() -> None:
    collected = Statistics()
    collected.report('x', torch.tensor([0.0, 2.0]))
    result = collected.reduce(TwoRanks())
    assert result['x'] == {'num': 3, 'mean': 2.0, 'std': pytest.approx(math.sqrt(8 / 3))}
    assert result['z']['num'] == 1


def test_reporting_does_not_wait_for_the_device() -> None:
    """On the meta device nothing has a value: fetching one would raise."""
    collected = Statistics()
    for _ in range(2):
        collected.report('x', torch.ones(3, device='meta'))


@pytest.fixture
def without_tensorboard(monkeypatch) -> None:
    monkeypatch.setattr(statistics, '_tensorboard_writer', lambda folder, nimg: None)


def strict_lines(path) -> list[dict]:
    def refuse(name: str) -> None:
        raise AssertionError(f'{name} is not JSON')

    return [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]


def test_file(tmp_path, without_tensorboard) -> None:
    writer = StatisticsWriter(tmp_path)
    entry = {'num': 2, 'mean': 0.5, 'std': 0.1}
    writer.write({'loss': entry}, nimg=1000, timestamp=12.5)
    writer.write({'loss': {'num': 2, 'mean': math.nan, 'std': math.inf}}, nimg=2000)
    first, second = strict_lines(tmp_path / 'stats.jsonl')
    assert first == {'loss': entry, 'timestamp': 12.5}
    assert second['loss'] == {'num': 2, 'mean': None, 'std': None}
    writer.close()


def test_a_torn_line_is_dropped(tmp_path, without_tensorboard) -> None:
    path = tmp_path / 'stats.jsonl'
    path.write_text('{"timestamp": 1}\n{"timest')
    writer = StatisticsWriter(tmp_path)
    writer.write({}, nimg=0, timestamp=2.0)
    writer.close()
    assert strict_lines(path) == [{'timestamp': 1}, {'timestamp': 2.0}]


def test_what_a_killed_process_wrote_beyond_its_state_is_written_again(tmp_path, without_tensorboard) -> None:
    for nimg, kept in ((3000, 2), (2000, 2), (1999, 1), (0, 0)):
        path = tmp_path / f'{nimg}' / 'stats.jsonl'
        path.parent.mkdir()
        writer = StatisticsWriter(path.parent)
        for kimg in (1.0, 2.0):
            writer.write({'loss': {'num': 1, 'mean': 7e9, 'std': 0.0}, PROGRESS: {'num': 1, 'mean': kimg, 'std': 0.0}}, nimg=int(1000 * kimg))
        writer.close()
        StatisticsWriter(path.parent, nimg).close()
        assert [line[PROGRESS]['mean'] for line in strict_lines(path)] == [1.0, 2.0][:kept]


def test_tensorboard_gets_means_over_images(tmp_path, monkeypatch) -> None:
    calls = []

    class Recorder:
        def add_scalar(self, *args, **kwargs) -> None:
            calls.append((args, kwargs))

        def flush(self) -> None:
            pass

        close = flush

    monkeypatch.setattr(statistics, '_tensorboard_writer', lambda folder, nimg: Recorder())
    writer = StatisticsWriter(tmp_path)
    writer.write({'loss': {'num': 2, 'mean': 0.5, 'std': 0.1}}, nimg=1000, timestamp=3.0)
    writer.close()
    assert calls == [(('loss', 0.5), {'global_step': 1000, 'walltime': 3.0})]


def test_peak_memory() -> None:
    assert 2**20 < peak_memory_bytes('cpu') < 2**42
    assert peak_memory_bytes() >= 0
