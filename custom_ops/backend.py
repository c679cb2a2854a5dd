"""Which implementation of an operation runs, and why."""

import logging

import torch

BACKENDS = ('auto', 'reference', 'cpu', 'cuda')

# What can run today, per operation. A kernel enters this table together with its source and its twin test.
IMPLEMENTATIONS: dict[str, tuple[str, ...]] = {
    'bias_act': ('reference',),
    'upfirdn2d': ('reference',),
    'sample_planes': ('reference',),
    'decode_planes': ('reference',),
}

_log = logging.getLogger('custom_ops')
_decided: dict[tuple[str, str, str], str] = {}


def choose(op: str, backend: str, device: torch.device | str) -> str:
    """The implementation that runs `op` on `device`; says once, through logging, what was chosen and why.

    op       a key of IMPLEMENTATIONS
    backend  'auto' (a kernel where one exists, else the reference) or one of BACKENDS by name

    Raises ValueError for an unknown op or backend, or a backend that does not fit the device; NotImplementedError for a kernel that does
    not exist.
    """
    device_type = device.type if isinstance(device, torch.device) else device
    chosen = _decided.get((op, backend, device_type))
    if chosen is None:
        chosen, why = explain(op, backend, device_type)
        if not torch.compiler.is_compiling():
            _log.info('%s on %s: %s (%s)', op, device_type, chosen, why)
            _decided[(op, backend, device_type)] = chosen
    return chosen


def explain(op: str, backend: str, device_type: str) -> tuple[str, str]:
    """The choice of `choose` and the reason for it, without caching or logging. Raises as `choose` does."""
    if op not in IMPLEMENTATIONS:
        raise ValueError(f'no operation is called {op!r}; there are: {", ".join(IMPLEMENTATIONS)}')
    if backend not in BACKENDS:
        raise ValueError(f'backend {backend!r} was asked for {op}; it must be one of {", ".join(BACKENDS)}')
    if backend == 'reference':
        return 'reference', 'asked for'
    available = IMPLEMENTATIONS[op]
    if backend == 'auto':
        if device_type in available:
            return device_type, f'a {device_type} kernel exists'
        return 'reference', f'no {device_type} kernel exists for this operation yet'
    if backend not in available:
        raise NotImplementedError(
            f"backend {backend!r} was asked for {op}, but no {backend} kernel exists for it yet; use backend='auto' or 'reference'"
        )
    if backend != device_type:
        raise ValueError(
            f"backend {backend!r} was asked for {op}, but the tensors are on {device_type!r}; move them or use backend='auto'"
        )
    return backend, 'asked for'
