"""Exponential moving averages of weights."""

import copy

import torch
from torch import nn


def half_life_beta(batch: int, half_life_img: float) -> float:
    """Return the decay per step with which a weight's influence halves every `half_life_img` images; 0 (no memory) for a half-life of 0."""
    return 0.5 ** (batch / half_life_img) if half_life_img > 0 else 0.0


class EMA:
    """A copy of a module whose parameters follow those of the original. `.module` is in evaluation mode and takes no gradients."""

    def __init__(self, module: nn.Module) -> None:
        self.module = copy.deepcopy(module).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, source: nn.Module, beta: float) -> None:
        """Move every parameter to beta * itself + (1 - beta) * source's, and copy the buffers. beta 0 copies the parameters exactly."""
        ours, theirs = dict(self.module.named_parameters()), dict(source.named_parameters())
        buffers, source_buffers = dict(self.module.named_buffers()), dict(source.named_buffers())
        assert ours.keys() == theirs.keys(), f'parameters differ: {sorted(ours.keys() ^ theirs.keys())[:5]}'
        assert buffers.keys() == source_buffers.keys(), f'buffers differ: {sorted(buffers.keys() ^ source_buffers.keys())[:5]}'
        if ours:
            torch._foreach_lerp_(list(ours.values()), [theirs[name].detach() for name in ours], 1.0 - beta)
        if buffers:
            torch._foreach_copy_(list(buffers.values()), [source_buffers[name] for name in buffers])
