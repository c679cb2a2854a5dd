"""Kernels that are compiled anew for number formats and geometries: all that a call and its derivatives take is ready before it begins."""

import importlib
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from custom_ops import backend, bias_act, synthesis_epilogue
from custom_ops.bias_act import fused as bias_act_fused
from custom_ops.jit import KernelUnavailable
from custom_ops.synthesis_epilogue import fused as epilogue_fused

upfirdn2d_kernel = importlib.import_module('custom_ops.upfirdn2d.kernel')  # the name `custom_ops.upfirdn2d` is a function's

CPU = torch.device('cpu')
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
FORMATS = [torch.contiguous_format, torch.channels_last]


class Silent:
    """A module of a GPU that computes nothing."""

    def launch(self, kernel: str, **options: object) -> None:
        pass


class Modules:
    """Stands where modules are loaded, and notes which."""

    def __init__(self) -> None:
        self.loaded: set[tuple] = set()

    def __call__(self, device: torch.device, *key: object) -> Silent:
        self.loaded.add(tuple(tuple(part.items()) if isinstance(part, dict) else part for part in key))
        return Silent()

    def taken(self) -> set[tuple]:
        loaded, self.loaded = self.loaded, set()
        return loaded


def differentiate_twice(call: Callable[[Tensor], Tensor], x: Tensor) -> None:
    x = x.requires_grad_()
    y = call(x)
    (grad,) = torch.autograd.grad(y, x, torch.ones_like(y).requires_grad_(), create_graph=True)
    grad.sum().backward()


@pytest.mark.parametrize('stored', FORMATS)
@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize(
    'size, up, down, padding',
    [
        ((4, 4), (2, 2), (1, 1), (2, 1, 2, 1)), ((4, 4), (1, 1), (2, 2), (1, 1, 1, 1)), ((4, 4), (1, 1), (1, 1), (2, 2, 2, 2)),
        ((3, 2), (3, 2), (2, 3), (3, 4, 5, 0)), ((4, 4), (2, 2), (1, 1), (-2, 3, 10, -3)), ((12,), (2, 2), (1, 1), (6, 5, 6, 5)),
        ((12,), (1, 1), (2, 2), (5, 5, 5, 5)), ((9, 8), (1, 1), (1, 1), (4, 4, 4, 4)),
    ],
)  # fmt: skip
def test_upfirdn2d(monkeypatch, size, up, down, padding, dtype, stored):
    modules = Modules()
    monkeypatch.setattr(upfirdn2d_kernel, '_module', modules)
    monkeypatch.setitem(upfirdn2d_kernel._RUN, 'cpu', upfirdn2d_kernel._on_cuda)
    f = torch.ones(size)
    for channels in (3, 16):
        x = torch.zeros(2, channels, 9, 11, dtype=dtype).contiguous(memory_format=stored)
        upfirdn2d_kernel._load_device(CPU, *upfirdn2d_kernel.variant(x, f, up, down, padding))
        ready = modules.taken()
        differentiate_twice(lambda x: upfirdn2d_kernel.upfirdn2d_kernel(x, f, up, down, padding, False, 1.0), x)
        assert modules.loaded and modules.taken() <= ready


@pytest.mark.parametrize('stored', FORMATS)
@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('act', ['lrelu', 'swish'])
def test_bias_act(monkeypatch, act, dtype, stored):
    modules = Modules()
    monkeypatch.setattr(bias_act_fused, '_device', modules)
    monkeypatch.setattr(bias_act_fused, '_on_host', bias_act_fused._on_device)
    for channels in (3, 16):
        x = torch.zeros(2, channels, 9, 11, dtype=dtype).contiguous(memory_format=stored)
        bias_act_fused._load_device(CPU, *bias_act_fused.variant(x, act))
        ready = modules.taken()
        differentiate_twice(lambda x: bias_act(x, torch.zeros(x.shape[1]), act, clamp=1.0, backend='cpu'), x)
        assert modules.loaded and modules.taken() <= ready


@pytest.mark.parametrize('stored', FORMATS)
@pytest.mark.parametrize('dtype', DTYPES)
def test_synthesis_epilogue(monkeypatch, dtype, stored):
    modules = Modules()
    monkeypatch.setattr(epilogue_fused, '_device', modules)
    monkeypatch.setattr(epilogue_fused, '_on_host', epilogue_fused._on_device)
    for channels in (3, 16):
        x = torch.zeros(2, channels, 9, 11, dtype=dtype).contiguous(memory_format=stored)
        epilogue_fused._load_device(CPU, *epilogue_fused.variant(x))
        ready = modules.taken()
        differentiate_twice(lambda x: synthesis_epilogue(x, torch.ones(2, x.shape[1]), torch.zeros(x.shape[1]), backend='cpu'), x)
        assert modules.loaded and modules.taken() <= ready


def test_a_variant_that_cannot_be_had_is_computed_by_the_reference(monkeypatch, caplog):
    """And nothing else is: a compiler that fails on one of them does not end a run."""
    asked = []

    def load(device: torch.device, *variant: object) -> None:
        asked.append(variant)
        if torch.bfloat16 in variant:
            raise KernelUnavailable('the compiler failed')

    for table in ('_decided', '_refused'):
        monkeypatch.setattr(backend, table, {})
    monkeypatch.setattr(backend, '_warned', set())
    monkeypatch.setitem(backend.KERNELS, 'bias_act', {'cpu': load})
    x, runs = torch.randn(1, 4, 128, 128), []
    monkeypatch.setattr(sys.modules['custom_ops.bias_act'], 'bias_act_fused', lambda x, *rest: runs.append(x.dtype) or x)
    bias_act(x, None, 'lrelu', clamp=1.0)
    for _ in range(2):
        low = bias_act(x.bfloat16(), None, 'lrelu', clamp=1.0)
        assert torch.equal(low, bias_act(x.bfloat16(), None, 'lrelu', clamp=1.0, backend='reference'))
    bias_act(x, None, 'lrelu', clamp=1.0)
    assert runs == [torch.float32] * 2 and len(asked) == 2
    assert [record.getMessage() for record in caplog.records if record.levelname == 'WARNING'] == ['bias_act on cpu: reference (the compiler failed)']
    with pytest.raises(KernelUnavailable, match='the compiler failed'):
        bias_act(x.bfloat16(), None, 'lrelu', clamp=1.0, backend='cpu')
