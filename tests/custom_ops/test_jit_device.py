"""Kernels for CUDA, as far as a machine without a GPU can tell: both compilers, what the cubin says, and every call that reaches the driver."""

import ctypes
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from custom_ops import __main__ as command
from custom_ops.backend import DeviceSource
from custom_ops.jit import DeviceModule, KernelUnavailable, compile_cubin, compiling, device, load_device, nvrtc, store
from custom_ops.jit.cubin import parameter_bytes
from custom_ops.jit.device import build_device, find_nvcc
from custom_ops.jit.driver import MAX_DYNAMIC_SHARED_BYTES, Driver, DriverError

needs_nvrtc = pytest.mark.skipif(sys.platform == 'darwin', reason='NVIDIA has no compilers for macOS')
COMPILERS = [
    pytest.param('nvrtc', marks=needs_nvrtc),
    pytest.param('nvcc', marks=pytest.mark.skipif(find_nvcc() is None, reason='there is no nvcc; NVRTC compiles the same')),
]
pytestmark = needs_nvrtc

SOURCE = """
#include "portable.h"
#include "parameters.h"

extern "C" __global__ void scale(const __grid_constant__ Parameters p) {
    int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i < p.count) {
        p.y[i] = p.factor * p.x[i] * TIMES;
    }
}

extern "C" __global__ void nothing() {}
"""


class Parameters(ctypes.Structure):
    _fields_ = [('x', ctypes.c_void_p), ('y', ctypes.c_void_p), ('count', ctypes.c_int64), ('factor', ctypes.c_float)]


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp('sources')
    (folder / 'parameters.h').write_text('struct Parameters {\n    const float* x;\n    float* y;\n    int64_t count;\n    float factor;\n};\n')
    (folder / 'scale.cu').write_text(SOURCE)
    return folder / 'scale.cu'


@pytest.fixture(scope='module', autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('UNPOSED_CACHE', str(tmp_path_factory.mktemp('cache')))
        yield store.cache_folder()


@pytest.mark.parametrize('arch', ['sm_80', 'sm_90', 'sm_100'])
@pytest.mark.parametrize('compiler', COMPILERS)
def test_compiles_without_a_gpu(source, compiler, arch):
    cubin = compile_cubin('scale', source, arch=arch, defines={'TIMES': 2}, compiler=compiler)
    assert cubin[:4] == b'\x7fELF'
    assert parameter_bytes(cubin) == {'scale': ctypes.sizeof(Parameters), 'nothing': 0}
    artefact = build_device('scale', source, arch=arch, defines={'TIMES': 2}, compiler=compiler)
    assert not artefact.built_now and artefact.seconds < 60
    kernels = {name: [int(number) for number in numbers] for name, *numbers in command.resources(artefact.log)}
    assert set(kernels) == {'scale', 'nothing'} and 4 < kernels['scale'][0] < 64 and kernels['scale'][1:] == [0, 0]


def test_macros_and_architectures_do_not_share(source):
    options = [('sm_80', {'TIMES': 2}), ('sm_80', {'TIMES': 3}), ('sm_90', {'TIMES': 2}), ('sm_90', {'TIMES': 2, 'MORE': 1})]
    assert len({build_device('scale', source, arch=arch, defines=defines).path for arch, defines in options}) == len(options)


@pytest.mark.parametrize('compiler', COMPILERS)
def test_what_the_compiler_objects_to(source, compiler):
    with pytest.raises(KernelUnavailable, match=r'kernel scale \(sm_90\): (NVRTC|nvcc).*failed(.*\n)*.*"TIMES" is undefined') as caught:
        compile_cubin('scale', source, arch='sm_90', compiler=compiler)
    assert 'scale.cu(' in str(caught.value)
    with pytest.raises(KernelUnavailable, match=r'(?i)architecture'):
        compile_cubin('scale', source, arch='sm_30', defines={'TIMES': 2}, compiler=compiler)


def test_auto_prefers_nvrtc_and_makes_do_with_nvcc(source, monkeypatch):
    def absent():
        raise KernelUnavailable('there is no NVRTC here')

    options = {'arch': 'sm_90', 'defines': {'TIMES': 4}}
    assert build_device('scale', source, **options).compiler.startswith('NVRTC')
    monkeypatch.setattr(device, 'find_nvrtc', absent)
    monkeypatch.setattr(device, 'find_nvcc', lambda: '/opt/nvcc')
    monkeypatch.setattr(compiling, 'version', lambda command: f'version of {command[0]}')
    with pytest.raises(KernelUnavailable, match='nvcc could not be started'):
        build_device('scale', source, **options)
    monkeypatch.setattr(device, 'find_nvcc', lambda: None)
    with pytest.raises(KernelUnavailable, match='there is no NVRTC'):
        build_device('scale', source, **options)
    with pytest.raises(KernelUnavailable, match='there is no nvcc'):
        build_device('scale', source, compiler='nvcc', **options)


FAKE_NVRTC = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <signal.h>
static const char* log = "ptxas info\n\377";
extern "C" {
const char* nvrtcGetErrorString(int code) { return code == 6 ? "NVRTC_ERROR_COMPILATION" : "NVRTC_ERROR_OUT_OF_MEMORY"; }
int nvrtcVersion(int* major, int* minor) { *major = 99; *minor = 1; return 0; }
int nvrtcCreateProgram(void** program, const char* source, const char* name, int, const char* const*, const char* const*) {
    *program = strdup(source);
    return MODE == 'n';
}
int nvrtcCompileProgram(void* program, int count, const char* const* options) {
    FILE* file = fopen(getenv("FAKE_NVRTC_PROCESS"), "w");
    fprintf(file, "%d", getpid());
    fclose(file);
    if (MODE == 'h') sleep(20);
    if (MODE == 'c') raise(SIGSEGV);
    return MODE == 'e' ? 6 : 0;
}
int nvrtcGetProgramLogSize(void*, size_t* size) { *size = strlen(log) + 1; return 0; }
int nvrtcGetProgramLog(void*, char* out) { strcpy(out, log); return 0; }
int nvrtcGetCUBINSize(void* program, size_t* size) { *size = strlen((char*)program); return 0; }
int nvrtcGetCUBIN(void* program, char* out) { memcpy(out, program, strlen((char*)program)); return 0; }
int nvrtcDestroyProgram(void**) { return 0; }
}
"""
NVRTC_THAT = {
    'works': None,
    'hangs': r'NVRTC 99\.1 did not finish within 1 s and was stopped$',
    'crashes': r'NVRTC 99\.1 failed \(signal SIGSEGV\) and said nothing$',
    'errs': 'NVRTC 99\\.1 failed \\(exit code 1\\):\nptxas info\n\N{REPLACEMENT CHARACTER}\nNVRTC_ERROR_COMPILATION$',
    'never starts': r'NVRTC 99\.1 failed \(exit code 1\):\nNVRTC_ERROR_OUT_OF_MEMORY$',
}


@pytest.mark.skipif(shutil.which('g++') is None, reason='there is no g++')
@pytest.mark.parametrize('how', NVRTC_THAT)
def test_nvrtc_has_a_process_of_its_own(source, monkeypatch, tmp_path, how):
    """Which is stopped when it takes too long, and whose crash is not ours."""
    library = tmp_path / 'libnvrtc.so.99'
    (tmp_path / 'fake.cpp').write_text(FAKE_NVRTC)
    mode = f"-DMODE='{how[0]}'"
    subprocess.run(['g++', '-shared', '-fPIC', mode, str(tmp_path / 'fake.cpp'), '-o', str(library)], check=True)
    monkeypatch.setattr(nvrtc, '_candidates', lambda: [library])
    monkeypatch.setattr(device, 'find_nvrtc', nvrtc.find_nvrtc.__wrapped__)  # which remembers nothing
    monkeypatch.setattr(compiling, 'LIMIT_S', 1)
    monkeypatch.setattr(store, '_hanging', {})
    monkeypatch.setenv('FAKE_NVRTC_PROCESS', str(tmp_path / 'process'))
    options = {'arch': 'sm_90', 'defines': {'HOW': how.replace(' ', '_')}}
    if how == 'works':
        artefact = build_device('fake', source, **options)
        assert artefact.path.read_bytes() == source.read_bytes() and artefact.compiler == 'NVRTC 99.1'
        assert artefact.log == 'ptxas info\n\N{REPLACEMENT CHARACTER}'
    else:
        with pytest.raises(KernelUnavailable, match=rf'^kernel fake \(sm_90 HOW={options["defines"]["HOW"]}\): {NVRTC_THAT[how]}'):
            build_device('fake', source, **options)
    if how != 'never starts':
        process = int((tmp_path / 'process').read_text())
        assert process != os.getpid()
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


def test_the_command_compiles_every_source(source, monkeypatch, capsys):
    monkeypatch.setattr(command, 'DEVICE_SOURCES', [DeviceSource('scaling', 'scale', source, ({'TIMES': 2}, {'TIMES': 3}))])
    monkeypatch.setattr(sys, 'argv', ['custom_ops', '--cuda-arch', 'sm_90'])
    assert command.main() == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows[1:5]] == ['scaling'] * 4 and {row[2] for row in rows[1:5]} == {'scale', 'nothing'}
    monkeypatch.setattr(command, 'DEVICE_SOURCES', [DeviceSource('scaling', 'scale', source, ({},))])
    assert command.main() == 1
    assert '"TIMES" is undefined' in capsys.readouterr().out


class FakeDriver:
    """libcuda's interface without a GPU: hands out handles, keeps the stack of contexts, writes down every call that is made in one."""

    CONTEXT, MODULE, FUNCTION = 1000, 2000, 3000

    def __init__(self):
        self.calls = []
        self.stack = []
        self.failing = {}  # name of a call: the code that it returns

    def __getattr__(self, name):
        def call(*arguments):
            if name in self.failing:
                return self.failing[name]
            return getattr(self, f'do_{name}')(*arguments) or 0

        return call

    def do_cuInit(self, flags):
        assert flags == 0

    def do_cuDeviceGet(self, device, index):
        device._obj.value = 10 + index

    def do_cuDevicePrimaryCtxRetain(self, context, device):
        context._obj.value = self.CONTEXT + device.value

    def do_cuCtxPushCurrent_v2(self, context):
        self.stack.append(context.value)

    def do_cuCtxPopCurrent_v2(self, context):
        context._obj.value = self.stack.pop()

    def do_cuModuleLoadData(self, module, image):
        assert image.value[:4] == b'\x7fELF'
        self.calls.append(('load', self.stack[-1]))
        module._obj.value = self.MODULE

    def do_cuModuleGetFunction(self, function, module, name):
        self.calls.append(('function', self.stack[-1], module.value, name.value))
        function._obj.value = self.FUNCTION

    def do_cuFuncSetAttribute(self, function, attribute, value):
        assert attribute == MAX_DYNAMIC_SHARED_BYTES
        self.calls.append(('shared', self.stack[-1], function.value, value))

    def do_cuLaunchKernel(self, function, gx, gy, gz, bx, by, bz, shared_bytes, stream, pointers, extra):
        assert extra is None and len(pointers) == 1
        copied = Parameters.from_buffer_copy(ctypes.string_at(pointers[0], ctypes.sizeof(Parameters)))
        values = (copied.x, copied.y, copied.count, copied.factor)
        self.calls.append(('launch', self.stack[-1], function.value, (gx, gy, gz), (bx, by, bz), shared_bytes, stream.value, values))

    def do_cuGetErrorName(self, code, text):
        text._obj.value = {1: b'CUDA_ERROR_INVALID_VALUE', 209: b'CUDA_ERROR_NO_BINARY_FOR_GPU'}.get(code)
        return 0 if text._obj.value else 1

    def do_cuGetErrorString(self, code, text):
        text._obj.value = b'invalid argument'


@pytest.fixture
def fake(monkeypatch):
    """Two GPUs of architecture 9.0 that nobody has; torch's current stream is 77 on the first and 78 on the second."""
    library = FakeDriver()
    monkeypatch.setattr(device, '_loaded', {})
    monkeypatch.setattr(device, 'open_driver', lambda: Driver(library))
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'current_device', lambda: 0)
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda index: (9, 0))
    monkeypatch.setattr(torch.cuda, 'current_stream', lambda place: SimpleNamespace(cuda_stream=77 + place.index))
    return library


def test_launches_in_the_context_of_the_device_on_the_stream_of_torch(source, fake):
    second = torch.device('cuda', 1)
    module = load_device('scale', source, second, defines={'TIMES': 2})
    assert isinstance(module, DeviceModule) and load_device('scale', source, second, defines={'TIMES': 2}) is module
    parameters = Parameters(16, 32, 5, 0.5)
    module.launch('scale', grid=7, block=(32, 4), parameters=parameters)
    module.launch('scale', grid=(1, 2, 3), block=64, parameters=parameters, shared_bytes=48 * 1024)
    module.launch('scale', grid=0, block=64, parameters=parameters)
    context, function, values = FakeDriver.CONTEXT + 11, FakeDriver.FUNCTION, (16, 32, 5, 0.5)
    assert fake.calls == [
        ('load', context),
        ('function', context, FakeDriver.MODULE, b'scale'),
        ('launch', context, function, (7, 1, 1), (32, 4, 1), 0, 78, values),
        ('launch', context, function, (1, 2, 3), (64, 1, 1), 48 * 1024, 78, values),
    ]
    assert fake.stack == []


def test_every_device_has_its_own_module(source, fake):
    first, current = (load_device('scale', source, torch.device(name), defines={'TIMES': 2}) for name in ('cuda:0', 'cuda'))
    assert first is current
    assert load_device('scale', source, torch.device('cuda', 1), defines={'TIMES': 2}) is not first
    assert fake.calls == [('load', FakeDriver.CONTEXT + 10), ('load', FakeDriver.CONTEXT + 11)]


def test_more_shared_memory_than_usual_is_asked_for_once(source, fake):
    module = load_device('scale', source, torch.device('cuda', 0), defines={'TIMES': 2})
    for kib in (16, 64, 48, 64, 100, 64):
        module.launch('scale', grid=1, block=32, parameters=Parameters(), shared_bytes=kib * 1024)
    assert [call[-1] // 1024 for call in fake.calls if call[0] == 'shared'] == [64, 100]


def test_parameters_that_do_not_fit_are_refused(source, fake):
    class Longer(ctypes.Structure):
        _fields_ = [*Parameters._fields_, ('more', ctypes.c_int64)]

    module = load_device('scale', source, torch.device('cuda', 0), defines={'TIMES': 2})
    with pytest.raises(ValueError, match='Longer has 40 bytes, but the struct of kernel scale has 32'):
        module.launch('scale', grid=1, block=32, parameters=Longer())
    with pytest.raises(ValueError, match="has no kernel 'scales'; it has: "):
        module.launch('scales', grid=1, block=32, parameters=Parameters())


def test_what_the_driver_refuses_is_told_in_its_words(source, fake):
    module = load_device('scale', source, torch.device('cuda', 0), defines={'TIMES': 2})
    fake.failing['cuLaunchKernel'] = 1
    with pytest.raises(DriverError, match=r'grid \(1, 1, 1\), block \(2048, 1, 1\).*cuLaunchKernel returned CUDA_ERROR_INVALID_VALUE'):
        module.launch('scale', grid=1, block=2048, parameters=Parameters())
    fake.failing['cuLaunchKernel'] = 4242
    with pytest.raises(DriverError, match='error 4242'):
        module.launch('scale', grid=1, block=32, parameters=Parameters())
    assert fake.stack == [], 'the context is popped after an error, too'
    fake.failing = {'cuModuleLoadData': 209}
    with pytest.raises(KernelUnavailable, match='CUDA_ERROR_NO_BINARY_FOR_GPU.*newer NVIDIA driver'):
        load_device('scale', source, torch.device('cuda', 1), defines={'TIMES': 2})


def test_without_a_gpu_there_is_a_reason(source, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(KernelUnavailable, match='needs an NVIDIA GPU'):
        load_device('scale', source, torch.device('cuda', 0))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='there is no GPU')
def test_runs_on_a_gpu(source):
    x = torch.arange(1000, dtype=torch.float32, device='cuda')
    y = torch.zeros_like(x)
    module = load_device('scale', source, x.device, defines={'TIMES': 2})
    with torch.cuda.stream(torch.cuda.Stream()):
        module.launch('scale', grid=8, block=128, parameters=Parameters(x.data_ptr(), y.data_ptr(), 900, 0.5), shared_bytes=64 * 1024)
    torch.cuda.synchronize()
    assert torch.equal(y[:900], x[:900]) and y[900:].eq(0).all()
