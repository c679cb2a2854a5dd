"""Kernels built at first use: C++ by the machine's compiler, CUDA by NVRTC or nvcc, kept in one cache for all processes."""

from custom_ops.jit.device import DeviceModule, compile_cubin, load_device
from custom_ops.jit.host import load_host
from custom_ops.jit.unavailable import KernelUnavailable

__all__ = ['DeviceModule', 'KernelUnavailable', 'compile_cubin', 'load_device', 'load_host']
