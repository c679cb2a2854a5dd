"""`python -m custom_ops`: a table of operations, the implementation that `auto` chooses on each device here, and why."""

import argparse

import torch

from custom_ops.backend import IMPLEMENTATIONS, explain


def devices_here() -> list[str]:
    """Device types that this machine offers, the CPU first."""
    found = ['cpu']
    if torch.cuda.is_available():
        found.append('cuda')
    if torch.backends.mps.is_available():
        found.append('mps')
    return found


def table() -> str:
    """One line per (operation, device), columns aligned."""
    rows = [('operation', 'device', 'backend', 'why')]
    rows += [(op, device, *explain(op, 'auto', device)) for op in IMPLEMENTATIONS for device in devices_here()]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    return '\n'.join('  '.join((*(cell.ljust(width) for cell, width in zip(row[:3], widths)), row[3])) for row in rows)


if __name__ == '__main__':
    argparse.ArgumentParser(prog='python -m custom_ops', description='Which implementation runs each operation here, and why.').parse_args()
    print(table())
