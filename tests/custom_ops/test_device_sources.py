"""Every CUDA source of ours, compiled without a GPU: it compiles, its kernels take a struct, and they keep within their registers.

Limits are what the compilers of CUDA 13 need on any architecture, rounded up; more registers mean fewer threads at a time.
"""

from collections.abc import Mapping
from pathlib import Path

import pytest

from custom_ops.__main__ import resources
from custom_ops.backend import DEVICE_SOURCES, DeviceSource
from custom_ops.jit import KernelUnavailable
from custom_ops.jit.cubin import parameter_bytes
from custom_ops.jit.device import build_device, find_nvcc
from custom_ops.jit.nvrtc import find_nvrtc

# By the source's name: registers per thread.
MOST_REGISTERS = {'bias_act': 72, 'synthesis_epilogue': 112, 'upfirdn2d': 96, 'triplane': 144, 'tensor_cores': 80}
# Bytes of stack beside spills: where packets of the renderer and the addresses of their rows live.
MOST_STACK = {'triplane': 352}
# Bytes that spill where the compiler prefers another block on a multiprocessor to the last register. Anything else spills none.
MOST_SPILLS = {('bias_act', 'sm_120'): 8, ('tensor_cores', 'sm_80'): 16}

TENSOR_CORES = DeviceSource('tensor_cores', 'tensor_cores', Path(__file__).parent / 'tensor_cores.cu', ({},))
MAIN = ('sm_80', 'sm_90', 'sm_100')  # A100, H100 and H200, B200
OTHERS = ('sm_75', 'sm_120')  # the oldest and the newest that the compilers know

LOG = """ptxas info    : 29 bytes gmem
ptxas info    : Compiling entry function 'first' for 'sm_90'
ptxas info    : Function properties for first
    16 bytes stack frame, 8 bytes spill stores, 8 bytes spill loads
ptxas info    : Used 128 registers, used 0 barriers, 440 bytes cumulative stack size
ptxas info    : Function properties for _ZN8triplane4callEv
    400 bytes stack frame, 400 bytes spill stores, 420 bytes spill loads
ptxas info    : Function properties for _ZN8triplane5otherEv
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Compiling entry function 'second' for 'sm_90'
ptxas info    : Function properties for second
ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 72 registers, used 1 barriers, 424 bytes cmem[0]
"""


def can_compile() -> bool:
    try:
        return bool(find_nvrtc())
    except KernelUnavailable:
        return find_nvcc() is not None


needs_compiler = pytest.mark.skipif(not can_compile(), reason='there is neither NVRTC nor nvcc')


def test_spills_of_called_functions_are_those_of_the_kernel() -> None:
    assert resources(LOG) == [('first', '128', '400', '440'), ('second', '72', '0', '0')]
    assert resources('ptxas fatal   : Unresolved extern function') == []


def check_resources(entry: DeviceSource, arch: str, defines: Mapping[str, int | str]) -> None:
    """Compiles `entry` and holds it to its limits. Raises AssertionError, and KernelUnavailable where it does not compile."""
    artefact = build_device(entry.name, entry.source, arch=arch, defines=defines)
    kernels = {name: tuple(map(int, numbers)) for name, *numbers in resources(artefact.log)}
    assert kernels and kernels.keys() == parameter_bytes(artefact.path.read_bytes()).keys()
    most_spills = MOST_SPILLS.get((entry.name, arch), 0)
    for name, (registers, spills, stack) in kernels.items():
        assert registers <= MOST_REGISTERS[entry.name], (name, arch, defines, registers)
        assert spills <= most_spills and stack <= MOST_STACK.get(entry.name, 0) + most_spills, (name, arch, defines, spills, stack)


def in_16_bits(entry: DeviceSource) -> Mapping[str, int | str]:
    """The first set of macros with numbers of 16 bits, in packs if the source knows packs."""
    return next(
        defines
        for defines in entry.defines
        if {'BFloat16', 'Float16'} & set(defines.values()) and all(defines.get(pack, 8) == 8 for pack in ('WIDTH', 'VECTOR'))
    )


@needs_compiler
@pytest.mark.parametrize('arch', MAIN)
@pytest.mark.parametrize('entry', DEVICE_SOURCES, ids=lambda entry: entry.name)
def test_16_bits_compile(entry: DeviceSource, arch: str) -> None:
    check_resources(entry, arch, in_16_bits(entry))


@needs_compiler
@pytest.mark.parametrize('arch', OTHERS)
@pytest.mark.parametrize('entry', DEVICE_SOURCES, ids=lambda entry: entry.name)
def test_32_bits_compile_for_other_architectures(entry: DeviceSource, arch: str) -> None:
    check_resources(entry, arch, entry.defines[0])


@needs_compiler
@pytest.mark.parametrize('arch', MAIN)
@pytest.mark.parametrize('entry', [entry for entry in DEVICE_SOURCES if entry.name != 'triplane'], ids=lambda entry: entry.name)
def test_32_bits_compile(entry: DeviceSource, arch: str) -> None:
    """The renderer takes long, and its planes in 16 bits differ in what they load only."""
    check_resources(entry, arch, entry.defines[0])


@needs_compiler
@pytest.mark.parametrize('arch', MAIN)
def test_the_decoder_on_tensor_cores_compiles(arch: str) -> None:
    """No operation uses it yet, so no source of an operation would show a fault in its assembly."""
    check_resources(TENSOR_CORES, arch, {})


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize('arch', [*MAIN, *OTHERS])
@pytest.mark.parametrize('entry', DEVICE_SOURCES, ids=lambda entry: entry.name)
def test_all_macros_compile(entry: DeviceSource, arch: str) -> None:
    for defines in entry.defines:
        check_resources(entry, arch, defines)
