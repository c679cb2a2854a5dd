"""A table of a network's layers, for people who want to know what they are about to train."""

from typing import Any

import torch
from torch import Tensor, nn


def count_parameters(module: nn.Module) -> int:
    """Return the number of weights, each counted once however many layers share it."""
    return sum(parameter.numel() for parameter in module.parameters())


def layer_table(module: nn.Module, *inputs: Any) -> str:
    """Run the module once on `inputs`, without gradients, and return a table of the modules that own weights or buffers, in calling order.

    Columns: name, parameters and buffers (numbers of its own, not of its children), shape and dtype of the first tensor that it returns.
    """
    called: dict[str, tuple[nn.Module, str, str]] = {}

    def note(name: str, child: nn.Module, output: Any) -> None:
        called.setdefault(name, (child, *_describe(output)))

    handles = [
        child.register_forward_hook(lambda child, _, output, name=name: note(name, child, output))
        for name, child in module.named_modules()
        if name and _own_counts(child) != (0, 0)
    ]
    try:
        with torch.no_grad():
            output = module(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    rows = [(name, *map(str, _own_counts(child)), shape, dtype) for name, (child, shape, dtype) in called.items()]
    # A module may use a child's weights without calling it; these rows keep the column sums right.
    uncalled = [(name, child) for name, child in module.named_modules() if name not in called and _own_counts(child) != (0, 0)]
    rows += [(name or '(itself)', *map(str, _own_counts(child)), '-', '-') for name, child in uncalled]
    total = ('total', str(count_parameters(module)), str(sum(buffer.numel() for buffer in module.buffers())), *_describe(output))
    return _layout([('layer', 'parameters', 'buffers', 'output', 'dtype'), *rows, total])


def _own_counts(module: nn.Module) -> tuple[int, int]:
    """Return how many numbers a module holds itself: (parameters, buffers)."""
    return sum(p.numel() for p in module.parameters(recurse=False)), sum(b.numel() for b in module.buffers(recurse=False))


def _describe(output: Any) -> tuple[str, str]:
    """Return shape and dtype of the first tensor in an output: a tensor, or a sequence, dict or object with fields that holds one."""
    tensor = _first_tensor(output)
    return ('-', '-') if tensor is None else (str(list(tensor.shape)), str(tensor.dtype).removeprefix('torch.'))


def _first_tensor(value: Any) -> Tensor | None:
    if isinstance(value, Tensor):
        return value
    if isinstance(value, dict):
        items = list(value.values())
    elif isinstance(value, list | tuple):
        items = list(value)
    else:
        items = [getattr(value, name) for name in getattr(value, '__dataclass_fields__', {})]
    return next((tensor for item in items if (tensor := _first_tensor(item)) is not None), None)


def _layout(rows: list[tuple[str, ...]]) -> str:
    """Align columns: names and shapes to the left, numbers to the right; a rule below the head and above the total."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    aligned = [
        '  '.join(
            cell.rjust(width) if column in (1, 2) else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    rule = '  '.join('-' * width for width in widths)
    return '\n'.join(line.rstrip() for line in [aligned[0], rule, *aligned[1:-1], rule, aligned[-1]])
