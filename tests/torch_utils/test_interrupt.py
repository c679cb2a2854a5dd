"""The first signal asks, the second one insists."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from torch_utils.interrupt import StopRequest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(('number', 'code'), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 143), (signal.SIGHUP, 143)])
def test_first_signal(number, code, capfd) -> None:
    outside = signal.signal(number, signal.SIG_DFL)  # who started the tests may have it ignored, as nohup does
    try:
        with StopRequest() as stop:
            assert not stop.requested
            assert stop.exit_code == 0
            os.kill(os.getpid(), number)
            assert stop.requested
            assert stop.exit_code == code
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, outside)
    assert signal.Signals(number).name in capfd.readouterr().err


PROGRAM = """
import importlib.util, os, signal, time
from pathlib import Path
spec = importlib.util.spec_from_file_location('interrupt', Path('torch_utils/interrupt.py'))
interrupt = importlib.util.module_from_spec(spec)
spec.loader.exec_module(interrupt)
with interrupt.StopRequest():
    os.kill(os.getpid(), signal.SIGTERM)
    print('asked', flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
    print('asked again by somebody who passes it on', flush=True)
    time.sleep(interrupt.INSISTS_AFTER_S)
    os.kill(os.getpid(), signal.SIGINT)
    print('not reached', flush=True)
"""


def test_second_signal_ends_the_process_at_once() -> None:
    ended = subprocess.run([sys.executable, '-c', PROGRAM], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 130
    assert ended.stdout == 'asked\nasked again by somebody who passes it on\n'


def test_nohup_keeps_training_alive_without_its_terminal() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.requested
    finally:
        signal.signal(signal.SIGHUP, before)
