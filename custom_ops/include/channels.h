// Tensors with one channel axis as kernels walk through them: [samples, rows, columns] in memory, where either the rows or the columns are
// the channels. Channels-first images are [N, C, H W]; channels-last ones are [1, N H W, C], or [N, H W, C] where samples count.
#pragma once

#include "number_formats.h"

struct Channels {
    int32_t samples, rows, columns;
    int32_t last;  // whether the columns are the channels
};

INLINE int32_t channel_count(const Channels& c) {
    return c.last ? c.columns : c.rows;
}

#if UNPOSED_GPU

// A block is threads of x (columns, VECTOR of them each) by y (rows); the grid has blocks of rows in x, of columns in y, samples in z.
// So neighbours in a warp touch neighbours in memory, and a thread meets no division.
constexpr int THREADS = 256;

template <class Number, int VECTOR>
struct alignas(sizeof(Number) * VECTOR) Pack {
    Number numbers[VECTOR];
};

template <class Number, int VECTOR>
DEVICE_ONLY void load_pack(const void* p, int64_t at, float (&x)[VECTOR]) {
    Pack<Number, VECTOR> pack = *reinterpret_cast<const Pack<Number, VECTOR>*>(static_cast<const Number*>(p) + at);
    UNROLL for (int i = 0; i < VECTOR; i++) {
        x[i] = load(&pack.numbers[i]);
    }
}

template <class Number, int VECTOR>
DEVICE_ONLY void store_pack(void* p, int64_t at, const float (&x)[VECTOR]) {
    Pack<Number, VECTOR> pack;
    UNROLL for (int i = 0; i < VECTOR; i++) {
        store(&pack.numbers[i], x[i]);
    }
    *reinterpret_cast<Pack<Number, VECTOR>*>(static_cast<Number*>(p) + at) = pack;
}

// Numbers that no kernel writes: loads of them may move out of loops. p is aligned to as many as are loaded, at most four.
template <int VECTOR>
DEVICE_ONLY void load_constants(const float* p, float (&x)[VECTOR]) {
    if constexpr (VECTOR % 4 == 0) {
        UNROLL for (int i = 0; i < VECTOR; i += 4) {
            float4 four = __ldg(reinterpret_cast<const float4*>(p + i));
            x[i] = four.x, x[i + 1] = four.y, x[i + 2] = four.z, x[i + 3] = four.w;
        }
    } else {
        UNROLL for (int i = 0; i < VECTOR; i++) {
            x[i] = __ldg(p + i);
        }
    }
}

// One number for each of VECTOR neighbours: p has one per row or one per column. All zero if p is null.
template <int VECTOR>
DEVICE_ONLY void load_along(const float* p, bool columns, int32_t row, int32_t column, float (&x)[VECTOR]) {
    if (p != nullptr && columns) {
        load_constants(p + column, x);
    } else {
        float same = p == nullptr ? 0.0f : __ldg(p + row);
        UNROLL for (int i = 0; i < VECTOR; i++) {
            x[i] = same;
        }
    }
}

// body(sample, row, column, place in memory) for every VECTOR elements that are this thread's.
template <int VECTOR, class Body>
DEVICE_ONLY void for_each_pack(const Channels& c, const Body& body) {
    for (int32_t sample = blockIdx.z; sample < c.samples; sample += gridDim.z) {
        for (int32_t row = blockIdx.x * blockDim.y + threadIdx.y; row < c.rows; row += gridDim.x * blockDim.y) {
            int64_t start = (int64_t(sample) * c.rows + row) * c.columns;
            for (int32_t column = (blockIdx.y * blockDim.x + threadIdx.x) * VECTOR; column < c.columns;
                 column += gridDim.y * blockDim.x * VECTOR) {
                body(sample, row, column, start + column);
            }
        }
    }
}

// body(sample, row, column, place in memory, terms) likewise, and what it adds to terms[COUNT][VECTOR] is summed per channel into sums
// [samples, parts, COUNT, channels], unless that is null; parts are the blocks of a sample that share a channel. No atomics: the same
// input gives the same bits.
//
// Columns as channels: a thread keeps its columns, so the launch must have a thread for each. Rows as channels: likewise for its row.
template <int VECTOR, int COUNT, class Body>
DEVICE_ONLY void sum_over_channels(const Channels& c, float* sums, const Body& body) {
    __shared__ float shared[THREADS * VECTOR];
    int32_t thread = threadIdx.y * blockDim.x + threadIdx.x;
    int32_t row = blockIdx.x * blockDim.y + threadIdx.y;
    int32_t column = (blockIdx.y * blockDim.x + threadIdx.x) * VECTOR;
    int32_t part = c.last ? blockIdx.x : blockIdx.y, parts = c.last ? gridDim.x : gridDim.y;
    for (int32_t sample = blockIdx.z; sample < c.samples; sample += gridDim.z) {
        float terms[COUNT][VECTOR] = {};
        for (int32_t r = row; r < c.rows; r += gridDim.x * blockDim.y) {
            int64_t start = (int64_t(sample) * c.rows + r) * c.columns;
            for (int32_t i = column; i < c.columns; i += gridDim.y * blockDim.x * VECTOR) {
                body(sample, r, i, start + i, terms);
            }
        }
        if (sums == nullptr) {
            continue;
        }
        UNROLL for (int k = 0; k < COUNT; k++) {
            float* to = sums + ((int64_t(sample) * parts + part) * COUNT + k) * channel_count(c);
            if (c.last) {
                UNROLL for (int i = 0; i < VECTOR; i++) {
                    shared[i * THREADS + thread] = terms[k][i];
                }
            } else {
                UNROLL for (int i = 1; i < VECTOR; i++) {
                    terms[k][0] += terms[k][i];
                }
                shared[thread] = terms[k][0];
            }
            // Pairwise, down the columns of the block or along its rows: both are powers of two.
            int32_t place = c.last ? threadIdx.y : threadIdx.x, step = c.last ? blockDim.x : 1;
            for (int32_t half = (c.last ? blockDim.y : blockDim.x) / 2; half > 0; half /= 2) {
                __syncthreads();
                if (place < half) {
                    UNROLL for (int i = 0; i < VECTOR; i++) {
                        if (i == 0 || c.last) {
                            shared[i * THREADS + thread] += shared[i * THREADS + thread + half * step];
                        }
                    }
                }
            }
            if (place == 0) {
                UNROLL for (int i = 0; i < VECTOR; i++) {
                    if (c.last ? column + i < c.columns : i == 0 && row < c.rows) {
                        to[c.last ? column + i : row] = shared[i * THREADS + thread];
                    }
                }
            }
            __syncthreads();  // before the next sums overwrite these
        }
    }
}

#endif
