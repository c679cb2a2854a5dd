"""Which implementation of an operation runs, and why.

Every operation has a reference. A kernel registers itself with a function that gets it ready; `choose` calls that function at the first use
and falls back on the reference when it raises KernelUnavailable. UNPOSED_KERNELS=off in the environment leaves all kernels alone.
"""

import logging
import os
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from custom_ops.jit import KernelUnavailable, store

BACKENDS = ('auto', 'reference', 'cpu', 'cuda')
SWITCH = 'UNPOSED_KERNELS'

Variant = tuple[Hashable, ...]
Load = Callable[..., object]  # (device, *variant)

# Every operation, and its kernels by type of device.
KERNELS: dict[str, dict[str, Load]] = {'bias_act': {}, 'upfirdn2d': {}, 'sample_planes': {}, 'decode_planes': {}}


@dataclass(frozen=True, slots=True)
class DeviceSource:
    """A CUDA source and every set of macros that it is compiled with: enough to compile all of it where there is no GPU."""

    op: str
    name: str
    source: Path
    defines: tuple[Mapping[str, int | str], ...]


DEVICE_SOURCES: list[DeviceSource] = []

_ASKED = 'asked for'

_log = logging.getLogger('custom_ops')
_decided: dict[tuple[str, str, torch.device, Variant], str] = {}
_refused: dict[tuple[str, str, torch.device, Variant], str] = {}
_said: set[tuple[str, torch.device, str, str]] = set()
_warned: set[str] = set()
_auto = 'auto'  # what 'auto' means; see `forced`


def register_kernel(op: str, backend: Literal['cpu', 'cuda'], load: Load) -> None:
    """Enters a kernel of `op` for one type of device. A new operation enters the table with its first kernel.

    load  gets the kernel ready on a device, building it if need be, or raises KernelUnavailable; called at the first use there. Of a
          kernel that is compiled anew for number formats, geometries or the like, load(device, *variant) gets ready all that calls of this
          variant and their derivatives take, since a derivative has no other way to go; load(device) stands for what is asked for most
    """
    KERNELS.setdefault(op, {})[backend] = load


def register_device_source(op: str, name: str, source: Path, defines: Sequence[Mapping[str, int | str]] = ({},)) -> None:
    """Enters a CUDA source of `op`, with each set of macros that its kernels give to load_device."""
    DEVICE_SOURCES.append(DeviceSource(op, name, source, tuple(defines)))


def choose(op: str, backend: str, device: torch.device | str, variant: Variant = ()) -> str:
    """The implementation that runs `op` on `device`: 'reference', 'cpu' or 'cuda'. Says once, through logging, what was chosen and why.

    op       a key of KERNELS
    backend  'auto' (the kernel where it can be had, else the reference) or one of BACKENDS by name
    variant  of the kernel, as its `load` takes it

    The first call may build the kernel; later ones look into a dictionary. Under torch.compile the choice is made while tracing.

    Raises ValueError for an unknown op or backend, or a backend that does not fit the device; for a kernel asked for by name,
    NotImplementedError if nobody wrote it and KernelUnavailable if it cannot be had here.
    """
    backend = _auto if backend == 'auto' else backend
    key = (op, backend, torch.device(device), variant)
    chosen = _decided.get(key)
    if chosen is None:
        if key in _refused:  # a compiler that failed once is not asked again
            raise KernelUnavailable(_refused[key])
        try:
            chosen, why = explain(op, backend, key[2], variant)
        except KernelUnavailable as error:
            _refused[key] = str(error)
            raise
        _decided[key] = chosen
        _say(op, key[2], chosen, why)
    return chosen


# What torch.compiler.assume_constant_result(choose) does, which however imports the whole compiler: seconds, for users who never compile.
choose._dynamo_marked_constant = True


@contextmanager
def forced(backend: str) -> Iterator[None]:
    """Inside, 'auto' means `backend`: for comparisons. Raises ValueError for an unknown one."""
    global _auto
    if backend not in BACKENDS:
        raise ValueError(f'backend {backend!r} was asked for; it must be one of {", ".join(BACKENDS)}')
    before, _auto = _auto, backend
    try:
        yield
    finally:
        _auto = before


def _say(op: str, device: torch.device, chosen: str, why: str) -> None:
    """One line; louder for the first operation that lacks its kernel for a reason, since one reason tends to hold for all of them."""
    if (op, device, chosen, why) in _said:
        return
    _said.add((op, device, chosen, why))
    lacking = chosen == 'reference' and why != _ASKED and device.type in KERNELS[op] and why not in _warned
    if lacking:
        _warned.add(why)
    _log.log(logging.WARNING if lacking else logging.INFO, '%s on %s: %s (%s)', op, device, chosen, why)


def explain(op: str, backend: str, device: torch.device | str, variant: Variant = ()) -> tuple[str, str]:
    """The choice of `choose` and the reason for it, without memory or log. Builds and raises as `choose` does."""
    device = torch.device(device)
    if op not in KERNELS:
        raise ValueError(f'no operation is called {op!r}; there are: {", ".join(KERNELS)}')
    if backend not in BACKENDS:
        raise ValueError(f'backend {backend!r} was asked for {op}; it must be one of {", ".join(BACKENDS)}')
    if backend == 'reference':
        return 'reference', _ASKED
    kernels = KERNELS[op]
    if backend == 'auto':
        if device.type not in kernels:
            return 'reference', f'no {device.type} kernel exists for this operation yet'
        try:
            return device.type, _ready(kernels[device.type], device, variant)
        except KernelUnavailable as error:
            return 'reference', str(error)
    if backend not in kernels:
        raise NotImplementedError(
            f"backend {backend!r} was asked for {op}, but no {backend} kernel exists for it yet; use backend='auto' or 'reference'"
        )
    if backend != device.type:
        raise ValueError(
            f"backend {backend!r} was asked for {op}, but the tensors are on {device.type!r}; move them or use backend='auto'"
        )
    try:
        return backend, _ready(kernels[backend], device, variant)
    except KernelUnavailable as error:
        raise KernelUnavailable(f"backend {backend!r} was asked for {op}; use 'auto' or 'reference', for {error}") from error


def _ready(load: Load, device: torch.device, variant: Variant) -> str:
    """Gets a kernel ready and says what it consists of. Raises KernelUnavailable."""
    switch = os.environ.get(SWITCH, 'auto')
    if switch not in ('auto', 'off'):
        raise KernelUnavailable(f'{SWITCH}={switch} in the environment; it must be auto or off')
    if switch == 'off':
        raise KernelUnavailable(f'kernels are switched off by {SWITCH}=off')
    with store.witnessed() as artefacts:
        load(device, *variant)
    return '; '.join(str(artefact) for artefact in artefacts) or f'a {device.type} kernel'
