// The tensor-core decoder on the emulated GPU, for the sizes that test_tensor_cores.py asks for.
#include "gpu_emulator.h"
#include "tensor_core_kernel.h"

namespace {

template <int CHANNELS, int HIDDEN, int FEATURES>
bool decode_if(const Task& task, int channels, int hidden, int features) {
    if (channels != CHANNELS || hidden != HIDDEN || features != FEATURES) {
        return false;
    }
    constexpr int WARPS = 2;
    size_t bytes = sizeof(typename triplane::TensorCoreDecoder<CHANNELS, HIDDEN, FEATURES>::Weights);
    bytes += WARPS * (1 + 2 * 4 * task.planes) * 32 * sizeof(float);
    emulator::launch(decode_groups<CHANNELS, HIDDEN, FEATURES>, 2, WARPS * 32, bytes, task);
    return true;
}

}  // namespace

extern "C" bool decode(const Task* task, int channels, int hidden, int features) {
    return decode_if<32, 64, 32>(*task, channels, hidden, features) || decode_if<16, 16, 3>(*task, channels, hidden, features) ||
           decode_if<48, 32, 20>(*task, channels, hidden, features) || decode_if<64, 128, 8>(*task, channels, hidden, features);
}
