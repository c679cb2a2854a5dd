// CUDA's words for g++, which then runs the very device code of a kernel on the threads of thread_block.h:
//
//     #include "gpu_emulator.h"                    // first
//     #include "../../../custom_ops/some/cuda.cu"  // then the kernel
//     emulator::launch(kernel, grid, block, shared_bytes, arguments...);
//
// A function with `__shared__` in it is to be static or in an anonymous namespace: were it a template or inline otherwise, all libraries of
// the process would share the variable.
#pragma once

#ifndef UNPOSED_EMULATED_GPU
#define UNPOSED_EMULATED_GPU 1
#endif

#include "thread_block.h"

#include <math.h>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __grid_constant__
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __shared__ static thread_local
#define DYNAMIC_SHARED(type, name) type* name = reinterpret_cast<type*>(emulator::dynamic_shared)

struct alignas(8) float2 { float x, y; };
struct alignas(8) int2 { int x, y; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(16) int4 { int x, y, z, w; };
struct alignas(16) uint4 { unsigned x, y, z, w; };

namespace emulator {

static __attribute__((noinline)) uint32_t ballot(const char* name, uint32_t mask, bool predicate) {
    bool all[WARP];
    gather(name, mask, &predicate, all, sizeof predicate);
    uint32_t votes = 0;
    for (unsigned i = 0; i < WARP; i++) {
        votes |= (mask >> i & 1) && all[i] ? 1u << i : 0u;
    }
    return votes;
}

static inline int lane() {
    return current % WARP;
}

template <class T>
T shuffle(const char* name, uint32_t mask, T value, int source, bool in_range) {
    T all[WARP];
    gather(name, mask, &value, all, sizeof value);
    return in_range ? all[source] : value;
}

}  // namespace emulator

static inline void __syncthreads() {
    emulator::barrier();
}

static inline void __syncwarp(unsigned mask = 0xffffffffu) {
    emulator::ballot("__syncwarp", mask, false);
}

static inline unsigned __ballot_sync(unsigned mask, int predicate) {
    return emulator::ballot("__ballot_sync", mask, predicate);
}

static inline int __any_sync(unsigned mask, int predicate) {
    return emulator::ballot("__any_sync", mask, predicate) != 0;
}

static inline int __all_sync(unsigned mask, int predicate) {
    return emulator::ballot("__all_sync", mask, predicate) == mask;
}

// Shuffles stay within segments of `width` lanes: `first` is where one begins. Only xor may reach back into those before.
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
    int first = emulator::lane() & -width;
    return emulator::shuffle("__shfl_sync", mask, value, first + (source & (width - 1)), true);
}

template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
    int first = emulator::lane() & -width, source = emulator::lane() - int(delta);
    return emulator::shuffle("__shfl_up_sync", mask, value, source, source >= first);
}

template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
    int first = emulator::lane() & -width, source = emulator::lane() + int(delta);
    return emulator::shuffle("__shfl_down_sync", mask, value, source, source < first + width);
}

template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32) {
    int first = emulator::lane() & -width, source = emulator::lane() ^ bits;
    return emulator::shuffle("__shfl_xor_sync", mask, value, source, source < first + width);
}

// d += a b on bfloat16 of the warp: a is 16 x 16, b is 16 x 8. Of lane 4 g + t (PTX, mma.m16n8k16), `d` holds columns 2t, 2t + 1 of rows g
// and g + 8; `a` holds k = 2t, 2t + 1 of rows g and g + 8, then 8 further in k; `b` holds k = 2t, 2t + 1 of column g, then 8 further in k.
// The smaller k is the lower half of a word.
static __attribute__((noinline, unused)) void mma_m16n8k16_bfloat16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    struct Fragments {
        uint32_t a[4], b[2];
    } own = {{a[0], a[1], a[2], a[3]}, {b[0], b[1]}}, all[32];
    emulator::gather("mma", 0xffffffffu, &own, all, sizeof own);
    const auto element = [](uint32_t word, int k) {
        uint32_t bits = k % 2 ? word & 0xffff0000u : word << 16;
        float x;
        memcpy(&x, &bits, 4);
        return x;
    };
    int lane = emulator::lane();
    for (int i = 0; i < 4; i++) {
        int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
        for (int k = 0; k < 16; k++) {
            int at = k % 8 / 2;
            d[i] += element(all[row % 8 * 4 + at].a[k / 8 * 2 + row / 8], k) * element(all[column * 4 + at].b[k / 8], k);
        }
    }
}

// Returns what was there. One thread runs at a time, so a plain sum is atomic.
template <class T>
T atomicAdd(T* p, T x) {
    T before = *p;
    *p = before + x;
    return before;
}

template <class T>
T __ldg(const T* p) {
    if (reinterpret_cast<uintptr_t>(p) % sizeof(T)) {
        emulator::fail("a load of " + std::to_string(sizeof(T)) + " bytes from an address that is not a multiple of it");
    }
    return *p;
}

template <class To, class From>
To same_bits(From x) {
    To y;
    memcpy(&y, &x, sizeof y);
    return y;
}

static inline unsigned __float_as_uint(float x) { return same_bits<unsigned>(x); }
static inline int __float_as_int(float x) { return same_bits<int>(x); }
static inline float __uint_as_float(unsigned x) { return same_bits<float>(x); }
static inline float __int_as_float(int x) { return same_bits<float>(x); }
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
static inline float __fdividef(float a, float b) { return a / b; }
static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
#define __expf(x) expf(x)  // the C library declares these two names for itself
#define __logf(x) logf(x)
