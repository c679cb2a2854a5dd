"""Peak memory above the inputs, each contestant in a process of its own: what others have allocated and freed does not hide it."""

import gc
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.cases.case import Case, NotMeasurable, prepare
from benchmarks.children import in_child

_STATUS, _CLEAR = Path('/proc/self/status'), Path('/proc/self/clear_refs')
_RESET_PEAK = '5'  # what clear_refs takes for "forget the peak of the resident set" (proc(5))


def peak_in_child(case: Case, contestant: str, device: torch.device, threads: int) -> int:
    """Bytes above weights and inputs that one unit of work takes at its peak. Raises NotMeasurable where that cannot be told."""
    if device.type == 'cpu' and not sys.platform.startswith('linux'):
        raise NotMeasurable('the peak of the resident set is read from /proc, which only Linux has')
    return in_child(_peak_of_case, case, contestant, device, threads)


def _peak_of_case(case: Case, contestant: str, device: torch.device, threads: int) -> int:
    prepare(threads)
    for part in case.small().build(contestant, device):  # libraries set themselves up, kernels are loaded: not this case's memory
        part.run()
    parts = case.build(contestant, device)
    return peak_above(lambda: [part.run() and None for part in parts], device)


def peak_above(run: Callable[[], object], device: torch.device) -> int:
    """Bytes that `run` takes at its peak above what was there before: resident memory, on a GPU allocated memory."""
    gc.collect()
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    before = _resident('VmRSS')
    _CLEAR.write_text(_RESET_PEAK)
    run()
    return max(0, _resident('VmHWM') - before)


def _resident(field: str) -> int:
    """A line of /proc/self/status, which counts in KiB, in bytes."""
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f'{field}:'):
            return int(line.split()[1]) * 1024
    raise NotMeasurable(f'{_STATUS} has no {field}')
