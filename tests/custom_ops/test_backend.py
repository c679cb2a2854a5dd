"""The choice of implementation: a kernel where it can be had, the reference where not, and an error that says so for what was asked for."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from custom_ops import backend as backend_module
from custom_ops import bias_act, sample_planes, upfirdn2d
from custom_ops.__main__ import main
from custom_ops.backend import KERNELS, choose, explain, register_kernel
from custom_ops.jit import KernelUnavailable

ROOT = Path(__file__).resolve().parents[2]
REGISTERED = [op for op, kernels in KERNELS.items() if 'cpu' in kernels]


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """No kernel is registered, nothing is decided, and nobody has switched kernels off."""
    monkeypatch.setattr(backend_module, 'KERNELS', {op: {} for op in KERNELS})
    monkeypatch.setattr(backend_module, '_decided', {})
    monkeypatch.setattr(backend_module, '_refused', {})
    monkeypatch.setattr(backend_module, '_said', set())
    monkeypatch.setattr(backend_module, '_warned', set())
    monkeypatch.delenv('UNPOSED_KERNELS', raising=False)


class Loading:
    """A kernel that can be had, or not for a reason; counts how often it was asked."""

    def __init__(self, reason: str | None = None):
        self.reason = reason
        self.times = 0

    def __call__(self, device):
        self.times += 1
        if self.reason is not None:
            raise KernelUnavailable(self.reason)


@pytest.mark.parametrize(
    'call',
    [
        lambda b: bias_act(torch.zeros(1, 2), backend=b),
        lambda b: upfirdn2d(torch.zeros(1, 1, 4, 4), torch.ones(2, 2), backend=b),
        lambda b: sample_planes(torch.zeros(1, 1, 1, 2, 2), torch.zeros(1, 1, 3), torch.zeros(1, 2, 3), backend=b),
    ],
)
def test_a_missing_kernel_is_a_clear_error(call):
    call('auto')
    call('reference')
    with pytest.raises(NotImplementedError, match='no cuda kernel exists for it yet'):
        call('cuda')
    with pytest.raises(ValueError, match='must be one of'):
        call('fast')


def test_auto_takes_a_kernel_that_can_be_had_and_gets_it_ready_once():
    load = Loading()
    register_kernel('bias_act', 'cuda', load)
    for _ in range(3):
        assert choose('bias_act', 'auto', 'cuda') == 'cuda'
    assert load.times == 1
    assert choose('bias_act', 'auto', 'cpu') == 'reference'
    assert choose('bias_act', 'reference', 'cuda') == 'reference'
    with pytest.raises(ValueError, match='tensors are on'):
        choose('bias_act', 'cuda', 'cpu')
    with pytest.raises(ValueError, match='no operation is called'):
        choose('bias', 'auto', 'cpu')


def test_auto_makes_do_without_a_kernel_that_cannot_be_had():
    load = Loading('there is no compiler')
    register_kernel('bias_act', 'cpu', load)
    for _ in range(3):
        assert choose('bias_act', 'auto', 'cpu') == 'reference'
    assert load.times == 1
    for _ in range(3):
        with pytest.raises(KernelUnavailable, match='was asked for bias_act.*there is no compiler'):
            choose('bias_act', 'cpu', 'cpu')
    assert load.times == 2


def test_every_device_decides_for_itself():
    def load(device):
        if device.index == 1:
            raise KernelUnavailable('this GPU is too old')

    register_kernel('bias_act', 'cuda', load)
    assert [choose('bias_act', 'auto', torch.device('cuda', index)) for index in (0, 1)] == ['cuda', 'reference']


def test_an_operation_enters_with_its_kernel():
    register_kernel('march', 'cpu', Loading())
    assert choose('march', 'auto', 'cpu') == 'cpu'


def test_an_error_that_is_not_about_availability_is_not_swallowed():
    def load(device):
        raise AttributeError('a typing error')

    register_kernel('bias_act', 'cpu', load)
    with pytest.raises(AttributeError):
        choose('bias_act', 'auto', 'cpu')


def test_says_once(caplog):
    with caplog.at_level(logging.INFO, logger='custom_ops'):
        choose('upfirdn2d', 'auto', 'cpu')
        choose('upfirdn2d', 'auto', 'cpu')
    assert [record.message for record in caplog.records] == ['upfirdn2d on cpu: reference (no cpu kernel exists for this operation yet)']


def test_warns_once_for_each_reason(caplog):
    for op in ('bias_act', 'upfirdn2d'):
        register_kernel(op, 'cpu', Loading('there is no compiler'))
    with caplog.at_level(logging.INFO, logger='custom_ops'):
        for op in ('bias_act', 'upfirdn2d', 'sample_planes'):
            choose(op, 'auto', 'cpu')
    assert [record.levelname for record in caplog.records] == ['WARNING', 'INFO', 'INFO']
    assert caplog.records[0].message == 'bias_act on cpu: reference (there is no compiler)'


def test_the_switch(monkeypatch):
    load = Loading()
    register_kernel('bias_act', 'cpu', load)
    monkeypatch.setenv('UNPOSED_KERNELS', 'off')
    assert choose('bias_act', 'auto', 'cpu') == 'reference'
    with pytest.raises(KernelUnavailable, match='UNPOSED_KERNELS=off'):
        choose('bias_act', 'cpu', 'cpu')
    assert load.times == 0
    monkeypatch.setenv('UNPOSED_KERNELS', 'no')
    implementation, why = explain('bias_act', 'auto', 'cpu')
    assert implementation == 'reference' and 'UNPOSED_KERNELS=no' in why and 'must be auto or off' in why
    assert load.times == 0


def test_is_a_constant_for_torch_compile():
    """The graph stays whole though the choice may start a compiler and write to the log."""
    register_kernel('bias_act', 'cpu', lambda device: subprocess.run(['true'], check=True))

    @torch.compile(fullgraph=True, backend='eager')
    def double_if_kernel(x):
        return 2 * x if choose('bias_act', 'auto', x.device) == 'cpu' else x

    assert double_if_kernel(torch.ones(1)) == 2


def test_without_compilers_the_references_run_and_one_line_says_why(tmp_path):
    """All operations with their own kernels, and training, in a process that finds no program at all."""
    (tmp_path / 'bin').mkdir()
    environment = {name: value for name, value in os.environ.items() if name not in ('CXX', 'CUDA_HOME', 'UNPOSED_KERNELS')}
    environment |= {'PATH': str(tmp_path / 'bin'), 'UNPOSED_CACHE': str(tmp_path / 'cache')}
    command = [sys.executable, '-m', 'tests.custom_ops.without_compilers']
    child = subprocess.run(command, check=False, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert child.returncode == 0, child.stderr
    ops = [*REGISTERED, 'sample_planes']
    assert sorted(child.stdout.splitlines()) == sorted([*(f'{op} True' for op in ops), 'images 8', 'started []'])
    reason = 'there is no C++ compiler here; install g++ (package g++ or gcc-c++), or name another in $CXX'
    lines = child.stderr.splitlines()
    for op in REGISTERED:
        assert any(line.endswith(f' custom_ops {op} on cpu: reference ({reason})') for line in lines), f'{op} never asked for its kernel'
    assert len([line for line in lines if not line.startswith('INFO ')]) == 1 == len([line for line in lines if line.startswith('WARNING custom_ops ')])
    assert not (tmp_path / 'cache').exists()


def test_table(monkeypatch, capsys):
    register_kernel('bias_act', 'cpu', Loading('there is no compiler'))
    monkeypatch.setattr(sys, 'argv', ['custom_ops', '--no-build'])
    assert main() == 0
    out = capsys.readouterr().out
    assert all(op in out for op in KERNELS) and 'there is no compiler' in out
