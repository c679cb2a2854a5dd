"""What the loop knows of a method: its networks, its optimiser steps, and the loss terms of each."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from torch_utils.distributed import World
from torch_utils.rng import Stream
from training.data.item import Batch


@dataclass(frozen=True, slots=True)
class Phase:
    """One optimiser step on one network."""

    name: str
    trains: str  # a key of Task.networks


@dataclass(frozen=True, slots=True)
class Moment:
    """Where training stands, and the randomness that belongs there."""

    nimg: int  # real images seen before this iteration
    step: int  # iterations before this one
    stream: Stream  # addressed by (seed, nimg, phase) and the global rows of the micro-batch
    report: Callable[[str, Tensor | float], None]  # report(name, values): enters the log as mean and spread; nothing reads it back


class Task(Protocol):
    """A method of training. The loop owns gradients, optimisers, averages, checkpoints and time; the task owns meaning."""

    networks: dict[str, nn.Module]
    averaged: tuple[str, ...]  # networks of which the loop keeps a moving average
    phases: tuple[Phase, ...]

    def terms(self, phase: Phase, batch: Batch, moment: Moment) -> Iterator[Tensor]:
        """Per-sample loss terms [n] of a micro-batch. The loop backpropagates each tensor before asking for the next, to save memory."""
        ...

    def finish_step(self, moment: Moment, world: World) -> None:
        """After all phases of an iteration: controllers and running averages, from what the ranks saw together."""
        ...

    def state_dict(self) -> dict[str, float]:
        """What besides the networks must survive a resume."""
        ...

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Continue where `state_dict` was taken."""
        ...
