"""Gradients are checked before they are used: a number that is not finite must not reach a weight."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from dnnlib.errors import NumericalError

_NAMES_SHOWN = 5


def check_finite_(named_parameters: Iterable[tuple[str, nn.Parameter]], phase: str, step: int) -> None:
    """Raise NumericalError, naming the tensors, if a gradient holds NaN or infinity; wait for the device once.

    Call it after the gradients were averaged over the ranks and before the optimiser steps: then every rank raises in the same step.
    """
    gradients = [(name, parameter.grad) for name, parameter in named_parameters if parameter.grad is not None]
    if not gradients:
        return
    largest = torch.stack([norm.float() for norm in torch._foreach_norm([gradient for _, gradient in gradients], ord=float('inf'))])
    finite = torch.isfinite(largest)
    if bool(finite.all()):
        return
    bad = [gradients[i][0] for i in torch.nonzero(~finite).flatten().tolist()]
    shown = ', '.join(bad[:_NAMES_SHOWN]) + (f' and {len(bad) - _NAMES_SHOWN} more' if len(bad) > _NAMES_SHOWN else '')
    raise NumericalError(
        f"Step {step}, phase '{phase}': the gradients of {len(bad)} of {len(gradients)} tensors are not finite ({shown}). "
        'The weights were not changed. Resume from the last state with a lower learning rate or stronger regularisation; '
        'if it happens again at the same step, the data are to be looked at.'
    )


def global_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """Return the Euclidean norm of all gradients together: float32 [], on their device, without waiting for it; 0 if there are none."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not gradients:
        return torch.zeros(())
    return torch.linalg.vector_norm(torch.stack([norm.float() for norm in torch._foreach_norm(gradients)]))
