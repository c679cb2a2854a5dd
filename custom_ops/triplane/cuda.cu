// The triplane kernels on a GPU: a warp per ray, its scratch in shared memory, as many warps as the packets of the call.
//
// TEXEL (float or BFloat16) is what planes hold. With FEATURES defined, `render` decodes on tensor cores (CHANNELS, HIDDEN, FEATURES and the
// tiles of 16 samples of both passes are then constants, which unrolls everything); its backward pass is the one without them.
#include "render.h"

#ifdef FEATURES
#include "render_tensor_cores.h"
#endif

using namespace triplane;

extern "C" {

#ifdef FEATURES

__global__ void __launch_bounds__(32) render(const __grid_constant__ Call call) {
    DYNAMIC_SHARED(uint4, memory);
    using Renderer = TensorCoreRenderer<CHANNELS, HIDDEN, FEATURES, COARSE_TILES, FINE_TILES>;
    Renderer renderer(call, memory);
    for (int64_t i = blockIdx.x; i < call.images * packets_per_image(call, renderer.scratch); i += gridDim.x) {
        renderer.render_ray(call, packet_number(call, renderer.scratch, i));
    }
}

#else

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
        render_packet_backward<TEXEL>(call, packet_number(call, scratch, i), scratch, call.grad_planes, call.grad_decoder);
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
        query_packet_backward<TEXEL>(call, packet_number(call, scratch, i), scratch, call.grad_planes, call.grad_decoder);
    }
}

#endif

}
