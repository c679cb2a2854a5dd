// A kernel that evaluates the tensor-core decoder alone: each warp takes groups of 32 samples, 16 at a time, and sums their colours.
#pragma once

#include "../../../custom_ops/triplane/tensor_cores.h"

struct Task {
    const BFloat16* image;
    const uint32_t* weights;
    const float* tap_weights;    // [groups, 4 planes, 32]
    const int32_t* tap_offsets;  // the same
    const float* shares;         // [groups, 32]
    float* raw;                  // [groups, 32]
    float* colours;              // [groups, 32, features]
    float* sums;                 // [groups, features]
    int32_t planes, groups;
};

template <int CHANNELS, int HIDDEN, int FEATURES>
__global__ void __launch_bounds__(128) decode_groups(const __grid_constant__ Task task) {
    using Decoder = triplane::TensorCoreDecoder<CHANNELS, HIDDEN, FEATURES>;
    DYNAMIC_SHARED(uint4, memory);
    constexpr int WORDS = sizeof(typename Decoder::Weights) / sizeof(uint4);
    for (int i = threadIdx.x; i < WORDS; i += blockDim.x) {
        memory[i] = ((const uint4*)task.weights)[i];
    }
    __syncthreads();
    const auto& weights = *(const typename Decoder::Weights*)memory;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, taps = 4 * task.planes;
    float* raw = (float*)(memory + WORDS) + warp * (1 + 2 * taps) * 32;
    float* tap_weights = raw + 32;
    int32_t* tap_offsets = (int32_t*)(tap_weights + taps * 32);
    for (int group = blockIdx.x * (blockDim.x / 32) + warp; group < task.groups; group += gridDim.x * (blockDim.x / 32)) {
        for (int tap = 0; tap < taps; tap++) {
            tap_weights[tap * 32 + lane] = task.tap_weights[(group * taps + tap) * 32 + lane];
            tap_offsets[tap * 32 + lane] = task.tap_offsets[(group * taps + tap) * 32 + lane];
        }
        __syncwarp();
        typename Decoder::FeatureSums sums = {};
        UNROLL for (int first = 0; first < 32; first += Decoder::SAMPLES) {
            typename Decoder::Colours colours =
                Decoder::evaluate(weights, task.image, task.planes, tap_weights, tap_offsets, first, raw + first);
            Decoder::add(sums, colours, task.shares + group * 32 + first);
            for (int feature = lane % 4 * 2; feature < FEATURES; feature += 8) {
                for (int i = 0; i < 2; i++) {
                    float* to = task.colours + (group * 32 + first + lane / 4 + 8 * i) * FEATURES + feature;
                    uint32_t pair = colours.pair[feature / 8][i];
                    to[0] = triplane::low_half(pair);
                    if (feature + 1 < FEATURES) {
                        to[1] = triplane::high_half(pair);
                    }
                }
            }
        }
        Decoder::store(sums, task.sums + group * FEATURES);
        __syncwarp();
        task.raw[group * 32 + lane] = raw[lane];
        __syncwarp();
    }
}
