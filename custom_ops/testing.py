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
    # Multiples of 1/128, which every format holds exactly: what is weighted is the same for all.
    weight = (torch.linspace(-1, 1, y.numel(), dtype=torch.float64) * 128).round().div(128).to(y).reshape(y.shape)
    first = torch.autograd.grad((y * weight).sum() + y.square().sum() / 2, leaves, create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), leaves, materialize_grads=True)
    return [y.detach(), *(g.detach() for g in first), *second]


def check_twin(kernel: Callable[..., Tensor], reference: Callable[..., Tensor], *inputs: Tensor, slack: float = 2.0) -> None:
    """`check_errors` for the output, its gradients and the gradients of a gradient penalty. Raises AssertionError."""
    truths = with_gradients(reference, *(x.double() for x in inputs))
    fewest = min(x.numel() for x in inputs)
    for index, (ours, theirs, truth) in enumerate(zip(with_gradients(kernel, *inputs), with_gradients(reference, *inputs), truths)):
        # A penalty holds the gradient of every input, so all that derives from it shares the errors of the smallest one's.
        independent = truth.numel() if index <= len(inputs) else min(fewest, truth.numel())
        check_errors(f'result {index}', ours, theirs, truth, slack=slack, independent=independent)


def check_errors(name: str, ours: Tensor, theirs: Tensor, truth: Tensor, *, slack: float = 2.0, independent: int | None = None) -> None:
    """The law for kernels: at most `slack` times as wrong as the reference in the same dtype, and no more biased.

    ours, theirs  of the kernel and of the reference, in one dtype
    truth         of the reference in float64
    independent   how many of the errors are independent of one another, if not all are

    Wrong is the root mean square of the errors. Bias is their mean, upwards and away from zero: the errors of rounding have none, those of
    cutting digits off have half a unit in the last place towards zero, which a plain mean over both signs would not show.
    Raises AssertionError.
    """
    ours, theirs, step = ours.double(), theirs.double(), torch.finfo(ours.dtype).eps
    error, allowed, size = ours - truth, theirs - truth, rms(truth)
    independent = independent or truth.numel()
    # Of few numbers, or of many where few are large, either side may be right by luck.
    few = truth.square().sum().square() / truth.pow(4).sum().clamp(min=torch.finfo(torch.float64).tiny)
    luck = 1 / few.clamp(1, independent).sqrt()
    # An exact reference does not demand an exact kernel: a quarter of a unit in the last place, which is about what rounding to nearest errs
    # by, is always allowed.
    unit = step * size * (1 / 4 + 3 * luck)
    assert rms(error) <= slack * (1 + luck) * rms(allowed) + unit, (name, rms(error), rms(allowed), unit)
    # A mean of n independent errors scatters by their size over the root of n. What is rounded once for all of them, as the gain, adds half
    # a unit of float, in which kernels compute.
    scatter = 3 * (rms(allowed) + unit) / independent**0.5 + torch.finfo(torch.float32).eps / 2 * size
    for direction, sign in (('upwards', torch.ones_like(truth)), ('away from zero', truth.sign())):
        bias, allowed_bias = (error * sign).mean(), (allowed * sign).mean()
        assert bias.abs() <= allowed_bias.abs() + scatter, (name, f'bias {direction}', bias, allowed_bias, scatter)


def rms(x: Tensor) -> Tensor:
    """Root mean square of all numbers."""
    return x.square().mean().sqrt()
