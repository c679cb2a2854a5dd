"""A world of one works like a world of many; two real ranks agree, stop together, and fail with the exit code of the cause."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from dnnlib.errors import UsageError
from torch_utils import distributed
from torch_utils.distributed import World, init_from_env, launch

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
import json, os, sys, time
from pathlib import Path
import torch
from dnnlib.errors import NumericalError, command_line
from torch_utils import distributed
from torch_utils.interrupt import StopRequest

def main():
    folder, mode = Path(sys.argv[1]), sys.argv[2]
    if not distributed.is_launched():
        distributed.launch(sys.argv, 2)
    world = distributed.init_from_env('cpu')
    if mode == 'fail':
        if world.rank == 1:
            raise NumericalError('the loss is not finite')
        world.barrier()
    tensors = [torch.full((2, 3), float(world.rank)), torch.tensor(10.0 * world.rank), torch.ones(2).double() + world.rank]
    strided = torch.zeros(2, 2).T
    strided[0, 1] = world.rank
    world.all_reduce_mean_([*tensors, strided])
    module = torch.nn.BatchNorm1d(2)
    module.weight.data.fill_(world.rank + 5)
    module.num_batches_tracked.fill_(world.rank + 7)
    world.broadcast_module_(module)
    found = {
        'means': [tensor.tolist() for tensor in [*tensors, strided]],
        'module': [module.weight.tolist(), int(module.num_batches_tracked)],
        'any': [world.any(False), world.any(world.rank == 1)],
        'gathered': world.all_gather_object({'rank': world.rank}),
        'threads': torch.get_num_threads(),
        'is_main': world.is_main,
    }
    with StopRequest() as stop:
        (folder / f'rank{world.rank}.json').write_text(json.dumps(found | {'pid': os.getpid()}))
        while mode in ('wait', 'slow') and not world.any(stop.requested):
            time.sleep(0.02)
        time.sleep(1 if mode == 'slow' else 0)  # saves
    sys.stdout.write(f'last words {world.rank}\\n')  # in one piece: two ranks share the pipe
    distributed.finish(stop.exit_code)

command_line(main)()
"""


def start(folder: Path, mode: str) -> subprocess.Popen:
    """Start the program in a folder, launching two ranks by itself."""
    (folder / 'program.py').write_text(PROGRAM)
    environment = os.environ | {'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    command = [sys.executable, str(folder / 'program.py'), str(folder), mode]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(paths: list[Path], process: subprocess.Popen) -> list[dict]:
    """Read JSON files as soon as all are complete."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            return [json.loads(path.read_text()) for path in paths]
        except (FileNotFoundError, ValueError):
            time.sleep(0.05)
    raise AssertionError(process.communicate())


def test_two_ranks_agree_and_stop_together(tmp_path) -> None:
    with start(tmp_path, 'wait') as process:
        ranks = wait_for([tmp_path / f'rank{rank}.json' for rank in range(2)], process)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert 'Traceback' not in err and 'death signal' not in err, err
    assert sorted(out.splitlines()) == ['last words 0', 'last words 1']
    for rank, found in enumerate(ranks):
        assert found['means'] == [[[0.5] * 3] * 2, 5.0, [1.5, 1.5], [[0.0, 0.5], [0.0, 0.0]]]
        assert found['module'] == [[5.0, 5.0], 7]
        assert found['any'] == [False, True]
        assert found['gathered'] == [{'rank': 0}, {'rank': 1}]
        assert found['threads'] == 1
        assert found['is_main'] == (rank == 0)
        assert not Path(f'/proc/{found["pid"]}').exists()


def test_a_scheduler_that_signals_every_process_asks_once(tmp_path) -> None:
    with start(tmp_path, 'slow') as process:
        ranks = wait_for([tmp_path / f'rank{rank}.json' for rank in range(2)], process)
        agent = int(Path(f'/proc/{ranks[0]["pid"]}/stat').read_text().rpartition(')')[2].split()[1])
        for pid in (process.pid, agent, *(found['pid'] for found in ranks)):
            os.kill(pid, signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert sorted(out.splitlines()) == ['last words 0', 'last words 1'], err


def test_a_failing_rank_ends_the_job_with_its_exit_code(tmp_path) -> None:
    with start(tmp_path, 'fail') as process:
        _, err = process.communicate(timeout=120)
    assert process.returncode == 70, err
    assert 'error: the loss is not finite\n' in err
    assert 'Traceback' not in err, err


def test_a_rank_that_dies_without_a_word_is_named(tmp_path) -> None:
    with start(tmp_path, 'wait') as process:
        ranks = wait_for([tmp_path / f'rank{rank}.json' for rank in range(2)], process)
        os.kill(ranks[1]['pid'], signal.SIGKILL)
        _, err = process.communicate(timeout=60)
    assert process.returncode != 0
    assert 'error: rank 1 was killed by signal 9.' in err, err
    assert not any(running(found['pid']) for found in ranks)


SLOW_HOOK = """
import sys, time
from pathlib import Path
from dnnlib.errors import command_line
from tests.training.tiny import tiny_config, trainer_of
from torch_utils import distributed
from torch_utils.interrupt import StopRequest
from training.loop import Hook

class Slow(Hook):
    def at_snapshot(self, trainer):
        if trainer.world.is_main:
            time.sleep(4)

def main():
    if not distributed.is_launched():
        distributed.launch(sys.argv, 2)
    distributed._STEP_TIMEOUT_S = 2
    world = distributed.init_from_env('cpu')
    trainer, _ = trainer_of(tiny_config('loop.kimg=0.048', 'loop.snapshot_ticks=1'), Path(sys.argv[1]), world)
    trainer.run([Slow()], StopRequest())
    distributed.finish(0)

command_line(main)()
"""


def test_ranks_wait_longer_for_one_that_measures_than_for_one_that_steps(tmp_path) -> None:
    (tmp_path / 'program.py').write_text(SLOW_HOOK)
    environment = os.environ | {'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    command = [sys.executable, str(tmp_path / 'program.py'), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / 'training-state-000000048.pt').is_file()


@pytest.mark.slow
def test_ranks_die_with_their_launcher(tmp_path) -> None:
    with start(tmp_path, 'wait') as process:
        ranks = wait_for([tmp_path / f'rank{rank}.json' for rank in range(2)], process)
        process.kill()
        process.communicate(timeout=10)  # the ranks hold the pipes, so this returns when they are gone
    assert not any(running(found['pid']) for found in ranks)


def running(pid: int) -> bool:
    """Return whether a process exists and is more than an entry that waits to be collected."""
    try:
        return '\nState:\tZ' not in Path(f'/proc/{pid}/status').read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_world_of_one() -> None:
    world = World()
    tensor, module = torch.ones(2), nn.Linear(2, 2)
    before = module.weight.clone()
    world.all_reduce_mean_([tensor])
    world.broadcast_module_(module)
    world.barrier()
    assert torch.equal(tensor, torch.ones(2))
    assert torch.equal(module.weight, before)
    assert world.is_main
    assert world.any(True) is True
    assert world.any(False) is False
    assert world.all_gather_object('x') == ['x']
    distributed.finish()
    with pytest.raises(SystemExit) as ended:
        distributed.finish(143)
    assert ended.value.code == 143


def test_no_launcher_no_group(monkeypatch) -> None:
    for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK'):
        monkeypatch.delenv(name, raising=False)
    assert not distributed.is_launched()
    assert init_from_env('cpu') == World()


def test_more_than_there_is(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    with pytest.raises(UsageError, match='3 GPUs were asked for, and this machine has 2'):
        launch(['train.py'], 3)
    with pytest.raises(UsageError, match='at least 1'):
        launch(['train.py'], 0)
    monkeypatch.setenv('LOCAL_RANK', '5')
    with pytest.raises(UsageError, match='GPU number 5'):
        init_from_env()
