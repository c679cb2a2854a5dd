"""What a figure was measured on."""

import datetime
import os
import platform
import shlex
import sys
from pathlib import Path

import torch

from benchmarks.cases.case import kernels_in_use

_CPU_INFO = Path('/proc/cpuinfo')


def describe(device: torch.device, threads: int) -> str:
    """Machine, software, day and load, in a sentence or two."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    name = _cpu_field('model name') or platform.processor() or platform.machine()
    model = f' (family {_cpu_field("cpu family")}, model {_cpu_field("model")})' if _cpu_field('cpu family') else ''
    parts = [f'{name}{model}, {cores} cores, {torch.backends.cpu.get_cpu_capability()}, {_threads(threads)}']
    if device.type == 'cuda':
        parts.append(torch.cuda.get_device_name(device))
    parts.append(f'torch {torch.__version__}')
    now = datetime.datetime.now(tz=datetime.UTC)
    parts.append(f'{now.day} {now:%B %Y}')
    load = f' Load at the start: {os.getloadavg()[0]:.1f}.' if hasattr(os, 'getloadavg') else ''
    return f'{", ".join(parts)}.{load} Kernels: {", ".join(kernels_in_use(device)) or "none"}.'


def command() -> str:
    """The command line, as it can be typed again."""
    return shlex.join(['python', '-m', 'benchmarks', *sys.argv[1:]])


def computes_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 itself; a processor that has to emulate it is slower than in float32."""
    if device.type == 'cuda':
        return torch.cuda.is_bf16_supported(including_emulation=False)
    flags = (_cpu_field('flags') or '').split()
    return 'avx512_bf16' in flags or 'amx_bf16' in flags


def _cpu_field(name: str) -> str | None:
    if not _CPU_INFO.is_file():
        return None
    for line in _CPU_INFO.read_text().splitlines():
        key, _, value = line.partition(':')
        if key.strip() == name:
            return value.strip()
    return None


def _threads(threads: int) -> str:
    return '1 thread' if threads == 1 else f'{threads} threads'
