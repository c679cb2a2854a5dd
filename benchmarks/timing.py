"""Timing by turns: every contestant runs once per round, so that whatever else the machine does meets all of them alike."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import torch

LEAST_SECONDS = 0.05  # shorter work is repeated within a round until it takes about as long
MOST_REPEATS = 1000


@dataclass(frozen=True, slots=True)
class Part:
    """Something to run, and how often it happens per unit of work: a step has its R1 penalty in one of sixteen iterations."""

    name: str
    run: Callable[[], object]
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds per unit of work, one entry per round: processor time of all threads, and wall time."""

    cpu: tuple[float, ...]
    wall: tuple[float, ...]

    def seconds(self, device: torch.device) -> tuple[float, ...]:
        """What counts: processor time, which other processes disturb least, or on a GPU, where it says little, wall time."""
        return self.cpu if device.type == 'cpu' else self.wall


def speed_up(slow: Sequence[float], fast: Sequence[float]) -> tuple[float, float, float]:
    """(median, least, largest) over rounds of slow / fast, both measured in the same rounds."""
    ratios = [a / b for a, b in zip(slow, fast, strict=True)]
    return median(ratios), min(ratios), max(ratios)


def warm_up(parts: Sequence[Part], device: torch.device) -> list[int]:
    """Run every part once, which builds kernels and fills caches, and say how often each is to be repeated within a round."""
    repeats = []
    for part in parts:
        first = _clock(part.run, 1, device)[1]
        if first < LEAST_SECONDS:  # the first run is the slowest; only for short work is it worth another look
            first = _clock(part.run, 1, device)[1]
        repeats.append(max(1, min(MOST_REPEATS, round(LEAST_SECONDS / max(first, 1e-9)))))
    return repeats


def by_turns(
    contestants: Mapping[str, Sequence[Part]], repeats: Mapping[str, Sequence[int]], rounds: int, device: torch.device
) -> dict[str, Timings]:
    """Time warmed-up contestants; `repeats` come from warm_up. Each round begins with another contestant."""
    names = list(contestants)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for i in range(rounds):
        first = i % len(names)
        for name in names[first:] + names[:first]:
            cpu = wall = 0.0
            for part, times in zip(contestants[name], repeats[name], strict=True):
                part_cpu, part_wall = _clock(part.run, times, device)
                cpu, wall = cpu + part.weight * part_cpu, wall + part.weight * part_wall
            found[name].append((cpu, wall))
    return {name: Timings(*(tuple(column) for column in zip(*rows, strict=True))) for name, rows in found.items()}


def _clock(run: Callable[[], object], times: int, device: torch.device) -> tuple[float, float]:
    """(processor, wall) seconds per run."""
    _wait(device)
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(times):
        run()
    _wait(device)
    return (time.process_time() - cpu) / times, (time.perf_counter() - wall) / times


def _wait(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
