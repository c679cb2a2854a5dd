"""bf16 is for products only, and fp32 means it."""

import torch

from torch_utils.precision import autocast


def test_autocast() -> None:
    x = torch.ones(2, 2)
    with autocast('bf16', 'cpu'):
        assert (x @ x).dtype == torch.bfloat16
        with autocast('fp32', torch.device('cpu')):
            assert (x @ x).dtype == torch.float32
    with autocast('fp32', 'cpu'):
        assert (x @ x).dtype == torch.float32
