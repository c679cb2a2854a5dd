"""Two ranks train what one rank trains: the same draws exactly, the same weights up to the order of summation."""

import os
import subprocess
import sys
from pathlib import Path

import torch

from tests.training.tasks.test_arrangement import WITH_PHOTOGRAPHS
from tests.training.tiny import config_of, tiny_config, trainer_of
from torch_utils.distributed import World
from training.build import build

ROOT = Path(__file__).resolve().parents[2]
STEPS = 3

RANK_PROGRAM = f"""
import sys
from pathlib import Path
import torch
from tests.training.tiny import tiny_config, trainer_of
from torch_utils import distributed
world = distributed.init_from_env('cpu')
trainer, _ = trainer_of(tiny_config('ada.mode=ada', 'ada.initial=0.2', 'ada.interval=1'), Path(sys.argv[1]), world)
for _ in range({STEPS}):
    trainer.iterate()
summary = trainer.statistics.reduce(world)
if world.is_main:
    torch.save({{'G': trainer.task.generator.state_dict(), 'D': trainer.task.discriminator.state_dict(), 'p': trainer.task.state_dict(),
                'fake': summary['Loss/scores/fake']}}, sys.argv[1] + '/result.pt')
distributed.finish()
"""


READING_PROGRAM = f"""
import sys
from pathlib import Path
import torch
from tests.training.tiny import config_of, trainer_of
from torch_utils import distributed
world = distributed.init_from_env('cpu')
trainer, _ = trainer_of(config_of('poses read'), Path(sys.argv[1]), world)
for _ in range({STEPS}):
    trainer.iterate()
mine = trainer.task.conditions.readings.state_dict()
for other in world.all_gather_object(mine):
    assert all(torch.equal(mine[name], other[name]) for name in mine), 'the ranks remember different things'
if world.is_main:
    torch.save({{'G': trainer.task.generator.state_dict(), 'D': trainer.task.discriminator.state_dict(), **mine}}, sys.argv[1] + '/result.pt')
distributed.finish()
"""


def of_two_ranks(program_text: str, folder: Path) -> dict:
    """What the main rank of two wrote."""
    program = folder / 'rank.py'
    program.write_text(program_text)
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', '2', str(program), str(folder)]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    return torch.load(folder / 'result.pt', weights_only=True)


def test_two_ranks_equal_one(tmp_path: Path) -> None:
    both = of_two_ranks(RANK_PROGRAM, tmp_path)

    alone, _ = trainer_of(tiny_config('ada.mode=ada', 'ada.initial=0.2', 'ada.interval=1'), tmp_path, World())
    for _ in range(STEPS):
        alone.iterate()
    summary = alone.statistics.reduce(World())
    assert summary['Loss/scores/fake']['num'] == both['fake']['num']
    for key, network in (('G', alone.task.generator), ('D', alone.task.discriminator)):
        for name, tensor in network.state_dict().items():
            torch.testing.assert_close(both[key][name], tensor, rtol=2e-4, atol=2e-5, msg=lambda message, name=name: f'{name}: {message}')
    assert both['p'] == alone.task.state_dict()


def test_two_ranks_read_what_one_reads(tmp_path: Path) -> None:
    """Every rank remembers the readings of all, class by class and in the order of the global batch."""
    both = of_two_ranks(READING_PROGRAM, tmp_path)
    alone, _ = trainer_of(config_of('poses read'), tmp_path, World())
    for _ in range(STEPS):
        alone.iterate()
    readings = alone.task.conditions.readings
    assert torch.equal(both['written'], readings.written) and int(readings.written.sum()) == 8 * STEPS and (readings.written > 0).all()
    torch.testing.assert_close(both['codes'], readings.codes, rtol=2e-3, atol=2e-4)
    for key, network in (('G', alone.task.generator), ('D', alone.task.discriminator)):
        for name, tensor in network.state_dict().items():
            torch.testing.assert_close(both[key][name], tensor, rtol=2e-4, atol=2e-5, msg=lambda message, name=name: f'{name}: {message}')


ARRANGING_PROGRAM = """
import sys
import torch
from tests.training.tasks.test_arrangement import WITH_PHOTOGRAPHS
from tests.training.tiny import config_of
from torch_utils import distributed
from training.build import build
from training.tasks import arrangement
world = distributed.init_from_env('cpu')
calls, whole = [], arrangement.ring_of
arrangement.ring_of = lambda *given: calls.append(1) or whole(*given)
mine = build(config_of('poses read', *WITH_PHOTOGRAPHS), world).task.arranged
assert world.all_gather_object(len(calls)) == [1, 1], 'each rank arranges one of the two classes'
facts = {name: getattr(mine, name) for name in ('codes', 'classes', 'images', 'rows')}
for other in world.all_gather_object(facts):
    assert all(torch.equal(tensor, other[name]) for name, tensor in facts.items()), 'the ranks arrange differently'
if world.is_main:
    torch.save(facts, sys.argv[1] + '/result.pt')
distributed.finish()
"""


def test_ranks_share_the_arranging_and_agree(tmp_path: Path) -> None:
    both = of_two_ranks(ARRANGING_PROGRAM, tmp_path)
    alone = build(config_of('poses read', *WITH_PHOTOGRAPHS)).task.arranged
    for name in ('classes', 'images', 'rows'):
        assert torch.equal(both[name], getattr(alone, name)), name
    torch.testing.assert_close(both['codes'], alone.codes, rtol=0, atol=1e-4)
