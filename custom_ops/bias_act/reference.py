"""The definition of bias_act in plain PyTorch, written for few passes over memory and cheap second derivatives."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Activation:
    """function(x, alpha), the default gain, and the default alpha (None: the activation has none)."""

    function: Callable[[Tensor, float], Tensor]
    gain: float = 1.0
    alpha: float | None = None
    piecewise_linear: bool = False


SQRT2 = math.sqrt(2)

# Gains: Karras et al., StyleGAN2 (arXiv 1912.04958); they keep the second moment of a unit normal input near one.
ACTIVATIONS: dict[str, Activation] = {
    'linear': Activation(lambda x, alpha: x),
    'relu': Activation(lambda x, alpha: _leaky_relu(x, 0.0), gain=SQRT2, piecewise_linear=True),
    'lrelu': Activation(lambda x, alpha: _leaky_relu(x, alpha), gain=SQRT2, alpha=0.2, piecewise_linear=True),
    'tanh': Activation(lambda x, alpha: torch.tanh(x)),
    'sigmoid': Activation(lambda x, alpha: torch.sigmoid(x)),
    'elu': Activation(lambda x, alpha: F.elu(x)),
    'selu': Activation(lambda x, alpha: F.selu(x)),
    'softplus': Activation(lambda x, alpha: F.softplus(x)),
    'swish': Activation(lambda x, alpha: F.silu(x), gain=SQRT2),
}


class _LeakyRelu(torch.autograd.Function):
    """Leaky ReLU, in place, whose derivative is a constant mask.

    PyTorch's own knows no constant: its double backward sends a tensor of zeros through the whole forward graph, which nearly doubles the
    cost of a gradient penalty. The second derivative is zero almost everywhere, so the mask is detached here and that pass never happens.
    """

    @staticmethod
    def forward(ctx, x: Tensor, alpha: float) -> Tensor:
        ctx.mark_dirty(x)
        F.leaky_relu_(x, alpha)
        ctx.save_for_backward(x)
        ctx.alpha = alpha
        return x

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        (y,) = ctx.saved_tensors
        return torch.ops.aten.leaky_relu_backward(grad, y.detach(), ctx.alpha, True), None


def _leaky_relu(x: Tensor, alpha: float) -> Tensor:
    """max(x, alpha x); overwrites x, which must be a temporary of the caller, where that saves a pass."""
    if torch.compiler.is_compiling() or alpha < 0:
        return F.leaky_relu(x, alpha)
    if x.requires_grad and torch.is_grad_enabled():
        return _LeakyRelu.apply(x, alpha)
    return F.leaky_relu_(x, alpha)


def resolve(x: Tensor, bias: Tensor | None, act: str, alpha: float | None, gain: float | None, dim: int) -> tuple[float | None, float]:
    """(alpha, gain) with their defaults filled in; alpha is None where the activation has none. Raises ValueError as bias_act does."""
    activation = ACTIVATIONS.get(act)
    if activation is None:
        raise ValueError(f'no activation is called {act!r}; there are: {", ".join(ACTIVATIONS)}')
    if alpha is None:
        alpha = activation.alpha
    elif activation.alpha is None:
        raise ValueError(f'alpha={alpha} was given, but activation {act!r} has no alpha')
    if gain is None:
        gain = activation.gain
    if bias is not None and (bias.ndim != 1 or bias.shape[0] != x.shape[dim]):
        raise ValueError(
            f'bias of shape {tuple(bias.shape)} does not fit dimension {dim} of x of shape {tuple(x.shape)}; expected [{x.shape[dim]}]'
        )
    return alpha, gain


def bias_act_reference(
    x: Tensor, bias: Tensor | None, act: str, alpha: float | None, gain: float | None, clamp: float | None, dim: int
) -> Tensor:
    """See custom_ops.bias_act; same arguments, positional."""
    alpha, gain = resolve(x, bias, act, alpha, gain, dim)
    activation = ACTIVATIONS[act]
    if bias is not None:
        bias = bias.to(x.dtype)
        trailing = x.ndim - 1 - dim % x.ndim
        if trailing:
            bias = bias.view(-1, *[1] * trailing)

    if (act == 'linear' or activation.piecewise_linear) and gain > 0:
        # gain act(x + b) = act(gain x + gain b) for a positive gain: the gain rides on the addition and costs no pass of its own.
        x = _affine(x, bias, gain, copy=activation.piecewise_linear)
        y = activation.function(x, alpha)
    else:
        y = activation.function(_affine(x, bias, 1.0, copy=activation.piecewise_linear), alpha)
        if gain != 1:
            y = y * gain
    return y if clamp is None else y.clamp(-clamp, clamp)


def _affine(x: Tensor, bias: Tensor | None, gain: float, copy: bool) -> Tensor:
    """gain (x + bias); a new tensor if `copy`, else possibly x itself."""
    if bias is None:
        if gain != 1:
            return x * gain
        return x.clone() if copy else x
    if gain == 1:
        return x + bias
    return torch.add(bias * gain, x, alpha=gain)
