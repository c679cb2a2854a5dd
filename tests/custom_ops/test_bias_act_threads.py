"""The CUDA kernels of bias_act and synthesis_epilogue on emulated threads: all that a GPU would run, from the launch on, in any order."""

import ctypes
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

import custom_ops
from custom_ops import bias_act, layout
from custom_ops.bias_act import fused as bias_act_fused
from custom_ops.jit import load_host
from custom_ops.synthesis_epilogue import fused as epilogue_fused
from custom_ops.synthesis_epilogue import synthesis_epilogue
from custom_ops.testing import with_gradients
from tests.custom_ops.test_bias_act_kernel import check_overflow

LAST = torch.channels_last
CUSTOM_OPS = Path(custom_ops.__file__).parent
EMULATOR = Path(__file__).parent / 'emulator' / 'gpu_emulator.h'
ORDERS = [0, -1, 1]  # of the threads: ascending, descending, random

# The kernel is included in a namespace without a name, so that two libraries do not share what is __shared__.
SOURCE = """{macros}
#include "{emulator}"
#include "{include}/number_formats.h"
namespace {{
#include "{source}"
void (*const kernels[])({struct}) = {{{kernels}}};
}}
extern "C" int parameter_bytes() {{ return sizeof({struct}); }}
extern "C" void launch(int kernel, const int* grid, const int* block, const {struct}* p) {{
    emulator::launch(kernels[kernel], dim3(grid[0], grid[1], grid[2]), dim3(block[0], block[1], block[2]), 0, *p);
}}
"""


class EmulatedModule:
    """What custom_ops.jit.DeviceModule is on a GPU."""

    def __init__(self, source: Path, kernels: list[str], struct: str, defines: dict, folder: Path):
        macros = ''.join(f'#define {name} {value}\n' for name, value in defines.items())
        text = SOURCE.format(
            macros=macros, emulator=EMULATOR, include=CUSTOM_OPS / 'include', source=source, struct=struct, kernels=', '.join(kernels)
        )
        path = folder / f'{source.stem}-{"-".join(map(str, defines.values()))}.cpp'
        path.write_text(text)
        self.kernels = kernels
        self.library = load_host(path.stem, [path])

    def launch(self, kernel, *, grid, block, parameters):
        assert ctypes.sizeof(parameters) == self.library.parameter_bytes()
        index = self.kernels.index(kernel)
        self.library.launch(index, (ctypes.c_int * 3)(*grid), (ctypes.c_int * 3)(*block), ctypes.byref(parameters))


@pytest.fixture(scope='module')
def emulated(tmp_path_factory):
    """Both operations run their CUDA kernels, emulated. Yields all modules that were compiled."""
    folder = tmp_path_factory.mktemp('emulated')
    modules = {}

    def bias_act_module(device, dtype, function, width):
        key = (dtype, function, width)
        if key not in modules:
            names = [f'bias_act_{kernel}' for kernel in ('forward', 'backward', 'second')]
            modules[key] = EmulatedModule(
                bias_act_fused.CUDA_SOURCE, names, 'BiasActParameters', bias_act_fused._defines(*key), folder
            )
        return modules[key]

    def epilogue_module(device, dtype, width):
        key = (dtype, width)
        if key not in modules:
            names = [f'synthesis_epilogue_{kernel}' for kernel in ('forward', 'backward')]
            modules[key] = EmulatedModule(
                epilogue_fused.CUDA_SOURCE, names, 'SynthesisEpilogueParameters', epilogue_fused._defines(*key), folder
            )
        return modules[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bias_act_fused, '_device', bias_act_module)
        patch.setattr(bias_act_fused, '_on_host', bias_act_fused._on_device)
        patch.setattr(epilogue_fused, '_device', epilogue_module)
        patch.setattr(epilogue_fused, '_on_host', epilogue_fused._on_device)
        yield modules


def in_order(modules, order):
    for module in modules.values():
        module.library.set_thread_order(order)


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def compare(ours: list[Tensor], theirs: list[Tensor], dtype: torch.dtype):
    """A thread that missed or repeated anything shows; how exact the arithmetic is, which is the processor's, is for the law to say."""
    for index, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        scale = b.abs().max().item()
        torch.testing.assert_close(a, b, rtol=0, atol=8 * torch.finfo(dtype).eps * scale, msg=lambda m, i=index: f'result {i}: {m}')


# Shape, format, channel axis, and the pack that a thread can move in 32 and in 16 bits. Among them: several blocks along every axis of the
# grid, rows of one pack, blocks that reach over the edge both ways, and rows that no pack divides.
LAYOUTS = [
    ((2, 24, 3, 5), LAST, 1, 4, 8),
    ((1, 8, 40, 33), LAST, 1, 4, 8),
    ((3, 5, 8, 9), torch.contiguous_format, 1, 4, 8),
    ((1, 2, 96, 96), torch.contiguous_format, 1, 4, 8),
    ((2, 7, 3, 5), LAST, 1, 1, 1),
    ((2, 300, 5), torch.contiguous_format, 1, 1, 1),
    ((5, 1100), torch.contiguous_format, 1, 4, 1),
]


@pytest.mark.parametrize('shape, stored, dim, pack, pack16', LAYOUTS)
def test_bias_act(emulated, shape, stored, dim, pack, pack16):
    x, bias = random(*shape).contiguous(memory_format=stored), random(shape[dim], seed=1)
    for act in ('lrelu', 'swish'):
        kernel, reference = (partial(bias_act, act=act, clamp=1.1, dim=dim, backend=backend) for backend in ('cpu', 'reference'))
        expected = with_gradients(reference, x, bias)
        kernel(x, bias)  # compiles
        assert (torch.float32, 'LEAKY' if act == 'lrelu' else 'SWISH', pack) in emulated
        for order in ORDERS:
            in_order(emulated, order)
            compare(with_gradients(kernel, x, bias), expected, torch.float32)


def test_bias_act_on_16_bits(emulated):
    for shape, stored, dim, _, pack in LAYOUTS[:4:2]:
        x, bias = random(*shape).bfloat16().contiguous(memory_format=stored), random(shape[dim], seed=1).bfloat16()
        leaf = x.clone().requires_grad_()
        results = [bias_act(leaf, bias, 'swish', dim=dim, backend=backend) for backend in ('cpu', 'reference')]
        ours, theirs = ((y, *torch.autograd.grad(y.sum(), leaf)) for y in results)
        assert (torch.bfloat16, 'SWISH', pack) in emulated
        compare(list(ours), list(theirs), torch.bfloat16)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16])
def test_infinite_results_have_gradients(emulated, dtype):
    check_overflow('cpu', dtype)
    assert {key[0] for key in emulated} >= {dtype}


@pytest.mark.parametrize('shape, stored, pack', [(shape, stored, pack) for shape, stored, dim, pack, _ in LAYOUTS[:5]])
@pytest.mark.parametrize('noises', [0, 1, None])
def test_synthesis_epilogue(emulated, shape, stored, pack, noises):
    n, c, h, w = shape
    x = random(*shape).contiguous(memory_format=stored)
    noise = None if noises is None else random(noises or n, 1, h, w, seed=1)
    factors = [random(n, c, seed=2), random(c, seed=3), *([] if noise is None else [torch.tensor(0.3)])]

    def function(x, scale, bias, strength=None, backend='cpu'):
        return synthesis_epilogue(x, scale, bias, noise, strength, clamp=1.3, backend=backend)

    expected = with_gradients(partial(function, backend='reference'), x, *factors)
    function(x, *factors)  # compiles
    assert (torch.float32, pack) in emulated
    for order in ORDERS:
        in_order(emulated, order)
        compare(with_gradients(function, x, *factors), expected, torch.float32)


def test_synthesis_epilogue_on_16_bits(emulated):
    x, scale, bias = random(2, 16, 4, 3).bfloat16().contiguous(memory_format=LAST), random(2, 16, seed=1), random(16, seed=2)
    noise, strength = random(4, 3, seed=3), torch.tensor(0.5)
    ours, theirs = (synthesis_epilogue(x, scale, bias, noise, strength, backend=backend) for backend in ('cpu', 'reference'))
    assert (torch.bfloat16, 8) in emulated
    compare([ours], [theirs], torch.bfloat16)


@pytest.mark.parametrize('rows', [1, 3, 256, 1000, 300_000])
@pytest.mark.parametrize('columns', [1, 3, 8, 512, 5000, 2**21])
@pytest.mark.parametrize('last', [0, 1])
@pytest.mark.parametrize('width', [1, 4, 8])
def test_launches_are_valid_and_reach_every_channel(rows, columns, last, width):
    c = layout.Channels(70_000, rows, columns, last)
    grid, block = layout.launch_shape(c, width)
    assert block[0] * block[1] == layout.THREADS and block[2] == 1
    assert all(size & (size - 1) == 0 for size in block), 'sums are pairwise'
    assert grid[0] < 2**31 and 0 < grid[1] <= 65535 and 0 < grid[2] <= 65535
    if last:
        assert grid[1] * block[0] * width >= columns
    else:
        assert grid[0] * block[1] >= rows
    assert layout.parts(c, grid) <= max(layout.MAX_PARTS, columns // (4 * layout.THREADS * width) + 1)
