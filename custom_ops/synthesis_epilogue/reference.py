"""The definition of synthesis_epilogue in plain PyTorch, in few passes over the large tensor: the gain rides on its three factors."""

import torch
from torch import Tensor
from torch.nn import functional as F

SLOPE = 0.2


def synthesis_epilogue_reference(
    x: Tensor, scale: Tensor, bias: Tensor, noise: Tensor | None, strength: Tensor | None, gain: float, clamp: float | None
) -> Tensor:
    """See custom_ops.synthesis_epilogue; same arguments, positional."""
    # gain lrelu(v) = lrelu(gain v) for a positive gain. The noise is added by itself: one offset of bias and noise would be a large tensor
    # that is not channels-last, and would make the result like itself.
    v = torch.addcmul((bias * gain).to(x.dtype)[:, None, None], x, (scale * gain).to(x.dtype)[:, :, None, None])
    if noise is not None:
        v += (noise * (strength * gain)).to(x.dtype)
    y = F.leaky_relu(v, SLOPE)
    return y if clamp is None else y.clamp(-clamp, clamp)
