"""Training statistics: collected without making the host wait for the device, averaged over all ranks, written as strict JSON."""

import json
import math
import os
import re
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dnnlib.errors import StorageError, describe_os_error
from torch_utils.distributed import World

Summary = dict[str, dict[str, float]]
PROGRESS = 'Progress/kimg'  # the entry that says when a line was written


class Statistics:
    """Number, sum and sum of squares of everything that was reported under a name since the last reset, in float64."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._moments: dict[str, Tensor] = {}  # [sum, sum of squares], on the device of what was reported

    @torch.no_grad()
    def report(self, name: str, value: Tensor | float) -> None:
        """Add all elements of a tensor, or one number. Never waits for the device."""
        if isinstance(value, Tensor):
            # Apple's GPUs have no float64; there the sums are kept in float32.
            elements = value.detach().flatten().to(torch.float32 if value.device.type == 'mps' else torch.float64)
            moments = torch.stack([elements.sum(), elements.square().sum()])
            count = elements.numel()
        else:
            moments = torch.tensor([float(value), float(value) ** 2], dtype=torch.float64)
            count = 1
        before = self._moments.get(name)
        assert before is None or before.device == moments.device, f"'{name}' was reported from {before.device} and from {moments.device}"
        self._counts[name] = self._counts.get(name, 0) + count
        self._moments[name] = moments if before is None else before.add_(moments)

    def reduce(self, world: World) -> Summary:
        """Return {name: {num, mean, std}} over all ranks, sorted by name. Every rank calls it, and every rank gets the same.

        std is that of the elements (not of an estimate of the mean). Names may differ between ranks; one without elements is left out.
        Waits for the device, once for each device that was reported from.
        """
        total: dict[str, list[float]] = {}
        for part in world.all_gather_object(self._on_host()):
            for name, (count, first, second) in part.items():
                sums = total.setdefault(name, [0, 0.0, 0.0])
                sums[0] += count
                sums[1] += first
                sums[2] += second
        return {name: _summarise(*total[name]) for name in sorted(total) if total[name][0] > 0}

    def reset(self) -> None:
        """Forget everything."""
        self._counts.clear()
        self._moments.clear()

    def _on_host(self) -> dict[str, tuple[int, float, float]]:
        """Return {name: (count, sum, sum of squares)} as Python numbers, fetching everything from one device in one transfer."""
        by_device: dict[torch.device, list[str]] = {}
        for name, moments in self._moments.items():
            by_device.setdefault(moments.device, []).append(name)
        found = {}
        for names in by_device.values():
            sums = torch.stack([self._moments[name] for name in names]).tolist()
            found |= {name: (self._counts[name], first, second) for name, (first, second) in zip(names, sums, strict=True)}
        return found


def _summarise(count: int, first: float, second: float) -> dict[str, float]:
    mean = first / count
    variance = second / count - mean * mean
    # Rounding may leave a variance of zero slightly negative; max() would also turn NaN into 0, which must stay visible.
    std = math.sqrt(variance) if variance > 0 else 0.0 if variance <= 0 else math.nan
    return {'num': count, 'mean': mean, 'std': std}


class StatisticsWriter:
    """Appends to stats.jsonl in a run folder, and to TensorBoard events where TensorBoard is installed. For the main rank only.

    nimg: images seen by the state that is taken up. What a killed process wrote beyond it goes, for it will be written again.
    """

    def __init__(self, folder: str | os.PathLike, nimg: int = 0) -> None:
        path = Path(folder) / 'stats.jsonl'
        _cut_off(path, nimg)
        self._file = path.open('a', encoding='utf-8')
        self._tensorboard = _tensorboard_writer(folder, nimg)

    def write(self, statistics: Summary, nimg: int, timestamp: float | None = None) -> None:
        """Append {"name": {"num", "mean", "std"}, ..., "timestamp": seconds since 1970} as one line; what is not finite becomes null.

        `nimg`, the images seen so far, is the horizontal axis in TensorBoard.
        """
        timestamp = time.time() if timestamp is None else timestamp
        line = {name: {key: _finite_or_none(number) for key, number in entry.items()} for name, entry in statistics.items()}
        try:
            self._file.write(json.dumps(line | {'timestamp': timestamp}, allow_nan=False) + '\n')
            self._file.flush()
        except OSError as error:
            raise StorageError(f"Cannot write '{self._file.name}': {describe_os_error(error)}. Free some space, then resume.") from error
        if self._tensorboard is not None:
            for name, entry in statistics.items():
                self._tensorboard.add_scalar(name, entry['mean'], global_step=nimg, walltime=timestamp)
            self._tensorboard.flush()

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        if self._tensorboard is not None:
            self._tensorboard.close()


def peak_memory_bytes(device: torch.device | str | None = None) -> int:
    """Return the most memory in use so far: of the CUDA device if there is one (and `device` is not the CPU), else of this process."""
    on_cuda = torch.cuda.is_available() if device is None else torch.device(device).type == 'cuda'
    if on_cuda:
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == 'darwin' else peak * 1024


def _finite_or_none(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _cut_off(path: Path, nimg: int) -> None:
    """Cut off an incomplete last line, so that every line stays JSON, and lines of more images than `nimg`."""
    if not path.exists():
        return
    with open(path, 'r+b') as file:
        kept = 0
        for line in file.read().splitlines(keepends=True):
            written = re.search(rb'"%s": \{"num": 1, "mean": ([0-9.e+-]+)' % PROGRESS.encode(), line)
            if not line.endswith(b'\n') or (written and float(written[1]) * 1000 > nimg + 0.5):
                break
            kept += len(line)
        file.truncate(kept)


def _tensorboard_writer(folder: str | os.PathLike, nimg: int) -> Any:
    """Return a SummaryWriter, or None without TensorBoard. Imported here because that takes seconds."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(os.fspath(folder), purge_step=nimg + 1 if nimg else None)
