"""What one waits for before anything happens: kernels that are built for the first time, and a training up to its first step."""

import contextlib
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
from custom_ops.jit import KernelUnavailable
from custom_ops.jit.device import build_device

CPU_BUILDS_LIMIT_S = 60.0  # all kernels together
GPU_BUILD_LIMIT_S = 10.0  # each kernel, by NVRTC
FIRST_STEP_LIMIT_S = 10.0
ARCHITECTURE = 'sm_90'  # for which kernels of a GPU are compiled where there is none
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Build:
    """A kernel that was built in an empty cache: for what kind of device, in how many wall seconds, and what came of it."""

    operation: str
    device: str
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
        seconds = {device: [build.seconds for build in self.builds if build.device == device] for device in ('cpu', 'cuda')}
        wanted = [(kind, 'first step of `demo`', median(self.first_step), FIRST_STEP_LIMIT_S)]
        if seconds['cpu']:
            wanted.append(('cpu', 'all kernels built', sum(seconds['cpu']), CPU_BUILDS_LIMIT_S))
        if seconds['cuda']:
            wanted.append(('cuda', 'each kernel built', max(seconds['cuda']), GPU_BUILD_LIMIT_S))
        return [f'Target ({on}): {what} <= {limit:g} s: {"met" if found <= limit else "missed"} ({found:.1f} s)' for on, what, found, limit in wanted]


def begin(device: torch.device, rounds: int, operations: tuple[str, ...] | None = None) -> Beginning:
    """Build kernels (of `operations`, or all) in a cache of their own, then begin a training `rounds` times. Raises NotMeasurable.

    On a processor the kernels of a GPU are compiled too, each as it is met first, if there is a compiler for them.
    """
    if device.type not in ('cpu', 'cuda'):
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
        builds.append(Build(op, device.type, time.perf_counter() - started, f'{chosen}: {why}'))
    if device.type == 'cpu':
        sources = [entry for entry in backend.DEVICE_SOURCES if entry.op in operations]
        with contextlib.suppress(KernelUnavailable):  # neither NVRTC nor nvcc is here
            for entry in sources:
                artefact = build_device(entry.name, entry.source, arch=ARCHITECTURE, defines=entry.defines[0])
                builds.append(Build(entry.op, 'cuda', artefact.seconds, f'compiled for {ARCHITECTURE} by {artefact.compiler}'))
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
