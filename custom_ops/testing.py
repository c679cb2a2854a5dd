"""Helpers for the tests of operations: registration checks, derivative checks, and the law for kernels against their twin."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck


def check_registration(op: str, args: Sequence[Any]) -> None:
    """torch.library.opcheck (schema, autograd registration, fake tensors, AOT dispatch) of `torch.ops.unposed.<op>`; raises on failure."""
    torch.library.opcheck(getattr(torch.ops.unposed, op).default, tuple(args))


def check_derivatives(function: Callable[..., Tensor], *inputs: Tensor) -> None:
    """First and second derivatives against finite differences. `inputs` are float64; all of them are differentiated. Raises on failure."""
    leaves = tuple(x.detach().requires_grad_() for x in inputs)
    gradcheck(function, leaves)
    gradgradcheck(function, leaves)


def with_gradients(function: Callable[..., Tensor], *inputs: Tensor) -> list[Tensor]:
    """The output, its gradients under a fixed non-uniform weighting, and the gradients of a penalty on those gradients (as in R1)."""
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    y = function(*leaves)
    weight = torch.linspace(-1, 1, y.numel(), dtype=y.dtype, device=y.device).reshape(y.shape)
    first = torch.autograd.grad((y * weight).sum() + y.square().sum() / 2, leaves, create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), leaves, materialize_grads=True)
    return [y.detach(), *(g.detach() for g in first), *second]


def check_twin(kernel: Callable[..., Tensor], reference: Callable[..., Tensor], *inputs: Tensor, slack: float = 2.0) -> None:
    """A kernel may be at most `slack` times as wrong as its reference in the same dtype, both against the reference in float64.

    Compares the output, its gradients and the gradients of a gradient penalty, by root mean square error and by bias (mean error). One
    unit in the last place of the largest value is always allowed: an exact reference does not demand an exact kernel.
    Raises AssertionError.
    """
    truths = with_gradients(reference, *(x.double() for x in inputs))
    for index, (ours, theirs, truth) in enumerate(zip(with_gradients(kernel, *inputs), with_gradients(reference, *inputs), truths)):
        unit = torch.finfo(ours.dtype).eps * truth.abs().max()
        error, allowed = ours.double() - truth, theirs.double() - truth
        wrong, allowed_wrong = error.square().mean().sqrt(), allowed.square().mean().sqrt()
        assert wrong <= slack * allowed_wrong + unit, (index, wrong, allowed_wrong)
        assert error.mean().abs() <= slack * allowed.mean().abs() + unit, (index, error.mean(), allowed.mean())
