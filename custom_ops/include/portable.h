// What differs between the compilers that read these headers: g++ for a processor, nvcc and NVRTC for a GPU, and g++ once more when the
// tests run the branches of a GPU on an emulated warp (UNPOSED_EMULATED_GPU; the emulator then defines threadIdx, shuffles and atomics).
#pragma once

#if defined(__CUDACC__) || defined(__CUDACC_RTC__) || defined(UNPOSED_EMULATED_GPU)
#define UNPOSED_GPU 1  // lanes are threads of a warp
#else
#define UNPOSED_GPU 0  // lanes are elements of a vector
#endif

#if defined(__CUDACC_RTC__)
// NVRTC has no standard headers.
typedef signed char int8_t;
typedef unsigned char uint8_t;
typedef short int16_t;
typedef unsigned short uint16_t;
typedef int int32_t;
typedef unsigned int uint32_t;
typedef long long int64_t;
typedef unsigned long long uint64_t;
#else
#include <math.h>
#include <stdint.h>
#include <string.h>
#endif

#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
#define INLINE __host__ __device__ __forceinline__
#define OUTLINED static __host__ __device__ __noinline__
#define DEVICE_ONLY __device__ __forceinline__
#define UNROLL _Pragma("unroll")
#else
#define INLINE inline __attribute__((always_inline))
#define OUTLINED static __attribute__((noinline))  // large enough to be a call of its own: builds in a fraction of the time
#define DEVICE_ONLY inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 64")
#endif

#define RESTRICT __restrict__

#if UNPOSED_GPU && !defined(UNPOSED_EMULATED_GPU)
#define DYNAMIC_SHARED(type, name) \
    extern __shared__ __align__(16) unsigned char dynamic_shared[]; \
    type* name = reinterpret_cast<type*>(dynamic_shared)
#endif
