// The kernel of a GPU for one choice of factors, filter size and number format, all of which arrive as macros. The arithmetic and the
// assignment of outputs to threads are in upfirdn2d.h, where a processor tests them.
#include "upfirdn2d.h"

using AxisX = Axis<UP_X, DOWN_X, TAPS_X, PHASE_X, TILE_X>;
using AxisY = Axis<UP_Y, DOWN_Y, TAPS_Y, PHASE_Y, TILE_Y>;

extern "C" __global__ void __launch_bounds__(BLOCK) upfirdn2d(const __grid_constant__ Upfirdn2dParameters p) {
    ThreadTile<NUMBER, VECTOR, AxisX, AxisY>().run(p, int64_t(blockIdx.x) * BLOCK + threadIdx.x);
}
