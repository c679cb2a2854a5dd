"""Contestants, targets, and what a case has to say about itself."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal, Protocol

import torch

from benchmarks.timing import Part
from benchmarks.work import Work
from custom_ops import backend
from torch_utils.memory import keep_freed_memory

NAIVE = 'naive'  # benchmarks/naive
NAIVE_TUNED = 'naive, TF32 and channels last'  # what two lines make of it on a GPU
REFERENCE = 'reference'  # our networks in plain PyTorch, kernels switched off
COMPILED = 'compiled reference'  # the same under torch.compile
KERNELS = 'kernels'  # our networks as they run
KERNELS_BF16 = 'kernels, bf16'  # matrix products in bfloat16
GRAPH = 'kernels, bf16, CUDA graph'  # the same, launched as a whole; a GPU's alone


class NotMeasurable(Exception):
    """Why something cannot be measured here, as half a sentence."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is wanted of a contestant: to be so many times as fast as `against`, to take at most so many times its time ('times'), or at most
    so many ms or MiB above inputs."""

    bound: float
    unit: Literal['x', 'times', 'ms', 'MiB'] = 'x'
    contestant: str = KERNELS
    against: str = NAIVE
    device: Literal['cpu', 'cuda'] = 'cpu'

    @property
    def text(self) -> str:
        return f'>= {self.bound:g}x' if self.unit == 'x' else f'<= {self.bound:g} {self.unit}'


class Case(Protocol):
    """Frozen and picklable: child processes build it anew."""

    @property
    def name(self) -> str: ...

    @property
    def contestants(self) -> tuple[str, ...]:
        """Who can take part, whatever the machine; the naive one first."""
        ...

    @property
    def measures_memory(self) -> bool: ...

    @property
    def targets(self) -> tuple[Target, ...]: ...

    def work(self) -> Work: ...

    def build(self, contestant: str, device: torch.device) -> tuple[Part, ...]:
        """Weights and inputs, and what runs on them. The same numbers for every contestant."""
        ...

    def small(self) -> 'Case':
        """The same operations at sizes that take no time."""
        ...


def prepare(threads: int, *, keeps_memory: bool = False) -> None:
    """This process, as train.py sets itself up: denormal numbers are zero, and freed memory stays where it is if so wanted."""
    if keeps_memory:
        keep_freed_memory()
    torch.set_flush_denormal(True)
    torch.set_num_threads(threads)


@cache
def kernels_in_use(device: torch.device) -> list[str]:
    """Operations for which 'auto' takes a kernel on this device; builds them where they are not built."""
    return [op for op, kernels in backend.KERNELS.items() if kernels and backend.explain(op, 'auto', device)[0] != 'reference']


def reference_only() -> contextlib.AbstractContextManager:
    """Where kernels stay switched off."""
    return backend.forced('reference')


@contextlib.contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Whether matrix products and convolutions of float32 numbers may round them to ten bits, on GPUs that can."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def as_contestant(contestant: str, run: Callable[[], object]) -> Callable[[], object]:
    """`run` under the switches of the contestant."""
    switches = {
        NAIVE: lambda: tf32(False), NAIVE_TUNED: lambda: tf32(True), REFERENCE: reference_only, COMPILED: reference_only,
    }.get(contestant, contextlib.nullcontext)

    def switched() -> object:
        with switches():
            return run()

    return switched


def recorded(run: Callable[[], object], device: torch.device) -> Callable[[], object]:
    """`run` as a CUDA graph: its kernels are recorded once and replayed with one launch. Raises NotMeasurable where it cannot be recorded."""
    here, aside, graph = torch.cuda.current_stream(device), torch.cuda.Stream(device), torch.cuda.CUDAGraph()
    aside.wait_stream(here)
    with torch.cuda.stream(aside):
        for _ in range(3):  # what happens once, such as building kernels and choosing algorithms, is not to be recorded
            run()
    here.wait_stream(aside)
    try:
        with torch.cuda.graph(graph):
            run()
    except RuntimeError as error:
        raise NotMeasurable(f'it could not be recorded: {str(error).strip().splitlines()[0]}') from error
    return graph.replay


def compiled(contestant: str, function: Callable) -> Callable:
    """`function`, through torch.compile where the contestant is the compiled one."""
    return torch.compile(function) if contestant == COMPILED else function
