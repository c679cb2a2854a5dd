"""Bias, activation, gain and clamp in one call."""

import math

import torch
from torch import Tensor

from custom_ops.backend import choose
from custom_ops.bias_act.fused import bias_act_fused, pays, variant
from custom_ops.bias_act.reference import ACTIVATIONS, bias_act_reference, resolve
from custom_ops.calling import check_one_device, refusal, takes

__all__ = ['ACTIVATIONS', 'bias_act']


def bias_act(
    x: Tensor,
    bias: Tensor | None = None,
    act: str = 'linear',
    *,
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
    dim: int = 1,
    backend: str = 'auto',
) -> Tensor:
    """clamp(gain * act(x + bias), -clamp, clamp), differentiable twice by kernels and to any order by the reference.

    x      any shape, any floating dtype; the result has its shape, dtype and memory format (and is x itself when there is nothing to do);
           kernels know the contiguous and channels-last formats and make others contiguous
    bias   [x.shape[dim]] or None
    act    a key of ACTIVATIONS: linear, relu, lrelu, tanh, sigmoid, elu, selu, softplus, swish
    alpha  slope of lrelu below zero (default 0.2); other activations take none
    gain   None: the activation's own, which keeps the variance (sqrt(2) for relu, lrelu and swish, 1 for the others)
    clamp  None: no clamp

    Raises ValueError for an unknown activation, an alpha that the activation lacks, a bias of the wrong shape, or a kernel asked for by name
    that does not take x.
    """
    if backend == 'auto' and not pays(x, act, clamp) or choose('bias_act', backend, x.device, variant(x, act)) == 'reference':
        return bias_act_reference(x, bias, act, alpha, gain, clamp, dim)
    if not takes(x):
        raise refusal('bias_act', backend, x)
    check_one_device('bias_act', x, bias)
    alpha, gain = resolve(x, bias, act, alpha, gain, dim)
    return bias_act_fused(x, bias, act, 0.0 if alpha is None else alpha, gain, math.inf if clamp is None else clamp, dim)


def _op(
    x: Tensor,
    bias: Tensor | None = None,
    act: str = 'linear',
    alpha: float | None = None,
    gain: float | None = None,
    clamp: float | None = None,
    dim: int = 1,
) -> Tensor:
    """bias_act under the rule of registered operations: an output is never an input. (The dispatcher leaves out arguments at their
    defaults.)
    """
    y = bias_act(x, bias, act, alpha=alpha, gain=gain, clamp=clamp, dim=dim)
    return y.clone() if y is x else y


_library = torch.library.Library('unposed', 'FRAGMENT')
_library.define(
    "bias_act(Tensor x, Tensor? bias=None, str act='linear', float? alpha=None, float? gain=None, float? clamp=None, int dim=1) -> Tensor"
)
_library.impl('bias_act', _op, 'CompositeImplicitAutograd')
