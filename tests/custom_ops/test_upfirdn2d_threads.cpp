// The threads of a GPU on a processor: what upfirdn2d.cu runs in every thread of every block, one after the other. A function is named
// after the macros that the kernel would be compiled with, so that the test finds it by what the Python side asks for.
#include "../../custom_ops/upfirdn2d/upfirdn2d.h"

template <class Number, int CHANNELS, class AxisX, class AxisY>
void run_threads(const Upfirdn2dParameters* p, int64_t blocks, int64_t block) {
    for (int64_t i = 0; i < blocks; i++) {
        for (int64_t thread = 0; thread < block; thread++) {
            ThreadTile<Number, CHANNELS, AxisX, AxisY>().run(*p, i * block + thread);
        }
    }
}

#define RUN(number, vector, ux, dx, kx, px, tx, uy, dy, ky, py, ty)                                                                        \
    extern "C" void number##_##vector##_x_##ux##_##dx##_##kx##_##px##_##tx##_y_##uy##_##dy##_##ky##_##py##_##ty(                           \
        const Upfirdn2dParameters* p, int64_t blocks, int64_t block) {                                                                     \
        run_threads<number, vector, Axis<ux, dx, kx, px, tx>, Axis<uy, dy, ky, py, ty>>(p, blocks, block);                                 \
    }

#define RUN_FLOAT(...) RUN(float, 1, __VA_ARGS__) RUN(float, 4, __VA_ARGS__)
#define RUN_HALF(...) RUN(BFloat16, 8, __VA_ARGS__) RUN(Float16, 1, __VA_ARGS__)

// [4, 4], by two up, down, and at the same size
RUN_FLOAT(2, 1, 4, 0, 2, 2, 1, 4, 0, 4)
RUN_FLOAT(1, 2, 4, 0, 1, 1, 2, 4, 0, 2)
RUN_FLOAT(1, 1, 4, 0, 1, 1, 1, 4, 0, 4)
RUN_HALF(2, 1, 4, 0, 2, 2, 1, 4, 0, 4)
RUN_HALF(1, 2, 4, 0, 1, 1, 2, 4, 0, 2)
RUN_HALF(1, 1, 4, 0, 1, 1, 1, 4, 0, 4)
// the same, up, with odd padding
RUN_FLOAT(2, 1, 4, 1, 2, 2, 1, 4, 1, 4)
// [3, 2], by 3/2 along x and 2/3 along y; and its adjoint
RUN_FLOAT(3, 2, 2, 0, 3, 2, 3, 3, 1, 2)
RUN_FLOAT(2, 3, 2, 0, 2, 3, 2, 3, 0, 3)
// [12] by two, up and down, one pass per axis
RUN_FLOAT(2, 1, 12, 0, 4, 1, 1, 1, 0, 1)
RUN_FLOAT(1, 1, 1, 0, 1, 2, 1, 12, 0, 4)
RUN_FLOAT(1, 2, 12, 0, 2, 1, 1, 1, 0, 1)
RUN_FLOAT(1, 1, 1, 0, 1, 1, 2, 12, 0, 2)
// [9, 8], too large to be laid out flat
RUN_FLOAT(1, 1, 8, 0, 1, 1, 1, 9, 0, 4)
