// The kernels of a GPU for one number format, activation and pack size, all of which arrive as macros: FORMAT, FUNCTION, WIDTH.
#include "bias_act.h"

extern "C" __global__ void __launch_bounds__(THREADS) bias_act_forward(const __grid_constant__ BiasActParameters p) {
    for_each_pack<WIDTH>(p.shape, [&](int32_t, int32_t row, int32_t column, int64_t at) {
        float x[WIDTH], bias[WIDTH];
        load_pack<FORMAT>(p.x, at, x);
        load_along(p.bias, p.shape.last, row, column, bias);
        UNROLL for (int i = 0; i < WIDTH; i++) {
            x[i] = value<FUNCTION>(x[i] + bias[i], p.alpha, p.gain, p.clamp);
        }
        store_pack<FORMAT>(p.y, at, x);
    });
}

extern "C" __global__ void __launch_bounds__(THREADS) bias_act_backward(const __grid_constant__ BiasActParameters p) {
    const auto add = [&](int32_t, int32_t row, int32_t column, int64_t at, float (&terms)[1][WIDTH]) {
        float x[WIDTH], grad[WIDTH], bias[WIDTH];
        load_pack<FORMAT>(p.x, at, x);
        load_pack<FORMAT>(p.grad, at, grad);
        load_along(p.bias, p.shape.last, row, column, bias);
        UNROLL for (int i = 0; i < WIDTH; i++) {
            grad[i] *= p.of_output ? first_derivative_of_output(x[i], p.alpha, p.gain, p.clamp)
                                   : first_derivative<FUNCTION>(x[i] + bias[i], p.alpha, p.gain, p.clamp);
            terms[0][i] += grad[i];
        }
        store_pack<FORMAT>(p.y, at, grad);
    };
    sum_over_channels<WIDTH, 1>(p.shape, p.sums, add);
}

extern "C" __global__ void __launch_bounds__(THREADS) bias_act_second(const __grid_constant__ BiasActParameters p) {
    const auto add = [&](int32_t, int32_t row, int32_t column, int64_t at, float (&terms)[1][WIDTH]) {
        float x[WIDTH], grad[WIDTH], grad_grad[WIDTH], bias[WIDTH];
        load_pack<FORMAT>(p.x, at, x);
        load_pack<FORMAT>(p.grad, at, grad);
        load_pack<FORMAT>(p.grad_grad, at, grad_grad);
        load_along(p.bias, p.shape.last, row, column, bias);
        UNROLL for (int i = 0; i < WIDTH; i++) {
            float u = x[i] + bias[i];
            grad[i] *= grad_grad[i] * second_derivative<FUNCTION>(u, p.alpha, p.gain, p.clamp);
            grad_grad[i] *= first_derivative<FUNCTION>(u, p.alpha, p.gain, p.clamp);
            terms[0][i] += grad[i];
        }
        store_pack<FORMAT>(p.grad_x, at, grad);
        store_pack<FORMAT>(p.y, at, grad_grad);
    };
    sum_over_channels<WIDTH, 1>(p.shape, p.sums, add);
}
