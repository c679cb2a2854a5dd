// One text for vectors and warps. A kernel is written against `Lanes`: WIDTH lanes that compute the same thing on different data.
//
// On a processor the lanes are the elements of one vector register (4, 8 or 16 floats, as the compiler's target allows); on a GPU they are
// the 32 threads of a warp. `F` and `I` hold one float and one int32 per lane: vectors there, plain numbers here. What lanes exchange goes
// through scratch memory, with `sync` between writing and reading.
#pragma once

#include "portable.h"

#if !UNPOSED_GPU

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define LANE_WIDTH 16
#elif defined(__AVX__)
#define LANE_WIDTH 8
#else
#define LANE_WIDTH 4
#endif

struct Lanes {
    static constexpr int WIDTH = LANE_WIDTH;
    typedef float F __attribute__((vector_size(4 * LANE_WIDTH)));
    typedef int32_t I __attribute__((vector_size(4 * LANE_WIDTH)));
    typedef float UnalignedF __attribute__((vector_size(4 * LANE_WIDTH), aligned(4), may_alias));
    typedef int32_t UnalignedI __attribute__((vector_size(4 * LANE_WIDTH), aligned(4), may_alias));

    static INLINE F all(float x) { return x - F{}; }
    static INLINE I all(int32_t x) { return x - I{}; }
    static INLINE F load(const float* p) { return *(const UnalignedF*)p; }
    static INLINE I load(const int32_t* p) { return *(const UnalignedI*)p; }
    static INLINE void store(float* p, F x) { *(UnalignedF*)p = x; }
    static INLINE void store(int32_t* p, I x) { *(UnalignedI*)p = x; }
    static INLINE void store_first(float* p, F x, int count) {
        if (count >= WIDTH) {
            store(p, x);
        } else {
            for (int lane = 0; lane < count; lane++) {
                p[lane] = x[lane];
            }
        }
    }
    static INLINE I index() {
        I i;
        for (int lane = 0; lane < WIDTH; lane++) {
            i[lane] = lane;
        }
        return i;
    }

    // Mask: a comparison of two F or two I.
    static INLINE F select(I mask, F yes, F no) { return mask ? yes : no; }
    static INLINE I select(I mask, I yes, I no) { return mask ? yes : no; }
    // A NaN in the second argument comes through: max(limit, x) and min(limit, x) hide no broken number.
    static INLINE F max(F a, F b) {
#if defined(__AVX512F__)  // one instruction, where g++ makes two of a > b ? a : b, which it is
        return (F)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX__)
        return (F)_mm256_max_ps((__m256)a, (__m256)b);
#elif defined(__SSE2__)
        return (F)_mm_max_ps((__m128)a, (__m128)b);
#else
        return a > b ? a : b;
#endif
    }
    static INLINE F min(F a, F b) {
#if defined(__AVX512F__)
        return (F)_mm512_min_ps((__m512)a, (__m512)b);
#elif defined(__AVX__)
        return (F)_mm256_min_ps((__m256)a, (__m256)b);
#elif defined(__SSE2__)
        return (F)_mm_min_ps((__m128)a, (__m128)b);
#else
        return a < b ? a : b;
#endif
    }
    static INLINE I max(I a, I b) { return a > b ? a : b; }
    static INLINE I min(I a, I b) { return a < b ? a : b; }
    static INLINE F abs(F x) { return bits_as_float(float_as_bits(x) & 0x7fffffff); }
    static INLINE I truncate(F x) { return __builtin_convertvector(x, I); }
    static INLINE F to_float(I x) { return __builtin_convertvector(x, F); }
    static INLINE I float_as_bits(F x) { return (I)x; }
    static INLINE F bits_as_float(I x) { return (F)x; }

    static INLINE F gather(const float* p, I at) {
        F x;
        for (int lane = 0; lane < WIDTH; lane++) {
            x[lane] = p[at[lane]];
        }
        return x;
    }
    static INLINE I gather(const int32_t* p, I at) {
        I x;
        for (int lane = 0; lane < WIDTH; lane++) {
            x[lane] = p[at[lane]];
        }
        return x;
    }
    // p[begin], p[begin + 1], ...; what would lie before p[0] or behind p[last] is that one.
    static INLINE F clamped_load(const float* p, int begin, int last) {
        if (begin >= 0 && begin + WIDTH <= last + 1) {
            return load(p + begin);
        }
        I at = min(all(last), max(all(0), index() + begin));
#if !defined(__clang__)
        if (WIDTH <= last + 1) {  // whole vectors exist, and one of them holds all that is asked for
            int base = begin < 0 ? 0 : last + 1 - WIDTH;
            return __builtin_shuffle(load(p + base), at - base);
        }
#endif
        return gather(p, at);
    }
    template <class T, class Vector>
    static INLINE void scatter_first(T* p, I at, Vector x, int count) {
        for (int lane = 0; lane < (count < WIDTH ? count : WIDTH); lane++) {
            p[at[lane]] = x[lane];
        }
    }

    static INLINE float sum(F x) {
        float total = 0;
        for (int lane = 0; lane < WIDTH; lane++) {
            total += x[lane];
        }
        return total;
    }

    // y[i] = x[0] + ... + x[i]; a light ray is summed in double: its thin parts lie beside thick ones.
    static INLINE void running_sum(const float* x, float* y, int n) {
        double total = 0;
        for (int i = 0; i < n; i++) {
            total += x[i];
            y[i] = float(total);
        }
    }
    // y[i] = x[i] + ... + x[n - 1]
    static INLINE void running_sum_from_end(const float* x, float* y, int n) {
        double total = 0;
        for (int i = n - 1; i >= 0; i--) {
            total += x[i];
            y[i] = float(total);
        }
    }

    static INLINE void sync() {}
    static INLINE bool first() { return true; }
    static INLINE void add(float* p, float x) { *p += x; }  // to memory that this thread alone writes
};

#else

struct Lanes {
    static constexpr int WIDTH = 32;
    typedef float F;
    typedef int32_t I;

    static DEVICE_ONLY int lane() { return threadIdx.x & 31; }
    static DEVICE_ONLY F all(float x) { return x; }
    static DEVICE_ONLY I all(int32_t x) { return x; }
    static DEVICE_ONLY F load(const float* p) { return p[lane()]; }
    static DEVICE_ONLY I load(const int32_t* p) { return p[lane()]; }
    static DEVICE_ONLY void store(float* p, F x) { p[lane()] = x; }
    static DEVICE_ONLY void store(int32_t* p, I x) { p[lane()] = x; }
    static DEVICE_ONLY void store_first(float* p, F x, int count) {
        if (lane() < count) {
            p[lane()] = x;
        }
    }
    static DEVICE_ONLY I index() { return lane(); }

    static DEVICE_ONLY F select(bool mask, F yes, F no) { return mask ? yes : no; }
    static DEVICE_ONLY I select(bool mask, I yes, I no) { return mask ? yes : no; }
    static DEVICE_ONLY F max(F a, F b) { return a > b ? a : b; }
    static DEVICE_ONLY F min(F a, F b) { return a < b ? a : b; }
    static DEVICE_ONLY I max(I a, I b) { return a > b ? a : b; }
    static DEVICE_ONLY I min(I a, I b) { return a < b ? a : b; }
    static DEVICE_ONLY F abs(F x) { return fabsf(x); }
    static DEVICE_ONLY I truncate(F x) { return (int32_t)x; }
    static DEVICE_ONLY F to_float(I x) { return (float)x; }
    static DEVICE_ONLY I float_as_bits(F x) { return __float_as_int(x); }
    static DEVICE_ONLY F bits_as_float(I x) { return __int_as_float(x); }

    static DEVICE_ONLY F gather(const float* p, I at) { return p[at]; }
    static DEVICE_ONLY I gather(const int32_t* p, I at) { return p[at]; }
    static DEVICE_ONLY F clamped_load(const float* p, int begin, int last) { return p[min(last, max(0, begin + lane()))]; }
    template <class T>
    static DEVICE_ONLY void scatter_first(T* p, I at, T x, int count) {
        if (lane() < count) {
#if defined(UNPOSED_EMULATED_GPU)
            if (at < 0) {
                emulator::fail("a scatter to a place before the array");  // as memory that was never written reads there
            }
#endif
            p[at] = x;
        }
    }

    static DEVICE_ONLY float sum(F x) {
        UNROLL for (int step = 16; step; step >>= 1) {
            x += __shfl_xor_sync(0xffffffffu, x, step);
        }
        return x;
    }

    // Every lane sums a run of its own, a shuffle scan joins the runs: short sums of short sums, so float suffices.
    static DEVICE_ONLY void running_sum(const float* x, float* y, int n) {
        int each = (n + 31) / 32, begin = lane() * each;
        float own = 0;
        for (int k = 0; k < each; k++) {
            own += begin + k < n ? x[begin + k] : 0.0f;
        }
        float up_to = own;
        UNROLL for (int step = 1; step < 32; step <<= 1) {
            float below = __shfl_up_sync(0xffffffffu, up_to, step);
            up_to += lane() >= step ? below : 0.0f;
        }
        float total = up_to - own;
        for (int k = 0; k < each && begin + k < n; k++) {
            total += x[begin + k];
            y[begin + k] = total;
        }
        sync();
    }
    static DEVICE_ONLY void running_sum_from_end(const float* x, float* y, int n) {
        int each = (n + 31) / 32, begin = lane() * each;
        float own = 0;
        for (int k = 0; k < each; k++) {
            own += begin + k < n ? x[begin + k] : 0.0f;
        }
        float from = own;
        UNROLL for (int step = 1; step < 32; step <<= 1) {
            float above = __shfl_down_sync(0xffffffffu, from, step);
            from += lane() + step < 32 ? above : 0.0f;
        }
        float total = from - own;
        for (int k = each - 1; k >= 0; k--) {
            if (begin + k < n) {
                total += x[begin + k];
                y[begin + k] = total;
            }
        }
        sync();
    }

    static DEVICE_ONLY void sync() { __syncwarp(); }
    static DEVICE_ONLY bool first() { return lane() == 0; }
    static DEVICE_ONLY void add(float* p, float x) { atomicAdd(p, x); }
};

#endif
