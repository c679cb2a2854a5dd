"""What follows a modulated convolution: demodulation, noise, bias, leaky ReLU, gain and clamp in one call (arXiv 1912.04958, section 2)."""

import math

import torch
from torch import Tensor

from custom_ops.backend import choose
from custom_ops.calling import check_one_device, refusal, takes
from custom_ops.synthesis_epilogue.fused import pays, synthesis_epilogue_fused, variant
from custom_ops.synthesis_epilogue.reference import synthesis_epilogue_reference

__all__ = ['synthesis_epilogue']


def synthesis_epilogue(
    x: Tensor,
    scale: Tensor,
    bias: Tensor,
    noise: Tensor | None = None,
    strength: Tensor | None = None,
    *,
    gain: float = math.sqrt(2),
    clamp: float | None = None,
    backend: str = 'auto',
) -> Tensor:
    """clamp(gain lrelu(x scale + noise strength + bias), -clamp, clamp), where lrelu has slope 0.2 below zero.

    x         [N, C, H, W], any floating dtype; the result has its shape, dtype and memory format (contiguous or channels-last)
    scale     [N, C]
    bias      [C]
    noise     [H, W], [1, 1, H, W] or [N, 1, H, W], or None. It is no variable: no gradient goes to it
    strength  [], with noise
    gain      > 0
    clamp     None: no clamp

    Differentiable to any order in x, scale, bias and strength. Raises ValueError for shapes that do not fit, noise without strength or the
    reverse, and a gain that is not positive.
    """
    _check(x, scale, bias, noise, strength, gain)
    noise = None if noise is None else noise.detach().reshape(-1, 1, *x.shape[2:])
    if backend == 'auto' and not pays(x) or choose('synthesis_epilogue', backend, x.device, variant(x)) == 'reference':
        return synthesis_epilogue_reference(x, scale, bias, noise, strength, gain, clamp)
    if not takes(x):
        raise refusal('synthesis_epilogue', backend, x)
    check_one_device('synthesis_epilogue', x, scale, bias, noise, strength)
    return synthesis_epilogue_fused(x, scale, bias, noise, strength, gain, math.inf if clamp is None else clamp)


def _check(x: Tensor, scale: Tensor, bias: Tensor, noise: Tensor | None, strength: Tensor | None, gain: float) -> None:
    if gain <= 0:
        raise ValueError(f'gain={gain} was given to synthesis_epilogue; it must be positive')
    if x.ndim != 4:
        raise ValueError(f'x of shape {tuple(x.shape)} was given to synthesis_epilogue; it must be [N, C, H, W]')
    n, c, h, w = x.shape
    if scale.shape != (n, c) or bias.shape != (c,):
        raise ValueError(
            f'scale {tuple(scale.shape)} and bias {tuple(bias.shape)} do not fit x {tuple(x.shape)}; they must be {(n, c)} and {(c,)}'
        )
    if (noise is None) != (strength is None):
        raise ValueError('synthesis_epilogue takes noise and its strength together or neither')
    if noise is not None and (noise.shape not in ((h, w), (1, 1, h, w), (n, 1, h, w)) or strength.ndim):
        raise ValueError(
            f'noise {tuple(noise.shape)} and strength {tuple(strength.shape)} do not fit x {tuple(x.shape)}; '
            f'they must be {(h, w)} or {(1, 1, h, w)} or {(n, 1, h, w)}, and ()'
        )


def _op(
    x: Tensor,
    scale: Tensor,
    bias: Tensor,
    noise: Tensor | None = None,
    strength: Tensor | None = None,
    gain: float = math.sqrt(2),
    clamp: float | None = None,
) -> Tensor:
    """The function, with the schema's defaults: the dispatcher leaves out arguments at their defaults."""
    return synthesis_epilogue(x, scale, bias, noise, strength, gain=gain, clamp=clamp)


_library = torch.library.Library('unposed', 'FRAGMENT')
_library.define(
    'synthesis_epilogue(Tensor x, Tensor scale, Tensor bias, Tensor? noise=None, Tensor? strength=None, '
    f'float gain={math.sqrt(2)!r}, float? clamp=None) -> Tensor'
)
_library.impl('synthesis_epilogue', _op, 'CompositeImplicitAutograd')
