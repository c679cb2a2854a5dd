// The kernels of a GPU for one number format and pack size, which arrive as macros: FORMAT, WIDTH.
#include "synthesis_epilogue.h"

// The scales, the noise and v of a pack.
struct Terms {
    float scale[WIDTH], noise[WIDTH], v[WIDTH];
};

DEVICE_ONLY Terms terms_of(const SynthesisEpilogueParameters& p, int32_t sample, int32_t row, int32_t column, const float (&x)[WIDTH]) {
    Terms t;
    float bias[WIDTH];
    bool last = p.shape.last;
    load_along(p.scale + int64_t(sample) * channel_count(p.shape), last, row, column, t.scale);
    load_along(p.bias, last, row, column, bias);
    int64_t pixels = last ? p.shape.rows : p.shape.columns;
    load_along(p.noise == nullptr ? nullptr : p.noise + (p.noise_per_sample ? sample * pixels : 0), !last, row, column, t.noise);
    float strength = p.noise == nullptr ? 0.0f : __ldg(p.strength);
    UNROLL for (int i = 0; i < WIDTH; i++) {
        t.v[i] = x[i] * t.scale[i] + (bias[i] + t.noise[i] * strength);
    }
    return t;
}

extern "C" __global__ void __launch_bounds__(THREADS) synthesis_epilogue_forward(const __grid_constant__ SynthesisEpilogueParameters p) {
    for_each_pack<WIDTH>(p.shape, [&](int32_t sample, int32_t row, int32_t column, int64_t at) {
        float x[WIDTH];
        load_pack<FORMAT>(p.x, at, x);
        Terms t = terms_of(p, sample, row, column, x);
        UNROLL for (int i = 0; i < WIDTH; i++) {
            x[i] = epilogue(t.v[i], p.slope, p.gain, p.clamp);
        }
        store_pack<FORMAT>(p.y, at, x);
    });
}

extern "C" __global__ void __launch_bounds__(THREADS) synthesis_epilogue_backward(const __grid_constant__ SynthesisEpilogueParameters p) {
    const auto add = [&](int32_t sample, int32_t row, int32_t column, int64_t at, float (&sums)[SUMS][WIDTH]) {
        float x[WIDTH], grad[WIDTH];
        load_pack<FORMAT>(p.x, at, x);
        load_pack<FORMAT>(p.grad, at, grad);
        Terms t = terms_of(p, sample, row, column, x);
        UNROLL for (int i = 0; i < WIDTH; i++) {
            float g = grad[i] * epilogue_derivative(t.v[i], p.slope, p.gain, p.clamp);
            sums[OF_SCALE][i] += g * x[i];
            sums[OF_BIAS][i] += g;
            sums[OF_STRENGTH][i] += g * t.noise[i];
            grad[i] = g * t.scale[i];
        }
        store_pack<FORMAT>(p.y, at, grad);
    };
    sum_over_channels<WIDTH, SUMS>(p.shape, p.sums, add);
}
