"""The choice of implementation: what is asked for and does not exist is an error that says so."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from custom_ops import backend as backend_module
from custom_ops import bias_act, sample_planes, upfirdn2d
from custom_ops.backend import IMPLEMENTATIONS, choose


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


def test_auto_takes_a_kernel_where_one_exists(monkeypatch):
    monkeypatch.setitem(IMPLEMENTATIONS, 'bias_act', ('reference', 'cuda'))
    monkeypatch.setattr(backend_module, '_decided', {})
    assert choose('bias_act', 'auto', 'cuda') == 'cuda'
    assert choose('bias_act', 'auto', 'cpu') == 'reference'
    assert choose('bias_act', 'reference', 'cuda') == 'reference'
    with pytest.raises(ValueError, match='tensors are on'):
        choose('bias_act', 'cuda', 'cpu')


def test_says_once(monkeypatch, caplog):
    monkeypatch.setattr(backend_module, '_decided', {})
    with caplog.at_level(logging.INFO, logger='custom_ops'):
        choose('upfirdn2d', 'auto', 'cpu')
        choose('upfirdn2d', 'auto', 'cpu')
    assert [record.message for record in caplog.records] == ['upfirdn2d on cpu: reference (no cpu kernel exists for this operation yet)']


def test_table():
    root = Path(__file__).resolve().parents[2]
    out = subprocess.run([sys.executable, '-m', 'custom_ops'], cwd=root, capture_output=True, text=True, check=True).stdout
    assert all(op in out for op in IMPLEMENTATIONS)
