"""What one waits for before anything happens: kernels that are built for the first time, and a training up to its first step."""

import os
import runpy
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch

from benchmarks.cases.case import NotMeasurable
from benchmarks.children import in_child
from custom_ops import backend

BUILD_LIMIT_S = {'cpu': 60.0, 'cuda': 10.0}  # of all kernels together; of each
FIRST_STEP_LIMIT_S = 10.0
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Build:
    """A kernel that was built in an empty cache: wall seconds, loading included, and what came of it."""

    operation: str
    seconds: float
    outcome: str


@dataclass(frozen=True, slots=True)
class Beginning:
    """Of one device. `first_step` has an entry per round: wall seconds from the start of the command to the end of the first step."""

    device: torch.device
    builds: tuple[Build, ...]
    first_step: tuple[float, ...]

    def verdicts(self) -> list[str]:
        """What is wanted, and whether it was found."""
        kind = self.device.type
        seconds = [build.seconds for build in self.builds]
        what, found = ('all kernels built', sum(seconds)) if kind == 'cpu' else ('each kernel built', max(seconds, default=0.0))
        wanted = ((what, found, BUILD_LIMIT_S[kind]), ('first step of `demo`', median(self.first_step), FIRST_STEP_LIMIT_S))
        return [f'Target ({kind}): {what} <= {limit:g} s: {"met" if found <= limit else "missed"} ({found:.1f} s)' for what, found, limit in wanted]


def begin(device: torch.device, rounds: int, operations: tuple[str, ...] | None = None) -> Beginning:
    """Build kernels (of `operations`, or all) in a cache of their own, then begin a training `rounds` times. Raises NotMeasurable."""
    if device.type not in BUILD_LIMIT_S:
        raise NotMeasurable(f'there are no kernels for {device.type}')
    chosen = operations or tuple(op for op, kernels in backend.KERNELS.items() if device.type in kernels)
    with tempfile.TemporaryDirectory() as folder:
        builds = in_child(_build, chosen, device, folder)
    for op in backend.KERNELS:  # in the usual cache: a training that builds kernels is another measurement
        backend.explain(op, 'auto', device)
    return Beginning(device, builds, tuple(_first_step(device) for _ in range(rounds)))


def _build(operations: tuple[str, ...], device: torch.device, cache: str) -> tuple[Build, ...]:
    """To be called in a child, whose cache it changes."""
    os.environ['UNPOSED_CACHE'] = cache
    builds = []
    for op in operations:
        started = time.perf_counter()
        chosen, why = backend.explain(op, 'auto', device)
        builds.append(Build(op, time.perf_counter() - started, f'{chosen}: {why}'))
    return tuple(builds)


def _first_step(device: torch.device) -> float:
    """Seconds that `python train.py --cfg demo` takes from its start to the end of its first step."""
    with tempfile.TemporaryDirectory() as folder:
        command = (sys.executable, '-m', 'benchmarks.beginning', '--cfg', 'demo', '--outdir', folder, '--gpus', '1', '--device', device.type)
        started = time.monotonic()
        child = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    if child.returncode:
        raise NotMeasurable(f'train.py ended with {child.returncode}: {child.stderr.strip()[-200:]}')
    return float(child.stdout.split()[-1]) - started


def _train_one_step() -> None:
    """train.py with this process's arguments, up to the end of its first step; prints the time of the system's clock then."""
    from training.loop import Trainer

    iterate = Trainer.iterate

    def iterate_once(trainer: Trainer) -> None:
        iterate(trainer)
        if trainer.world.device.type == 'cuda':
            torch.cuda.synchronize()
        print(time.monotonic(), flush=True)
        os._exit(0)

    Trainer.iterate = iterate_once
    sys.argv[0] = 'train.py'
    runpy.run_path(str(ROOT / 'train.py'), run_name='__main__')


if __name__ == '__main__':
    _train_one_step()
