// Small kernels that test the emulator: what a GPU would compute, and what the emulator has to notice.
#include "gpu_emulator.h"

static __device__ float warp_sum(float x) {
    for (int step = 16; step; step >>= 1) {
        x += __shfl_xor_sync(0xffffffffu, x, step);
    }
    return x;
}

// One block: total[0] = sum of x over n, by warps, then by the first warp.
static __global__ void __launch_bounds__(1024) reduction(const float* x, float* total, int n) {
    __shared__ float of_warp[32];
    float own = 0;
    for (int i = threadIdx.x; i < n; i += blockDim.x) {
        own += x[i];
    }
    own = warp_sum(own);
    if (threadIdx.x % 32 == 0) {
        of_warp[threadIdx.x / 32] = own;
    }
    __syncthreads();
    if (threadIdx.x < 32) {
        own = warp_sum(threadIdx.x < blockDim.x / 32 ? of_warp[threadIdx.x] : 0.0f);
        if (threadIdx.x == 0) {
            *total = own;
        }
    }
}

// Each warp: y[i] = x[0] + ... + x[i] over its 32 values.
static __global__ void scan(const float* x, float* y) {
    int i = blockIdx.x * blockDim.x + threadIdx.x, lane = threadIdx.x % 32;
    float sum = x[i];
    for (int step = 1; step < 32; step <<= 1) {
        float below = __shfl_up_sync(0xffffffffu, sum, step);
        sum += lane >= step ? below : 0.0f;
    }
    y[i] = sum;
}

// y = transposed x, 32 x 32, one thread per element. In the second round (of two) the tile is written again, which takes a second barrier.
template <bool WITH_BARRIER>
static __global__ void transposition(const float* x, float* y) {
    DYNAMIC_SHARED(float, tile);
    for (int round = 0; round < 2; round++) {
        tile[threadIdx.y * 33 + threadIdx.x] = x[threadIdx.y * 32 + threadIdx.x];
        if (WITH_BARRIER) {
            __syncthreads();
        }
        y[threadIdx.y * 32 + threadIdx.x] = tile[threadIdx.x * 33 + threadIdx.y];
        if (WITH_BARRIER) {
            __syncthreads();
        }
    }
}

// Each lane reads what its left neighbour wrote, then writes again. Without the barrier between, the neighbour may have written again as
// well; lanes in descending order hide this.
template <bool WITH_BARRIER>
static __global__ void neighbours(float* y) {
    __shared__ float words[32];
    int lane = threadIdx.x;
    words[lane] = lane;
    __syncwarp();
    float left = words[lane ? lane - 1 : 0];
    if (WITH_BARRIER) {
        __syncwarp();
    }
    words[lane] = 100 + lane;
    y[lane] = left;
}

static __global__ void unwritten(float* y) {
    __shared__ float fixed[64];
    DYNAMIC_SHARED(float, dynamic);
    if (threadIdx.x < 16) {
        fixed[threadIdx.x] = dynamic[threadIdx.x] = 1.0f;
    }
    __syncthreads();
    y[threadIdx.x] = fixed[threadIdx.x] + dynamic[threadIdx.x];
}

static __global__ void out_of_range(int* y) {
    int lane = threadIdx.x;
    y[lane] = __shfl_up_sync(0xffffffffu, lane, 3);
    y[32 + lane] = __shfl_down_sync(0xffffffffu, lane, 3);
    y[64 + lane] = __shfl_sync(0xffffffffu, lane, 35);
    y[96 + lane] = __shfl_up_sync(0xffffffffu, lane, 3, 8);
    y[128 + lane] = __shfl_xor_sync(0xffffffffu, lane, 12, 8);
    y[160 + lane] = __ballot_sync(0xffffffffu, lane % 3 == 0);
    if (lane < 16) {
        y[192 + lane] = __all_sync(0xffffu, lane < 16) + 2 * __any_sync(0xffffu, lane == 20);
    }
}

static __global__ void atomics(float* sum, int* tickets) {
    int before = atomicAdd(tickets, 1);
    atomicAdd(sum, float(before));
}

// c[16, 8] = a[16, 16] b[16, 8] on bfloat16, each given as its bits.
static __global__ void product(const uint16_t* a, const uint16_t* b, float* c) {
    int g = threadIdx.x / 4, t = threadIdx.x % 4;
    const auto pair = [](uint16_t low, uint16_t high) { return low | uint32_t(high) << 16; };
    uint32_t fragment_a[4], fragment_b[2];
    for (int i = 0; i < 4; i++) {
        int row = g + i % 2 * 8, k = 2 * t + i / 2 * 8;
        fragment_a[i] = pair(a[row * 16 + k], a[row * 16 + k + 1]);
    }
    for (int i = 0; i < 2; i++) {
        int k = 2 * t + i * 8;
        fragment_b[i] = pair(b[k * 8 + g], b[(k + 1) * 8 + g]);
    }
    float d[4] = {};
    mma_m16n8k16_bfloat16(d, fragment_a, fragment_b);
    for (int i = 0; i < 4; i++) {
        c[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = d[i];
    }
}

// Fault 0: half a warp meets the other half elsewhere; 1: a thread has left before the barrier; 2: a mask without the caller; 3: a write
// past the shared memory; 4: a vector load from an odd address.
static __global__ void faulty(int fault) {
    DYNAMIC_SHARED(float, memory);
    if (fault == 0) {
        if (threadIdx.x < 16) {
            __syncwarp();
        } else {
            __shfl_sync(0xffffffffu, 1.0f, 0);
        }
    } else if (fault == 1 && threadIdx.x != 7) {
        __syncthreads();
    } else if (fault == 2) {
        __syncwarp(0xffffu);
    } else if (fault == 3) {
        memory[blockDim.x] = 1.0f;
    } else if (fault == 4) {
        __ldg(reinterpret_cast<const float4*>(memory + 1));
    }
}

static __global__ void switching(int times) {
    for (int i = 0; i < times; i++) {
        __syncwarp();
    }
}

extern "C" {

void run_reduction(const float* x, float* total, int n, int threads) { emulator::launch(reduction, 1, threads, 0, x, total, n); }
void run_scan(const float* x, float* y, int blocks, int threads) { emulator::launch(scan, blocks, threads, 0, x, y); }
void run_transposition(const float* x, float* y, int with_barrier) {
    emulator::launch(with_barrier ? transposition<true> : transposition<false>, 1, dim3(32, 32), 32 * 33 * sizeof(float), x, y);
}
void run_neighbours(float* y, int with_barrier) { emulator::launch(with_barrier ? neighbours<true> : neighbours<false>, 1, 32, 0, y); }
void run_unwritten(float* y) { emulator::launch(unwritten, 3, 64, 256, y); }
void run_out_of_range(int* y) { emulator::launch(out_of_range, 1, 32, 0, y); }
void run_atomics(float* sum, int* tickets, int blocks, int threads) { emulator::launch(atomics, blocks, threads, 0, sum, tickets); }
void run_product(const uint16_t* a, const uint16_t* b, float* c) { emulator::launch(product, 1, 32, 0, a, b, c); }
void run_faulty(int fault) { emulator::launch(faulty, 1, 32, 32 * sizeof(float), fault); }
void run_switching(int times) { emulator::launch(switching, 1, 32, 0, times); }

}
