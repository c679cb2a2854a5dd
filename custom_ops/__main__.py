"""`python -m custom_ops`: which implementation `auto` chooses for each operation on each device here, and why.

Kernels are built on the way (`--no-build` only looks). `--cuda-arch sm_90` compiles every CUDA source for that architecture instead, which
needs no GPU.
"""

import argparse
import logging
import re
import sys
from collections.abc import Sequence
from contextlib import nullcontext

import torch

from custom_ops.backend import DEVICE_SOURCES, KERNELS, explain
from custom_ops.jit import KernelUnavailable, store
from custom_ops.jit.device import build_device


def devices_here() -> list[str]:
    """Device types that this machine offers, the CPU first."""
    found = ['cpu']
    if torch.cuda.is_available():
        found.append('cuda')
    if torch.backends.mps.is_available():
        found.append('mps')
    return found


def operations() -> str:
    """One line per (operation, device): what runs, and why; for a kernel how long its build took, whenever that was."""
    rows = [(op, device, *explain(op, 'auto', device)) for op in KERNELS for device in devices_here()]
    return aligned([('operation', 'device', 'backend', 'why'), *rows])


def cuda_sources(arch: str) -> tuple[str, bool]:
    """One line per kernel of every CUDA source, compiled for `arch` as 'sm_90' with each set of macros; and whether all compiled.

    Registers are per thread; spills are the bytes stored to local memory for want of registers, the stack all bytes of it; the seconds are
    those of the whole source.
    """
    rows = [('operation', 'source', 'kernel', 'registers', 'spills', 'stack', 'seconds', 'compiler', 'target')]
    complaints = []
    for entry in DEVICE_SOURCES:
        for defines in entry.defines:
            try:
                artefact = build_device(entry.name, entry.source, arch=arch, defines=defines)
            except KernelUnavailable as error:
                complaints.append(str(error))
                continue
            build = (f'{artefact.seconds:.2f}', artefact.compiler, artefact.target)
            rows += [(entry.op, entry.name, *kernel, *build) for kernel in resources(artefact.log)]
    return '\n'.join([aligned(rows), *complaints]), not complaints


def resources(log: str) -> list[tuple[str, str, str, str]]:
    """(kernel, registers, spills, stack) as ptxas reported them with -v.

    ptxas tells of a kernel first and then of the functions that it calls and that are not part of it. Its registers and its stack hold
    theirs; spills are told of each by itself, and the most of them count.
    """
    found = []
    for kernel, told in re.findall(r"Compiling entry function '(\w+)'(.*?)(?=Compiling entry function|\Z)", log, re.DOTALL):
        registers, stack = re.search(r'Used (\d+) registers', told), re.search(r'(\d+) bytes cumulative stack size', told)
        spills = max(map(int, re.findall(r'(\d+) bytes spill stores', told)), default=0)
        if registers:
            found.append((kernel, registers[1], str(spills), stack[1] if stack else '0'))
    return found


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns padded to the widest cell; lines after the first of a last cell (what a compiler said) are indented."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    lines = ('  '.join((*(cell.ljust(width) for cell, width in zip(row, widths)), row[-1].replace('\n', '\n    '))) for row in rows)
    return '\n'.join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog='python -m custom_ops', description='Which implementation runs each operation here, and why.')
    parser.add_argument('--no-build', action='store_true', help='do not build kernels that are not built yet')
    parser.add_argument('--cuda-arch', metavar='ARCH', help='compile all CUDA sources for an architecture, for example sm_90; needs no GPU')
    arguments = parser.parse_args()
    logging.basicConfig(format='%(message)s', level=logging.WARNING if arguments.cuda_arch else logging.INFO)
    with store.only_look() if arguments.no_build else nullcontext():
        text, complete = cuda_sources(arguments.cuda_arch) if arguments.cuda_arch else (operations(), True)
    print(text)
    print(f'kernels are kept in {store.cache_folder()}')
    return 0 if complete else 1


if __name__ == '__main__':
    sys.exit(main())
