"""The kernels of upfirdn2d against its reference: the processor's, and the GPU's text run thread by thread on a processor."""

import ctypes
import importlib
import itertools
from pathlib import Path

import pytest
import torch

from custom_ops import downsample2d, filter2d, setup_filter, upfirdn2d, upsample2d
from custom_ops.jit import KernelUnavailable, load_host
from custom_ops.jit.device import build_device
from custom_ops.testing import check_registration, check_twin
from custom_ops.upfirdn2d.reference import upfirdn2d_reference
from tests.custom_ops.test_upfirdn2d import CASES, by_loop, random

kernel = importlib.import_module('custom_ops.upfirdn2d.kernel')  # the name `custom_ops.upfirdn2d` is a function's
THREADS = Path(__file__).parent / 'test_upfirdn2d_threads.cpp'
FORMATS = [torch.contiguous_format, torch.channels_last]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def image(*shape, dtype=torch.float32, memory_format=torch.contiguous_format):
    return random(*shape).to(dtype).contiguous(memory_format=memory_format)


def outer_product(size):
    return torch.outer(random(size[0], seed=2), random(size[-1], seed=3))


@pytest.mark.parametrize('memory_format', FORMATS)
@pytest.mark.parametrize('channels', [1, 3, 6, 8, 13])
@pytest.mark.parametrize('size, up, down, padding', CASES)
def test_processor_against_a_loop(size, up, down, padding, channels, memory_format):
    x = image(2, channels, 6, 7, memory_format=memory_format)
    filters = [random(*size, seed=1)] + ([outer_product(size)] if len(size) == 2 else [])
    for f, flip in itertools.product(filters, [False, True]):
        ours = upfirdn2d(x, f.float(), up=up, down=down, padding=padding, flip_filter=flip, gain=1.7, backend='cpu')
        torch.testing.assert_close(ours.double(), by_loop(x.double(), f, up, down, padding, flip, 1.7), rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('shape, memory_format', [
    ((2, 3, 11, 43), torch.contiguous_format), ((2, 3, 11, 43), torch.channels_last), ((1, 43, 7, 9), torch.channels_last),
])  # fmt: skip
@pytest.mark.parametrize('size, up, down, padding', [CASES[0], CASES[1], CASES[2], CASES[4], CASES[9], CASES[10]])
def test_processor_is_the_twin_of_the_reference(size, up, down, padding, shape, memory_format, dtype):
    """Output, gradient and the gradient of a gradient penalty, on runs that fill vectors and leave a rest."""
    f = random(*size, seed=1)
    f = (f / f.abs().sum()).to(dtype)  # the reference knows the filter no better
    x = image(*shape, dtype=dtype, memory_format=memory_format)

    def run(x, backend):
        return upfirdn2d(x, f.to(x.dtype), up=up, down=down, padding=padding, gain=0.7, backend=backend)

    check_twin(lambda x: run(x, 'cpu'), lambda x: run(x, 'reference'), x)


@pytest.mark.parametrize('shape, up, down, padding', [((2, 16, 2, 2), 1, 2, 1), ((2, 16, 1, 1), 2, 1, (2, 1, 2, 1)), ((3, 2, 1, 1), 1, 1, (2, 1, 2, 1))])
@pytest.mark.parametrize('memory_format', FORMATS)
def test_images_of_one_pixel(shape, up, down, padding, memory_format):
    """They are in both memory formats at once."""
    f = random(4, seed=1)

    def run(x, backend):
        return upfirdn2d(x, f.to(x.dtype), up=up, down=down, padding=padding, backend=backend)

    check_twin(lambda x: run(x, 'cpu'), lambda x: run(x, 'reference'), image(*shape, memory_format=memory_format))


def test_a_filter_that_is_nearly_an_outer_product_is_not_taken_for_one():
    f = outer_product((4, 4))
    f[2, 1] += 1e-5
    x = image(1, 2, 9, 9)
    ours = upfirdn2d(x, f.float(), padding=2, backend='cpu').double()
    truth = upfirdn2d_reference(x.double(), f.float().double(), (1, 1), (1, 1), (2,) * 4, False, 1.0)
    torch.testing.assert_close(ours, truth, rtol=0, atol=2e-6)


@pytest.mark.parametrize('f', [torch.zeros(3, 3), torch.zeros(3)])
def test_a_filter_of_zeros(f):
    assert upfirdn2d(image(1, 2, 9, 9), f, padding=1, backend='cpu').eq(0).all()


@pytest.mark.parametrize('shape', [(2, 3, 200, 230), (2, 40, 50, 70)])
def test_threads_change_nothing(shape):
    x, f = image(*shape, memory_format=torch.channels_last), random(4, 4, seed=1).float()
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 3):
            torch.set_num_threads(threads)
            results.append(upfirdn2d(x, f, up=2, padding=(2, 1, 2, 1), backend='cpu'))
    finally:
        torch.set_num_threads(before)
    assert results[0].equal(results[1])


def test_memory_formats_of_results():
    f = random(4, 4, seed=1).float()
    for x in (image(2, 3, 9, 9), image(2, 40, 9, 40), image(2, 3, 9, 9, memory_format=torch.channels_last)):
        y = upfirdn2d(x, f, up=2, backend='cpu')
        assert y.is_contiguous() == x.is_contiguous()
    assert upfirdn2d(image(2, 40, 9, 9), f, backend='cpu').is_contiguous(memory_format=torch.channels_last)
    strided = image(2, 3, 18, 18)[:, :, ::2, ::2]
    assert upfirdn2d(strided, f, backend='cpu').equal(upfirdn2d(strided.contiguous(), f, backend='cpu'))


@pytest.mark.parametrize('shape', [(0, 3, 8, 8), (2, 0, 8, 8)])
def test_nothing_in_nothing_out(shape):
    assert upfirdn2d(torch.zeros(shape), torch.ones(3, 3), backend='cpu').numel() == 0


def test_registered():
    x = image(2, 3, 8, 8, memory_format=torch.channels_last).requires_grad_()
    check_registration('upfirdn2d_kernel', (x, random(4, 4).float(), [2, 2], [1, 1], [2, 1, 2, 1], False, 4.0))
    x = image(2, 16, 8, 8).requires_grad_()
    check_registration('upfirdn2d_kernel', (x, random(12).float(), [1, 1], [2, 2], [5, 5, 5, 5], True, 1.0))


def test_what_no_kernel_can_do_is_said_or_left_to_the_reference():
    x, f = torch.zeros(1, 1, 4, 4), torch.ones(3, 3)
    with pytest.raises(ValueError, match='float64'):
        upfirdn2d(x.double(), f, backend='cpu')
    with pytest.raises(ValueError, match='filter requires a gradient'):
        upfirdn2d(x, f.clone().requires_grad_(), backend='cpu')
    assert upfirdn2d(x.double(), f).dtype == torch.float64
    assert upfirdn2d(x, f.clone().requires_grad_()).requires_grad


class ThreadByThread:
    """What custom_ops.jit.DeviceModule is on a GPU, for a kernel whose threads never meet: a loop over them needs no emulator."""

    def __init__(self, defines):
        axes = '_'.join(
            f'{a.lower()}_' + '_'.join(str(defines[f'{part}_{a}']) for part in ('UP', 'DOWN', 'TAPS', 'PHASE', 'TILE')) for a in 'XY'
        )
        self.function = getattr(load_host('upfirdn2d_threads', [THREADS]), f'{defines["NUMBER"]}_{defines["VECTOR"]}_{axes}')
        self.function.argtypes = [ctypes.POINTER(kernel.Parameters), ctypes.c_int64, ctypes.c_int64]

    def launch(self, name, *, grid, block, parameters):
        assert name == 'upfirdn2d'
        self.function(parameters, grid, block)


@pytest.fixture
def emulated(monkeypatch):
    """The CUDA side of kernel.py on processor tensors."""
    monkeypatch.setattr(kernel, '_module', lambda device, defines: ThreadByThread(defines))
    monkeypatch.setitem(kernel._RUN, 'cpu', kernel._on_cuda)

    def run(*arguments):
        return kernel.upfirdn2d_kernel(*arguments)

    return run


# Those of CASES whose kernels test_upfirdn2d_threads.cpp lists, for float.
GPU_CASES = [
    ((4, 4), (2, 2), (1, 1), (2, 1, 2, 1)),
    ((4, 4), (2, 2), (1, 1), (1, 1, 1, 1)),
    ((4, 4), (2, 2), (1, 1), (-2, 3, 10, -3)),
    ((4, 4), (1, 1), (2, 2), (1, 1, 1, 1)),
    ((4, 4), (1, 1), (1, 1), (2, 1, 3, -1)),
    ((3, 2), (3, 2), (2, 3), (3, 4, 5, 0)),
    ((12,), (2, 2), (1, 1), (6, 5, 6, 5)),
    ((12,), (1, 1), (2, 2), (5, 5, 5, 5)),
    ((9, 8), (1, 1), (1, 1), (4, 4, 4, 4)),
]


@pytest.mark.parametrize('memory_format', FORMATS)
@pytest.mark.parametrize('channels', [3, 8])
@pytest.mark.parametrize('size, up, down, padding', GPU_CASES)
def test_gpu_threads_are_the_twin_of_the_reference(emulated, size, up, down, padding, channels, memory_format):
    f, geometry = random(*size, seed=1).float(), (up, down, padding, True, 0.7)
    x = image(3, channels, 9, 11, memory_format=memory_format)
    check_twin(lambda x: emulated(x, f, *geometry), lambda x: upfirdn2d_reference(x, f, *geometry), x)


@pytest.mark.parametrize('dtype, channels, memory_format', [
    (torch.bfloat16, 16, torch.channels_last), (torch.float16, 3, torch.contiguous_format),
])  # fmt: skip
@pytest.mark.parametrize('case', [0, 3, 4])
def test_gpu_threads_on_short_formats(emulated, case, dtype, channels, memory_format):
    size, up, down, padding = GPU_CASES[case]
    f, geometry = random(*size, seed=1).to(dtype), (up, down, padding, False, 0.7)
    x = image(2, channels, 9, 11, dtype=dtype, memory_format=memory_format)
    check_twin(lambda x: emulated(x, f, *geometry), lambda x: upfirdn2d_reference(x, f, *geometry), x)


def test_gpu_memory_that_is_not_aligned_is_read_number_by_number(emulated):
    f, geometry = random(4, 4, seed=1).float(), ((1, 1), (1, 1), (2, 1, 2, 1), False, 1.0)
    x = torch.zeros(1 + 2 * 8 * 81)[1:].view(2, 9, 9, 8).permute(0, 3, 1, 2).copy_(image(2, 8, 9, 9))
    torch.testing.assert_close(emulated(x, f, *geometry), upfirdn2d_reference(x, f, *geometry))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='there is no GPU')
@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('memory_format', FORMATS)
@pytest.mark.parametrize('channels', [3, 16])
@pytest.mark.parametrize('size, up, down, padding', GPU_CASES)
def test_gpu(size, up, down, padding, channels, memory_format, dtype):
    f = random(*size, seed=1)
    f, geometry = (f / f.abs().sum()).to('cuda', dtype), {'up': up, 'down': down, 'padding': padding, 'gain': 0.7}
    x = image(2, channels, 9, 11, dtype=dtype, memory_format=memory_format).cuda()

    def run(x, backend):
        return upfirdn2d(x, f.to(x.dtype), **geometry, backend=backend)

    check_twin(lambda x: run(x, 'cuda'), lambda x: run(x, 'reference'), x)


def test_too_many_threads_are_refused():
    p = kernel.Parameters(images=1 << 20, channels=1, out_width=1 << 10, out_height=1 << 10)
    with pytest.raises(ValueError, match='smaller batches'):
        kernel.blocks(p, kernel.COMMON[0])


@pytest.mark.parametrize('arch', ['sm_80', 'sm_90'])
@pytest.mark.parametrize('which', [0, 4, 6])
def test_gpu_kernels_compile_without_spills(arch, which):
    try:
        artefact = build_device('upfirdn2d', kernel.FOLDER / 'upfirdn2d.cu', arch=arch, defines=kernel.COMMON[which])
    except KernelUnavailable as error:
        if 'failed' in str(error):
            raise
        pytest.skip(str(error))
    assert '0 bytes stack frame, 0 bytes spill stores' in artefact.log


def test_a_gpu_leaves_more_outputs_than_it_counts_to_the_reference():
    x = torch.empty(8, 64, 1024, 1024, device='meta')  # 2^29
    assert kernel.pays(x, (1, 1), (1, 1)) and kernel.pays(x, (2, 2), (2, 2))
    assert not kernel.pays(x, (2, 2), (1, 1)) and not kernel.pays(torch.cat([x] * 4), (1, 1), (1, 1))


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('multiplies', [False, True])
def test_filters_in_bfloat16_are_convolutions_where_processors_multiply_it(monkeypatch, multiplies, dtype):
    """And nothing else is: not on other processors, in other formats, or where pixels are inserted or left out."""
    taken = []
    monkeypatch.setattr(kernel, '_multiplies_bfloat16', lambda: multiplies)
    monkeypatch.setitem(kernel._RUN, 'cpu', lambda x, *rest: taken.append(1) or upfirdn2d_reference(x, *rest))
    f = setup_filter([1, 3, 3, 1])
    x = torch.randn(2, 16, 32, 32, dtype=dtype).contiguous(memory_format=torch.channels_last)
    y = filter2d(x, f)
    assert bool(taken) != (multiplies and dtype == torch.bfloat16)
    assert y.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(y, filter2d(x, f, backend='reference'))
    before = len(taken)
    for call in (lambda: upsample2d(x, f), lambda: downsample2d(x, f), lambda: filter2d(x.contiguous(), f), lambda: filter2d(x[:, :3], f)):
        call()
    assert len(taken) == before + 4
