// The kernel of emulator/tensor_core_kernel.h for real GPUs, at sizes that test_tensor_cores.py decodes: compiled, so that the assembly that
// the emulator replaces is known to be assembly.
#include "emulator/tensor_core_kernel.h"

template __global__ void decode_groups<32, 64, 32>(const __grid_constant__ Task task);
template __global__ void decode_groups<48, 32, 20>(const __grid_constant__ Task task);
