// The triplane kernels of cuda.cu on the emulated GPU, behind the names of the processor's library.
#include "gpu_emulator.h"

#define TEXEL float
#include "../../../custom_ops/triplane/cuda.cu"

namespace {

constexpr unsigned BLOCKS = 3;  // fewer than there are packets: blocks take several in turn

size_t scratch_bytes(const Call* call, bool backward) {
    return Scratch(*call, nullptr, backward).floats * sizeof(float);
}

}  // namespace

extern "C" {

void triplane_render(const Call* call, int) {
    emulator::launch(render, BLOCKS, 32, scratch_bytes(call, false), *call);
}

void triplane_render_backward(const Call* call, int) {
    emulator::launch(render_backward, BLOCKS, 32, scratch_bytes(call, true), *call);
}

void triplane_query(const Call* call, int) {
    emulator::launch(query, BLOCKS, 32, scratch_bytes(call, false), *call);
}

void triplane_query_backward(const Call* call, int) {
    emulator::launch(query_backward, BLOCKS, 32, scratch_bytes(call, true), *call);
}

int triplane_scratch_bytes(const Call* call, int backward) {
    return int(scratch_bytes(call, backward));
}

}
