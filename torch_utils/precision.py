"""Number formats of the arithmetic. Weights, gradients and optimiser state are float32 in every one of them."""

from typing import Literal

import torch

Precision = Literal['fp32', 'bf16']


def use_all_digits() -> None:
    """Have GPUs compute float32 with all of its 24 bits: cuDNN's default is to round what a convolution reads to 11 (TF32)."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


def autocast(precision: Precision, device: torch.device | str) -> torch.autocast:
    """Return the context in which matrix products and convolutions run in `precision`; 'fp32' also switches an outer context off."""
    assert precision in ('fp32', 'bf16'), precision
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16, enabled=precision == 'bf16')
