// Blocks of numbers turned from a sample per row to a channel per row and back, for processors.
#pragma once

#include "number_formats.h"

#if !UNPOSED_GPU

namespace triplane {

// Eight floats at a time, whatever the width of the lanes.
typedef float Eight __attribute__((vector_size(32)));
typedef float UnalignedEight __attribute__((vector_size(32), aligned(4), may_alias));

INLINE Eight load_eight(const float* p) {
    return *(const UnalignedEight*)p;
}

INLINE Eight load_eight(const BFloat16* p) {
    typedef uint16_t Halves __attribute__((vector_size(16), aligned(2), may_alias));
    typedef uint32_t Words __attribute__((vector_size(32)));
    return (Eight)(__builtin_convertvector(*(const Halves*)p, Words) << 16);
}

INLINE void store_eight(float* p, Eight x) {
    *(UnalignedEight*)p = x;
}

#if defined(__clang__)
#define SHUFFLE_EIGHT(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE_EIGHT(a, b, ...) __builtin_shuffle(a, b, (EightPlaces){__VA_ARGS__})  // g++ knows the other one from version 12 on
#endif

// Eight rows of eight become eight columns.
INLINE void transpose_eight(Eight (&x)[8]) {
    typedef int32_t EightPlaces __attribute__((vector_size(32)));
    Eight pairs[8], quads[8];
    UNROLL for (int i = 0; i < 4; i++) {
        pairs[2 * i] = SHUFFLE_EIGHT(x[2 * i], x[2 * i + 1], 0, 8, 2, 10, 4, 12, 6, 14);
        pairs[2 * i + 1] = SHUFFLE_EIGHT(x[2 * i], x[2 * i + 1], 1, 9, 3, 11, 5, 13, 7, 15);
    }
    UNROLL for (int i = 0; i < 4; i++) {
        int a = i / 2 * 4 + i % 2;
        quads[a] = SHUFFLE_EIGHT(pairs[a], pairs[a + 2], 0, 1, 8, 9, 4, 5, 12, 13);
        quads[a + 2] = SHUFFLE_EIGHT(pairs[a], pairs[a + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    }
    UNROLL for (int i = 0; i < 4; i++) {
        x[i] = SHUFFLE_EIGHT(quads[i], quads[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        x[i + 4] = SHUFFLE_EIGHT(quads[i], quads[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
}

#undef SHUFFLE_EIGHT

// from[i][k] -> to[k][i]: a sample per row and a channel per column, or the other way round.
INLINE void transpose_block(const float* from, int from_pitch, float* to, int to_pitch, int rows, int columns) {
    int i = 0;
    for (; i + 8 <= rows; i += 8) {
        int k = 0;
        for (; k + 8 <= columns; k += 8) {
            Eight block[8];
            UNROLL for (int j = 0; j < 8; j++) {
                block[j] = load_eight(from + (i + j) * from_pitch + k);
            }
            transpose_eight(block);
            UNROLL for (int j = 0; j < 8; j++) {
                store_eight(to + (k + j) * to_pitch + i, block[j]);
            }
        }
        for (; k < columns; k++) {
            for (int j = i; j < i + 8; j++) {
                to[k * to_pitch + j] = from[j * from_pitch + k];
            }
        }
    }
    for (; i < rows; i++) {
        for (int k = 0; k < columns; k++) {
            to[k * to_pitch + i] = from[i * from_pitch + k];
        }
    }
}

}  // namespace triplane

#endif
