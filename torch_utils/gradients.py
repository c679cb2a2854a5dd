"""Gradients are checked before they are used: a number that is not finite must not reach a weight, and noticing it must not cost a wait."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dnnlib.errors import NumericalError
from dnnlib.units import format_names

_NAMES_SHOWN = 5


@dataclass(frozen=True, slots=True)
class GradientNorms:
    """Euclidean norms of the gradients of a network, on their device. One pass over the gradients finds them and whether all is well."""

    names: tuple[str, ...]  # of the parameters that have a gradient
    each: Tensor  # float32 [number of names]

    @property
    def total(self) -> Tensor:
        """The norm of all gradients together, float32 []; 0 if there are none."""
        return torch.linalg.vector_norm(self.each)

    @property
    def spoilt(self) -> Tensor:
        """float32 []: 1 if a norm is not finite, else 0. Optimisers with fused=True take it as `found_inf` and then change nothing."""
        return (~torch.isfinite(self.each)).any().float()


def gradient_norms(named_parameters: Iterable[tuple[str, nn.Parameter]]) -> GradientNorms:
    """Norms of the gradients that there are. A gradient so large that its square overflows has the norm infinity: Adam keeps squares."""
    gradients = {name: parameter.grad for name, parameter in named_parameters if parameter.grad is not None}
    if not gradients:
        return GradientNorms((), torch.zeros(0))
    return GradientNorms(tuple(gradients), torch.stack([norm.float() for norm in torch._foreach_norm(list(gradients.values()))]))


class Watch:
    """Raises NumericalError, naming the tensors, for gradients that are spoilt.

    Not `late`: when they are noted, before the optimiser steps; that waits for their device. `late`, for devices that compute while the host
    goes on: the optimiser is told to change nothing if they are spoilt, their norms travel behind its step, and raise_if_spoilt() reads them
    a step later, when they have long arrived. All ranks note the norms of the averaged gradients, so all of them raise in the same place.
    """

    def __init__(self, late: bool) -> None:
        self.late = late
        self._noted: list[tuple[GradientNorms, torch.cuda.Event | None, str, int]] = []

    def note(self, norms: GradientNorms, phase: str, step: int) -> None:
        """Take note of the gradients of an optimiser step."""
        if not self.late:
            _refuse_spoilt(norms, phase, step)
            return
        arrived = None
        if norms.each.is_cuda:
            norms = GradientNorms(norms.names, norms.each.to('cpu', non_blocking=True))
            arrived = torch.cuda.Event()
            arrived.record()
        self._noted.append((norms, arrived, phase, step))

    def raise_if_spoilt(self, before_step: int | None = None) -> None:
        """Read what was noted in the steps before `before_step`; None: everything."""
        while self._noted and (before_step is None or self._noted[0][3] < before_step):
            norms, arrived, phase, step = self._noted.pop(0)
            if arrived is not None:
                arrived.synchronize()
            _refuse_spoilt(norms, phase, step)


def _refuse_spoilt(norms: GradientNorms, phase: str, step: int) -> None:
    finite = torch.isfinite(norms.each).tolist()
    if all(finite):
        return
    bad = [name for name, fine in zip(norms.names, finite, strict=True) if not fine]
    raise NumericalError(
        f"Step {step}, phase '{phase}': the gradients of {len(bad)} of {len(norms.names)} tensors are not finite, or too large to be squared "
        f'({format_names(bad, _NAMES_SHOWN)}). That step did not change the weights. Resuming would repeat it: start a new run with a lower learning rate or stronger '
        "regularisation, and look at the data (dataset_tool.py --check)."
    )
