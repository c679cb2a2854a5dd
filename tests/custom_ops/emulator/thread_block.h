// A thread block of a GPU on a processor. Each thread is a fiber. It runs as far as it gets, to its next collective (barrier, shuffle, vote
// or mma), where it waits for the others of its mask. No two threads ever run at once, so errors repeat, and they are provoked:
//  - `set_thread_order` lets the threads run in another order. A kernel that lacks a barrier then gives other results.
//  - Shared memory is filled with NaN (all bits set) before every block, so that what was never written shows.
//  - Threads that do not meet at the same collective are named, as is a write past the dynamic shared memory; then the process aborts.
// Not shown: weak memory order (a shuffle orders memory here, not on a GPU), threads that wait for other blocks, and speed.
#pragma once

#undef _FORTIFY_SOURCE  // its longjmp takes a change of stacks for a fault

#include <link.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include <algorithm>
#include <functional>
#include <random>
#include <string>
#include <vector>

struct uint3 { unsigned x, y, z; };
struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

static uint3 threadIdx, blockIdx;
static dim3 blockDim, gridDim;

namespace emulator {
namespace {

constexpr unsigned WARP = 32, MAX_THREADS = 1024;
constexpr size_t STACK_BYTES = 128 << 10;
constexpr size_t MAX_SHARED_BYTES = 227 << 10;  // of a block on an H100
constexpr size_t WATCHED_BYTES = 4 << 10;       // after them, which no kernel may write

struct Fiber {
    jmp_buf here;
    bool started;
    uint3 index;
    // What it waits for (nullptr: it can run), and what it brings to the collective and takes from there.
    const char* waits_for;
    uint32_t mask;
    const void* own;
    void* all;
};

Fiber fibers[MAX_THREADS];
unsigned current, num_threads, num_at_barrier, num_finished;
uint32_t runnable[MAX_THREADS / WARP];  // a bit per lane
std::vector<unsigned> warps;            // in the order in which they run
jmp_buf scheduler;
std::function<void()> run_kernel;
int thread_order;
std::minstd_rand random_bits;
alignas(128) unsigned char dynamic_shared[MAX_SHARED_BYTES + WATCHED_BYTES];
thread_local char any_shared;  // `__shared__` is thread_local: the dynamic linker knows where all of it lies

[[noreturn]] inline void fail(const std::string& message) {
    fprintf(stderr, "emulated GPU, block (%u, %u, %u): %s\n", blockIdx.x, blockIdx.y, blockIdx.z, message.c_str());
    abort();
}

// 0 .. count - 1 in the order that set_thread_order asked for.
inline std::vector<unsigned> ordered(unsigned count) {
    std::vector<unsigned> order(count);
    for (unsigned i = 0; i < count; i++) {
        order[i] = thread_order < 0 ? count - 1 - i : i;
    }
    if (thread_order > 0) {
        std::shuffle(order.begin(), order.end(), random_bits);
    }
    return order;
}

inline unsigned pick(uint32_t lanes) {
    for (unsigned skip = thread_order > 0 ? random_bits() % __builtin_popcount(lanes) : 0; skip; skip--) {
        lanes &= lanes - 1;
    }
    return thread_order < 0 ? 31 - __builtin_clz(lanes) : __builtin_ctz(lanes);
}

inline void wait(const char* name) {
    fibers[current].waits_for = name;
    runnable[current / WARP] &= ~(1u << current % WARP);
}

inline void release(unsigned warp, uint32_t lanes) {
    for (unsigned i = 0; i < WARP; i++) {
        if (lanes >> i & 1) {
            fibers[warp * WARP + i].waits_for = nullptr;
        }
    }
    runnable[warp] |= lanes;
}

// Back to the scheduler until it resumes this fiber. setjmp and longjmp change stacks without the system calls of swapcontext.
__attribute__((noinline)) inline void suspend() {
    if (!_setjmp(fibers[current].here)) {
        _longjmp(scheduler, 1);
    }
}

inline void fiber_main() {
    for (;;) {  // a fiber outlives its kernel and serves the next block
        run_kernel();
        wait("the end");
        num_finished++;
        suspend();
    }
}

__attribute__((noinline)) inline void resume(unsigned thread) {
    static char* stacks = static_cast<char*>(aligned_alloc(64, MAX_THREADS * STACK_BYTES));
    Fiber& fiber = fibers[thread];
    current = thread;
    threadIdx = fiber.index;
    if (_setjmp(scheduler)) {
        return;
    }
    if (fiber.started) {
        _longjmp(fiber.here, 1);
    }
    fiber.started = true;
    ucontext_t fresh;
    getcontext(&fresh);
    fresh.uc_stack.ss_sp = stacks + thread * STACK_BYTES;
    fresh.uc_stack.ss_size = STACK_BYTES;
    makecontext(&fresh, fiber_main, 0);
    setcontext(&fresh);
}

// Every lane of the mask brings `own`, size bytes, and gets those of all 32 lanes; what lanes outside the mask would have brought is NaN.
inline void gather(const char* name, uint32_t mask, const void* own, void* all, size_t size) {
    unsigned warp = current / WARP, lane = current % WARP;
    Fiber* lanes = fibers + warp * WARP;
    if (!(mask >> lane & 1)) {
        fail("lane " + std::to_string(lane) + " called " + name + " with a mask in which it is not");
    }
    wait(name);
    lanes[lane].mask = mask;
    lanes[lane].own = own;
    lanes[lane].all = all;
    bool complete = true;
    for (unsigned i = 0; i < WARP; i++) {
        if (mask >> i & 1) {
            complete = complete && lanes[i].waits_for && !strcmp(lanes[i].waits_for, name) && lanes[i].mask == mask;
        }
    }
    if (complete) {
        memset(all, 0xff, WARP * size);
        for (unsigned i = 0; i < WARP; i++) {
            if (mask >> i & 1) {
                memcpy(static_cast<char*>(all) + i * size, lanes[i].own, size);
            }
        }
        for (unsigned i = 0; i < WARP; i++) {
            if ((mask >> i & 1) && i != lane) {
                memcpy(lanes[i].all, all, WARP * size);
            }
        }
        release(warp, mask);
    }
    suspend();
}

// Waits for all threads of the block.
inline void barrier() {
    wait("__syncthreads");
    if (++num_at_barrier == num_threads) {
        num_at_barrier = 0;
        for (unsigned i = 0; i < num_threads; i++) {
            release(i / WARP, 1u << i % WARP);
        }
        warps = ordered(warps.size());
    }
    suspend();
}

[[noreturn]] inline void report_standstill() {
    std::string message = "threads wait for each other";
    for (unsigned i = 0; i < num_threads; i++) {
        if (message.find(fibers[i].waits_for) == std::string::npos) {
            message += "; thread " + std::to_string(i) + " has come to " + fibers[i].waits_for;
        }
    }
    fail(message);
}

struct StaticShared {
    char* begin;
    size_t size;
};

// The variables declared __shared__: the thread-local memory of this module.
inline StaticShared static_shared() {
    StaticShared found = {&any_shared, 0};
    dl_iterate_phdr(
        [](dl_phdr_info* module, size_t, void* result) {
            StaticShared& found = *static_cast<StaticShared*>(result);
            char* begin = static_cast<char*>(module->dlpi_tls_data);
            for (int i = 0; begin && i < module->dlpi_phnum; i++) {
                size_t size = module->dlpi_phdr[i].p_memsz;
                if (module->dlpi_phdr[i].p_type == PT_TLS && found.begin >= begin && found.begin < begin + size) {
                    found = {begin, size};
                    return 1;
                }
            }
            return 0;
        },
        &found);
    return found;
}

inline void run_block(size_t shared_bytes) {
    memset(dynamic_shared, 0xff, shared_bytes + WATCHED_BYTES);
    num_at_barrier = num_finished = 0;
    for (unsigned i = 0; i < num_threads; i++) {
        unsigned row = i / blockDim.x;
        fibers[i].index = {i % blockDim.x, row % blockDim.y, row / blockDim.y};
        release(i / WARP, 1u << i % WARP);
    }
    warps = ordered((num_threads + WARP - 1) / WARP);
    while (num_finished < num_threads) {  // the first warp that can go on does: the barriers alone hold it back
        auto warp = std::find_if(warps.begin(), warps.end(), [](unsigned i) { return runnable[i] != 0; });
        if (warp == warps.end()) {
            report_standstill();
        }
        resume(*warp * WARP + pick(runnable[*warp]));
    }
    for (size_t i = shared_bytes; i < shared_bytes + WATCHED_BYTES; i++) {
        if (dynamic_shared[i] != 0xff) {
            fail("byte " + std::to_string(i) + " of shared memory was written; the launch asked for " + std::to_string(shared_bytes));
        }
    }
}

// kernel<<<grid, block, shared_bytes>>>(arguments...). Blocks run one after another.
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes, Arguments&&... arguments) {
    gridDim = grid;
    blockDim = block;
    num_threads = block.x * block.y * block.z;
    if (num_threads == 0 || num_threads > MAX_THREADS || shared_bytes > MAX_SHARED_BYTES) {
        fail("there are no blocks of " + std::to_string(num_threads) + " threads and " + std::to_string(shared_bytes) + " bytes");
    }
    random_bits.seed(thread_order);
    run_kernel = [&] { kernel(arguments...); };
    StaticShared shared = static_shared();
    for (unsigned i : ordered(grid.x * grid.y * grid.z)) {
        blockIdx = {i % grid.x, i / grid.x % grid.y, i / grid.x / grid.y};
        memset(shared.begin, 0xff, shared.size);
        run_block(shared_bytes);
    }
}

}  // namespace
}  // namespace emulator

// 0: threads, warps and blocks in ascending order; -1: descending; above: in random order from this seed.
extern "C" void set_thread_order(int order) {
    emulator::thread_order = order;
}
