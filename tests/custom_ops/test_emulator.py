"""The emulated GPU computes what a GPU would, and notices what goes wrong only now and then on a real one."""

import ctypes
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from custom_ops.jit import load_host

SOURCE = Path(__file__).parent / 'emulator' / 'self_test.cpp'
ORDERS = [0, -1, 1, 2, 3]  # ascending, descending, three random ones


@pytest.fixture(scope='module')
def library() -> ctypes.CDLL:
    return load_host('emulator_self_test', [SOURCE])


@pytest.fixture(params=ORDERS)
def emulator(library, request):
    library.set_thread_order(request.param)
    yield library
    library.set_thread_order(0)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def at(x: torch.Tensor) -> ctypes.c_void_p:
    assert x.is_contiguous()
    return ctypes.c_void_p(x.data_ptr())


@pytest.mark.parametrize('threads', [32, 256, 1024])
def test_reduction(emulator, threads):
    x, total = random(5000), torch.zeros(1)
    emulator.run_reduction(at(x), at(total), 5000, threads)
    torch.testing.assert_close(total[0], x.sum(), rtol=0, atol=1e-3)


def test_scan(emulator):
    x = random(3, 2, 32)
    y = torch.full_like(x, torch.nan)
    emulator.run_scan(at(x), at(y), 3, 64)
    torch.testing.assert_close(y, x.cumsum(-1))


def test_transposition(emulator):
    x = random(32, 32)
    y = torch.empty_like(x)
    emulator.run_transposition(at(x), at(y), True)
    assert y.equal(x.t())


def test_missing_block_barrier_shows(emulator):
    x = random(32, 32)
    y = torch.empty_like(x)
    emulator.run_transposition(at(x), at(y), False)
    assert y.isnan().any()


def neighbours(library, order: int, with_barrier: bool) -> bool:
    y, lanes = torch.empty(32), torch.arange(32)
    library.set_thread_order(order)
    library.run_neighbours(at(y), with_barrier)
    library.set_thread_order(0)
    return y.equal((lanes - 1).clamp(min=0).float())


def test_missing_warp_barrier_shows_in_another_order(library):
    assert all(neighbours(library, order, True) for order in ORDERS)
    assert neighbours(library, -1, False), 'this order is expected to hide the fault; another must show it'
    assert not any(neighbours(library, order, False) for order in ORDERS if order != -1)


def test_unwritten_shared_memory_is_nan(emulator):
    y = torch.empty(64)
    emulator.run_unwritten(at(y))  # three blocks: each begins with fresh memory
    assert (y[:16] == 2).all() and y[16:].isnan().all()


def test_lanes_out_of_range(emulator):
    y = torch.empty(208, dtype=torch.int32)
    emulator.run_out_of_range(at(y))
    lanes = torch.arange(32, dtype=torch.int32)
    expected = {
        'up': torch.where(lanes >= 3, lanes - 3, lanes),
        'down': torch.where(lanes < 29, lanes + 3, lanes),
        'from 35': torch.full_like(lanes, 3),
        'up in eights': torch.where(lanes % 8 >= 3, lanes - 3, lanes),
        'xor in eights': torch.where((lanes ^ 12) < (lanes & ~7) + 8, lanes ^ 12, lanes),  # back is allowed, ahead is not
        'ballot': torch.full_like(lanes, sum(1 << lane for lane in range(0, 32, 3))),
    }
    for found, (name, wanted) in zip(y[:192].view(6, 32), expected.items(), strict=True):
        assert found.equal(wanted), name
    assert (y[192:] == 1).all(), 'all of half a warp, and not any'


def test_atomics(emulator):
    total, tickets = torch.zeros(1), torch.zeros(1, dtype=torch.int32)
    emulator.run_atomics(at(total), at(tickets), 3, 64)
    assert tickets.item() == 192 and total.item() == 191 * 192 / 2


def test_product_of_matrices(emulator):
    a, b, c = random(16, 16).bfloat16(), random(16, 8, seed=1).bfloat16(), torch.empty(16, 8)
    emulator.run_product(at(a), at(b), at(c))
    torch.testing.assert_close(c, a.float() @ b.float(), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ('fault', 'message'),
    [
        (0, 'thread 0 has come to __syncwarp; thread 16 has come to __shfl_sync'),
        (1, 'thread 0 has come to __syncthreads; thread 7 has come to the end'),
        (2, 'called __syncwarp with a mask in which it is not'),
        (3, 'byte 128 of shared memory was written; the launch asked for 128'),
        (4, 'a load of 16 bytes from an address that is not a multiple of it'),
    ],
)
def test_faults_abort(library, fault, message):
    program = f'import ctypes; ctypes.CDLL({library._name!r}).run_faulty({fault})'
    ended = subprocess.run([sys.executable, '-c', program], check=False, capture_output=True, text=True)
    assert ended.returncode == -signal.SIGABRT
    assert message in ended.stderr


def test_fast_enough(library):
    begin = time.process_time()
    library.run_switching(10_000)
    assert 32 * 10_000 / (time.process_time() - begin) > 1e5, 'switches of fibers per second'
