// The triplane decoder on tensor cores: features -> hidden units (softplus) -> raw density and colours, for 16 samples of a warp at a time.
//
// Nothing but weights and taps is read from shared memory, because every step leaves its results in the registers where the next one wants
// them. Of lane 4 g + t (g < 8, t < 4), an m16n8k16 product takes two rows, g and g + 8, and of each group of 16 inputs four: 2t, 2t + 1,
// 2t + 8 and 2t + 9. Which channels these are is free as long as the weights agree. So a lane gathers neighbouring channels of its two
// samples, in loads of 16 bytes, and tensor_cores.py permutes the weights. The sums of the first product lie exactly as the second takes
// its inputs.
//
// Precision: the planes, both weight matrices, features, hidden units and colours are bfloat16. Sums, biases and the whole way from hidden
// units to density are float.
//
// Limits: one hidden layer; channels and hidden units are multiples of 16; texels begin at multiples of 16 bytes; compute capability 8.0 or
// later.
#pragma once

#include "number_formats.h"

namespace triplane {

#if defined(UNPOSED_EMULATED_GPU)

DEVICE_ONLY float exp2_approximately(float x) { return exp2f(x); }
DEVICE_ONLY float log2_approximately(float x) { return log2f(x); }
DEVICE_ONLY float tanh_approximately(float x) { return tanhf(x); }

DEVICE_ONLY uint32_t bfloat16_pair(float low, float high) {
    return bfloat16_bits(low) | uint32_t(bfloat16_bits(high)) << 16;
}

#else

DEVICE_ONLY float exp2_approximately(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

DEVICE_ONLY float log2_approximately(float x) {
    float y;
    asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

DEVICE_ONLY float tanh_approximately(float x) {
    float y;
    asm("tanh.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

DEVICE_ONLY uint32_t bfloat16_pair(float low, float high) {
    uint32_t pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

// d += a b; see the header for who holds what. PTX: mma.m16n8k16.
DEVICE_ONLY void mma_m16n8k16_bfloat16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

#endif

DEVICE_ONLY float low_half(uint32_t pair) {
    return float_of(pair << 16);
}

DEVICE_ONLY float high_half(uint32_t pair) {
    return float_of(pair & 0xffff0000u);
}

DEVICE_ONLY void add_pair(float* sums, uint32_t pair, float weight) {
    sums[0] += low_half(pair) * weight;
    sums[1] += high_half(pair) * weight;
}

template <int CHANNEL_COUNT, int UNIT_COUNT, int FEATURE_COUNT>
struct TensorCoreDecoder {
    static_assert(CHANNEL_COUNT % 16 == 0 && UNIT_COUNT % 16 == 0, "tensor cores take 16 inputs at a time");

    static constexpr int SAMPLES = 16;  // of one evaluation
    static constexpr int STEPS = CHANNEL_COUNT / 16, BLOCKS = UNIT_COUNT / 16;
    static constexpr int TILES = (FEATURE_COUNT + 7) / 8, TILE_PAIRS = (FEATURE_COUNT + 15) / 16;  // of 8 features: columns of a product

    // What pack_decoder of tensor_cores.py returns. Every lane reads its part of two products at once.
    struct alignas(16) Weights {
        uint4 hidden[BLOCKS][STEPS][32];
        uint4 features[BLOCKS][TILE_PAIRS][32];
        float hidden_bias[UNIT_COUNT], density[UNIT_COUNT], features_bias[16 * TILE_PAIRS], density_bias, unused[3];
    };

    // Colours of 16 samples: pair[tile][i] holds features 8 tile + 2 t (low half) and + 1 of sample g + 8 i.
    struct Colours {
        uint32_t pair[TILES][2];
    };

    // Sums over samples; sum[tile][i] belongs to feature 8 tile + 2 t + i. Lanes of the same t hold parts of it.
    struct FeatureSums {
        float sum[TILES][2];
    };

    // Samples first .. first + 15 of a group of 32 whose taps, [4 planes][32], lie in tap_offsets (elements, from `image`) and tap_weights.
    // Every offset must be that of a texel, also where the weight is 0 (find_taps marks planes that are missed with MISSED instead).
    // Writes their raw densities into raw[0 .. 15]; the caller has the warp wait before it reads them.
    static DEVICE_ONLY Colours evaluate(const Weights& weights, const BFloat16* image, int planes, const float* tap_weights,
                                        const int32_t* tap_offsets, int first, float* raw) {
        int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
        uint32_t features[STEPS][4];
        gather(image, planes, tap_weights + first + g, tap_offsets + first + g, features);

        float densities[2] = {}, sums[2 * TILE_PAIRS][4];
        UNROLL for (int tile = 0; tile < TILES; tile++) {
            float2 bias = *(const float2*)(weights.features_bias + 8 * tile + 2 * t);
            set(sums[tile], bias.x, bias.y, bias.x, bias.y);
        }
        // Sixteen hidden units at a time: their sums become inputs at once, and the registers are free for the next.
        UNROLL for (int block = 0; block < BLOCKS; block++) {
            uint32_t hidden[4];
            hidden_units(weights, block, t, features, hidden, densities);
            UNROLL for (int pair = 0; pair < TILE_PAIRS; pair++) {
                uint4 b = weights.features[block][pair][threadIdx.x % 32];
                mma_m16n8k16_bfloat16(sums[2 * pair], hidden, {b.x, b.y});
                if (2 * pair + 1 < TILES) {
                    mma_m16n8k16_bfloat16(sums[2 * pair + 1], hidden, {b.z, b.w});
                }
            }
        }
        UNROLL for (int row = 0; row < 2; row++) {
            densities[row] += __shfl_xor_sync(0xffffffffu, densities[row], 1);
            densities[row] += __shfl_xor_sync(0xffffffffu, densities[row], 2);
            if (t == 0) {
                raw[g + 8 * row] = densities[row] + weights.density_bias;
            }
        }
        Colours colours;
        UNROLL for (int tile = 0; tile < TILES; tile++) {
            UNROLL for (int row = 0; row < 2; row++) {
                colours.pair[tile][row] = bfloat16_pair(colour(sums[tile][2 * row]), colour(sums[tile][2 * row + 1]));
            }
        }
        return colours;
    }

    // sums += share[s] * colour of s, over the 16 samples.
    static DEVICE_ONLY void add(FeatureSums& sums, const Colours& colours, const float* share) {
        int g = threadIdx.x % 32 / 4;
        UNROLL for (int row = 0; row < 2; row++) {
            float weight = share[g + 8 * row];
            UNROLL for (int tile = 0; tile < TILES; tile++) {
                add_pair(sums.sum[tile], colours.pair[tile][row], weight);
            }
        }
    }

    // Joins the parts that the lanes hold and writes the sums, one per feature.
    static DEVICE_ONLY void store(FeatureSums sums, float* features) {
        int lane = threadIdx.x % 32;
        UNROLL for (int tile = 0; tile < TILES; tile++) {
            UNROLL for (int i = 0; i < 2; i++) {
                float sum = sums.sum[tile][i];
                UNROLL for (int step = 4; step < 32; step *= 2) {
                    sum += __shfl_xor_sync(0xffffffffu, sum, step);
                }
                int feature = 8 * tile + 2 * lane + i;
                if (lane < 4 && feature < FEATURE_COUNT) {
                    features[feature] = sum;
                }
            }
        }
    }

private:
    static DEVICE_ONLY void set(float (&d)[4], float x0, float x1, float x2, float x3) {
        d[0] = x0;
        d[1] = x1;
        d[2] = x2;
        d[3] = x3;
    }

    // Bilinear features of samples g and g + 8, as inputs of the first product. Channels go to lanes by eights, the last 16 of an odd
    // number of sixteens by fours.
    static DEVICE_ONLY void gather(const BFloat16* image, int planes, const float* tap_weights, const int32_t* tap_offsets,
                                   uint32_t (&features)[STEPS][4]) {
        int t = threadIdx.x % 4;
        float sums[2][CHANNEL_COUNT / 4] = {};
        for (int plane = 0; plane < planes; plane++) {
            UNROLL for (int corner = 0; corner < 4; corner++) {
                UNROLL for (int row = 0; row < 2; row++) {
                    int at = 32 * (4 * plane + corner) + 8 * row;
                    float weight = tap_weights[at];
                    const BFloat16* texel = image + tap_offsets[at];
                    UNROLL for (int i = 0; i < CHANNEL_COUNT / 32; i++) {
                        uint4 eight = __ldg((const uint4*)(texel + 32 * i + 8 * t));
                        add_pair(sums[row] + 8 * i, eight.x, weight);
                        add_pair(sums[row] + 8 * i + 2, eight.y, weight);
                        add_pair(sums[row] + 8 * i + 4, eight.z, weight);
                        add_pair(sums[row] + 8 * i + 6, eight.w, weight);
                    }
                    if (CHANNEL_COUNT % 32) {
                        uint2 four = __ldg((const uint2*)(texel + CHANNEL_COUNT - 16 + 4 * t));
                        add_pair(sums[row] + CHANNEL_COUNT / 4 - 4, four.x, weight);
                        add_pair(sums[row] + CHANNEL_COUNT / 4 - 2, four.y, weight);
                    }
                }
            }
        }
        UNROLL for (int step = 0; step < STEPS; step++) {
            UNROLL for (int i = 0; i < 4; i++) {
                const float* two = sums[i % 2] + 4 * step + i / 2 * 2;
                features[step][i] = bfloat16_pair(two[0], two[1]);
            }
        }
    }

    // Units 16 block ... 16 block + 15 of both samples, as inputs of the second product, and what this lane's units add to the densities.
    static DEVICE_ONLY void hidden_units(const Weights& weights, int block, int t, const uint32_t (&features)[STEPS][4],
                                         uint32_t (&hidden)[4], float (&densities)[2]) {
        float sums[2][4];
        UNROLL for (int tile = 0; tile < 2; tile++) {
            float2 bias = *(const float2*)(weights.hidden_bias + 16 * block + 8 * tile + 2 * t);
            set(sums[tile], bias.x, bias.y, bias.x, bias.y);
        }
        UNROLL for (int step = 0; step < STEPS; step++) {
            uint4 b = weights.hidden[block][step][threadIdx.x % 32];
            mma_m16n8k16_bfloat16(sums[0], features[step], {b.x, b.y});
            mma_m16n8k16_bfloat16(sums[1], features[step], {b.z, b.w});
        }
        UNROLL for (int tile = 0; tile < 2; tile++) {
            float2 weight = *(const float2*)(weights.density + 16 * block + 8 * tile + 2 * t);
            UNROLL for (int row = 0; row < 2; row++) {
                float first = softplus(sums[tile][2 * row]), second = softplus(sums[tile][2 * row + 1]);
                densities[row] += first * weight.x + second * weight.y;
                hidden[2 * tile + row] = bfloat16_pair(first, second);
            }
        }
    }

    static DEVICE_ONLY float softplus(float x) {
        return fmaxf(x, 0.0f) + 0.693147181f * log2_approximately(1.0f + exp2_approximately(-1.44269504f * fabsf(x)));
    }

    // 1.002 sigmoid(x) - 0.001, which reaches 0 and 1.
    static DEVICE_ONLY float colour(float x) {
        return 0.501f * tanh_approximately(0.5f * x) + 0.5f;
    }
};

}  // namespace triplane
