"""One comparison: who can take part, the timed rounds, and the memory of each contestant."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from statistics import median

import torch

from benchmarks.cases.case import COMPILED, GRAPH, KERNELS, KERNELS_BF16, NAIVE_TUNED, Case, NotMeasurable, Target, kernels_in_use
from benchmarks.children import in_child, problem_with
from benchmarks.curves import Curve, Fit, fit
from benchmarks.machine import computes_bf16
from benchmarks.memory import peak_in_child
from benchmarks.timing import Part, Timings, by_turns, speed_up, warm_up


@dataclass(frozen=True, slots=True)
class Options:
    """How everything is measured."""

    device: torch.device
    rounds: int
    threads: int
    compile: bool = False
    memory: bool = True


@dataclass(frozen=True, slots=True)
class Measured:
    """Of one case, by contestant. Who could not be measured is in `reasons`."""

    case: Case
    device: torch.device
    timings: dict[str, Timings] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)  # bytes above inputs
    reasons: dict[str, str] = field(default_factory=dict)

    def speed_up(self, contestant: str, against: str) -> tuple[float, float, float] | None:
        """(median, least, largest) over rounds, where both were measured."""
        if contestant not in self.timings or against not in self.timings:
            return None
        return speed_up(self.timings[against].seconds(self.device), self.timings[contestant].seconds(self.device))

    def verdict(self, target: Target) -> str:
        """'met (12.1x)', 'missed (8.0x)', or why nobody can tell."""
        if target.device != self.device.type:
            return f'not measurable here: this is a run on {self.device.type}'
        if target.unit == 'MiB':
            found = self.memory.get(target.contestant)
            found = None if found is None else found / 2**20
        elif target.unit == 'ms':
            timings = self.timings.get(target.contestant)
            found = None if timings is None else median(timings.wall) * 1000
        else:
            faster, slower = target.contestant, target.against
            ratios = self.speed_up(slower, faster) if target.unit == 'times' else self.speed_up(faster, slower)
            found = None if ratios is None else ratios[0]
        if found is None:
            lacking = target.contestant if target.contestant in self.reasons else target.against
            return f'not measurable here: {self.reasons.get(lacking, "memory was not asked for")}'
        met = found >= target.bound if target.unit == 'x' else found <= target.bound
        shown = {'x': f'{found:.1f}x', 'times': f'{found:.2f} times'}.get(target.unit, f'{found:.3g} {target.unit}')
        return f'{"met" if met else "missed"} ({shown})'


def compare(case: Case, options: Options, note: Callable[[str], None]) -> Measured:
    """Time all contestants by turns, then each one's memory in a process of its own. `note` hears what happens."""
    measured = Measured(case, options.device)
    if options.device.type == 'cpu' and case.targets and all(target.device == 'cuda' for target in case.targets):
        return measured  # a case for a GPU, which would take hours here
    parts, repeats = {}, {}
    for contestant in _invited(case, options):
        try:
            parts[contestant], repeats[contestant] = _ready(case, contestant, options)
            note(f'{contestant} is ready')
        except NotMeasurable as error:
            measured.reasons[contestant] = str(error)
    measured.timings.update(by_turns(parts, repeats, options.rounds, options.device))
    for contestant in parts if options.memory and case.measures_memory else ():
        try:
            measured.memory[contestant] = peak_in_child(case, contestant, options.device, options.threads)
        except NotMeasurable as error:
            note(f'memory of {contestant}: {error}')
    return measured


@dataclass(frozen=True, slots=True)
class Followed:
    """A curve as it was found: by contestant, the seconds at its points and the line through them."""

    curve: Curve
    seconds: dict[str, tuple[float, ...]]
    fits: dict[str, Fit]
    reasons: dict[str, str]


def follow(curve: Curve, options: Options, note: Callable[[str], None]) -> Followed:
    """All contestants at all points in the same rounds; torch.compile, which starts anew at every size, stays away."""
    options = replace(options, compile=False)
    parts, repeats, reasons = {}, {}, {}
    for size, case in curve.points:
        for contestant in _invited(case, options):
            if contestant in reasons:
                continue
            try:
                parts[contestant, size], repeats[contestant, size] = _ready(case, contestant, options)
            except NotMeasurable as error:
                reasons[contestant] = str(error)
        note(f'{curve.axis}: {size} is ready')
    timings = by_turns(parts, repeats, options.rounds, options.device)
    sizes = [size for size, _ in curve.points]
    seconds = {
        contestant: tuple(median(timings[contestant, size].seconds(options.device)) for size in sizes)
        for contestant in dict.fromkeys(name for name, _ in parts)
    }
    return Followed(curve, seconds, {contestant: fit(sizes, found) for contestant, found in seconds.items()}, reasons)


def _invited(case: Case, options: Options) -> list[str]:
    """Those of the case that make sense on the device; torch.compile only where it was asked for."""
    uninvited = [*([] if options.compile else [COMPILED]), *([] if options.device.type == 'cuda' else [NAIVE_TUNED, GRAPH])]
    return [contestant for contestant in case.contestants if contestant not in uninvited]


def _ready(case: Case, contestant: str, options: Options) -> tuple[tuple[Part, ...], list[int]]:
    """The contestant's parts, warmed up, and how often to repeat them. Raises NotMeasurable."""
    device = options.device
    if contestant == KERNELS and not kernels_in_use(device):
        raise NotMeasurable(f'there is no kernel for {device.type} here')
    if contestant in (KERNELS_BF16, GRAPH) and not computes_bf16(device):
        raise NotMeasurable(f'this {"processor" if device.type == "cpu" else "GPU"} does not compute in bfloat16')
    if contestant == COMPILED:
        # A compiler is only a guest here; what it makes of a case is tried where a crash does no harm, and is then found in its cache.
        problem = in_child(problem_with, case, contestant, device, options.threads)
        if problem is not None:
            raise NotMeasurable(f'torch.compile failed with {problem}')
    parts = case.build(contestant, device)
    return parts, warm_up(parts, device)
