// The triplane kernels on a GPU: a warp for each packet of rays, its scratch in shared memory. TEXEL (float or BFloat16) is what planes hold.
#include "render.h"

using namespace triplane;

// Of the decoder's gradient: blocks that all added to one would wait for each other, and lose digits in a sum over all samples.
INLINE float* own_row(const Call& call) {
    return call.grad_decoder + int64_t(blockIdx.x % call.grad_decoder_rows) * Scratch::decoder_size(call);
}

extern "C" {

__global__ void __launch_bounds__(32) render(const __grid_constant__ Call call) {
    DYNAMIC_SHARED(float, memory);
    Scratch scratch(call, memory, false);
    for (int64_t i = blockIdx.x; i < call.images * packets_per_image(call, scratch); i += gridDim.x) {
        render_packet<TEXEL>(call, packet_number(call, scratch, i), scratch);
    }
}

__global__ void __launch_bounds__(32) render_backward(const __grid_constant__ Call call) {
    DYNAMIC_SHARED(float, memory);
    Scratch scratch(call, memory, true);
    for (int64_t i = blockIdx.x; i < call.images * packets_per_image(call, scratch); i += gridDim.x) {
        render_packet_backward<TEXEL>(call, packet_number(call, scratch, i), scratch, call.grad_planes, own_row(call));
    }
}

__global__ void __launch_bounds__(32) query(const __grid_constant__ Call call) {
    DYNAMIC_SHARED(float, memory);
    Scratch scratch(call, memory, false);
    for (int64_t i = blockIdx.x; i < call.images * packets_per_image(call, scratch); i += gridDim.x) {
        query_packet<TEXEL>(call, packet_number(call, scratch, i), scratch);
    }
}

__global__ void __launch_bounds__(32) query_backward(const __grid_constant__ Call call) {
    DYNAMIC_SHARED(float, memory);
    Scratch scratch(call, memory, true);
    for (int64_t i = blockIdx.x; i < call.images * packets_per_image(call, scratch); i += gridDim.x) {
        query_packet_backward<TEXEL>(call, packet_number(call, scratch, i), scratch, call.grad_planes, own_row(call));
    }
}

}
