// Storage formats. Arithmetic is float everywhere; `load` and `store` convert from and to what lies in memory.
#pragma once

#include "portable.h"

struct BFloat16 {
    uint16_t bits;  // the upper half of a float
};

struct Float16 {
    uint16_t bits;  // IEEE binary16
};

INLINE uint32_t bits_of(float x) {
#if defined(__CUDA_ARCH__)
    return __float_as_uint(x);
#else
    union { float f; uint32_t u; } both = {x};
    return both.u;
#endif
}

INLINE float float_of(uint32_t bits) {
#if defined(__CUDA_ARCH__)
    return __uint_as_float(bits);
#else
    union { uint32_t u; float f; } both = {bits};
    return both.f;
#endif
}

INLINE float load(const float* p) {
    return *p;
}

INLINE void store(float* p, float x) {
    *p = x;
}

INLINE float load(const BFloat16* p) {
    return float_of(uint32_t(p->bits) << 16);
}

// Round to nearest, ties to even; a NaN stays one.
INLINE uint16_t bfloat16_bits(float x) {
    uint32_t u = bits_of(x);
    uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
    return uint16_t(x != x ? (u >> 16) | 0x40u : rounded);
}

INLINE void store(BFloat16* p, float x) {
    p->bits = bfloat16_bits(x);
}

// Without the compiler's own type for it (g++ before 12): the same numbers from whole arithmetic, which flushing denormals leaves alone.
INLINE float float16_value(uint16_t bits) {
    uint32_t sign = uint32_t(bits & 0x8000u) << 16, exponent = (bits >> 10) & 31u, mantissa = bits & 0x3ffu;
    if (exponent == 0) {
        float magnitude = float(mantissa) * (1.0f / 16777216.0f);
        return sign ? -magnitude : magnitude;
    }
    return float_of(sign | (exponent == 31 ? 0x7f800000u : (exponent + 112) << 23) | mantissa << 13);
}

// Round to nearest, ties to even; a NaN stays one.
INLINE uint16_t float16_bits(float x) {
    uint32_t u = bits_of(x), sign = (u >> 16) & 0x8000u, magnitude = u & 0x7fffffffu;
    if (magnitude > 0x7f800000u) {
        return uint16_t(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu));
    }
    if (magnitude >= 0x477ff000u) {  // 65520 and more round to infinity
        return uint16_t(sign | 0x7c00u);
    }
    if (magnitude < 0x38800000u) {  // below 2^-14 numbers are multiples of 2^-24, and so are floats between a half and one
        return uint16_t(sign | (bits_of(float_of(magnitude) + 0.5f) - 0x3f000000u));
    }
    return uint16_t(sign | (((magnitude + 0xfffu + ((magnitude >> 13) & 1u)) >> 13) - (112u << 10)));
}

INLINE float load(const Float16* p) {
#if defined(__CUDA_ARCH__)
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(p->bits));
    return x;
#elif !defined(__CUDACC__) && defined(__FLT16_MAX__)
    union { uint16_t u; _Float16 h; } both = {p->bits};
    return float(both.h);
#else
    return float16_value(p->bits);
#endif
}

INLINE void store(Float16* p, float x) {
#if defined(__CUDA_ARCH__)
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(p->bits) : "f"(x));
#elif !defined(__CUDACC__) && defined(__FLT16_MAX__)
    union { _Float16 h; uint16_t u; } both = {_Float16(x)};
    p->bits = both.u;
#else
    p->bits = float16_bits(x);
#endif
}
