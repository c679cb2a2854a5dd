// The small network behind the planes, on rows of samples: row k holds unit k of every sample.
#pragma once

#include "functions.h"
#include "scratch.h"
#include "transpose.h"

namespace triplane {

typedef Lanes::F F;

// Registers: OUTPUTS x VECTORS sums stay in them while a tile of the matrix product is computed.
#if UNPOSED_GPU
constexpr int TILE_VECTORS = 1, TILE_OUTPUTS = 16;
#elif defined(__AVX512F__)
constexpr int TILE_VECTORS = 3, TILE_OUTPUTS = 8;
#else
constexpr int TILE_VECTORS = 3, TILE_OUTPUTS = 4;
#endif

struct Same {
    static INLINE F value(F x) { return x; }
};

// A sigmoid that reaches 0 and 1.
struct Colour {
    static INLINE F value(F x) { return functions::sigmoid(x) * 1.002f - 0.001f; }
    static INLINE F derivative(F y) {
        F s = (y + 0.001f) * (1.0f / 1.002f);
        return s * (1.0f - s) * 1.002f;
    }
};

struct Softplus {
    static INLINE F value(F x) { return functions::softplus(x); }
    static INLINE F derivative(F y) { return 1.0f - functions::exponential(-y); }  // at the x with softplus(x) = y
};

struct Relu {
    static INLINE F value(F x) { return Lanes::max(Lanes::all(0.0f), x); }
    static INLINE F derivative(F y) { return Lanes::select(y > Lanes::all(0.0f), Lanes::all(1.0f), Lanes::all(0.0f)); }
};

struct LeakyRelu {
    static INLINE F value(F x) { return Lanes::select(x < Lanes::all(0.0f), x * 0.2f, x); }
    static INLINE F derivative(F y) { return Lanes::select(y > Lanes::all(0.0f), Lanes::all(1.0f), Lanes::all(0.2f)); }
};

struct Matrix {
    const float* weight;  // [in, out]
    const float* bias;    // [out] or null
    int in, out;
};

template <class Function, int VECTORS, int OUTPUTS>
INLINE void linear_tile(const Matrix& matrix, int o, const float* x, int x_stride, float* y, int y_stride) {
    F sum[OUTPUTS][VECTORS];
    UNROLL for (int i = 0; i < OUTPUTS; i++) {
        UNROLL for (int v = 0; v < VECTORS; v++) {
            sum[i][v] = Lanes::all(matrix.bias ? matrix.bias[o + i] : 0.0f);
        }
    }
    const float* weight = matrix.weight + o;
    for (int k = 0; k < matrix.in; k++) {
        F in[VECTORS];
        UNROLL for (int v = 0; v < VECTORS; v++) {
            in[v] = Lanes::load(x + v * Lanes::WIDTH);
        }
        UNROLL for (int i = 0; i < OUTPUTS; i++) {
            F w = Lanes::all(weight[i]);
            UNROLL for (int v = 0; v < VECTORS; v++) {
                sum[i][v] += w * in[v];
            }
        }
        x += x_stride;
        weight += matrix.out;
    }
    UNROLL for (int i = 0; i < OUTPUTS; i++) {
        UNROLL for (int v = 0; v < VECTORS; v++) {
            Lanes::store(y + (o + i) * y_stride + v * Lanes::WIDTH, Function::value(sum[i][v]));
        }
    }
}

template <class Function, int VECTORS>
INLINE void linear_columns(const Matrix& matrix, int first, int last, const float* x, int x_stride, float* y, int y_stride) {
    int o = first;
    for (; o + TILE_OUTPUTS <= last; o += TILE_OUTPUTS) {
        linear_tile<Function, VECTORS, TILE_OUTPUTS>(matrix, o, x, x_stride, y, y_stride);
    }
    for (; o < last; o++) {
        linear_tile<Function, VECTORS, 1>(matrix, o, x, x_stride, y, y_stride);
    }
}

// y[o][s] = f(bias[o] + sum over k of weight[k][o] x[k][s]) for outputs first <= o < last and `samples` samples, a multiple of the lanes.
template <class Function>
OUTLINED void linear(const Matrix& matrix, int first, int last, const float* x, int x_stride, float* y, int y_stride, int samples) {
    int s = 0;
#if !UNPOSED_GPU
    for (; s + TILE_VECTORS * Lanes::WIDTH <= samples; s += TILE_VECTORS * Lanes::WIDTH) {
        linear_columns<Function, TILE_VECTORS>(matrix, first, last, x + s, x_stride, y + s, y_stride);
    }
#endif
    for (; s < samples; s += Lanes::WIDTH) {
        linear_columns<Function, 1>(matrix, first, last, x + s, x_stride, y + s, y_stride);
    }
    Lanes::sync();
}

OUTLINED void hidden_layer(const Call& call, const Matrix& matrix, const float* x, int x_stride, float* y, int y_stride, int samples) {
    if (call.activation == SOFTPLUS) {
        linear<Softplus>(matrix, 0, matrix.out, x, x_stride, y, y_stride, samples);
    } else if (call.activation == RELU) {
        linear<Relu>(matrix, 0, matrix.out, x, x_stride, y, y_stride, samples);
    } else {
        linear<LeakyRelu>(matrix, 0, matrix.out, x, x_stride, y, y_stride, samples);
    }
}

INLINE Matrix layer_of(const Call& call, int layer) {
    const float* at = call.decoder;
    for (int i = 0; i < layer; i++) {
        at += (call.widths[i] + 1) * call.widths[i + 1];
    }
    int in = call.widths[layer], out = call.widths[layer + 1];
    return {at, at + in * out, in, out};
}

INLINE const float* input_of(const Scratch& scratch, int layer) {
    return layer ? scratch.hidden[layer - 1] : scratch.features;
}

// From features to the last hidden layer; `column` of the rows of hidden units.
OUTLINED void decode_hidden(const Call& call, const Scratch& scratch, int column, int samples) {
    for (int layer = 0; layer + 1 < call.layers; layer++) {
        hidden_layer(call, layer_of(call, layer), input_of(scratch, layer) + column, scratch.hidden_columns, scratch.hidden[layer] + column,
                     scratch.hidden_columns, samples);
    }
}

// From the last hidden layer to raw density (row 0) and colours, or to raw outputs.
OUTLINED void decode_outputs(const Call& call, const Scratch& scratch, int column, float* outputs, int stride, int samples, bool raw) {
    Matrix last = layer_of(call, call.layers - 1);
    const float* in = input_of(scratch, call.layers - 1) + column;
    linear<Same>(last, 0, raw ? last.out : 1, in, scratch.hidden_columns, outputs, stride, samples);
    if (!raw) {
        linear<Colour>(last, 1, last.out, in, scratch.hidden_columns, outputs, stride, samples);
    }
}

template <class Function>
OUTLINED void multiply_by_derivative(float* gradient, const float* y, int stride, int units, int samples) {
    for (int k = 0; k < units; k++) {
        for (int s = 0; s < samples; s += Lanes::WIDTH) {
            F g = Lanes::load(gradient + k * stride + s);
            Lanes::store(gradient + k * stride + s, g * Function::derivative(Lanes::load(y + k * stride + s)));
        }
    }
    Lanes::sync();
}

#if UNPOSED_GPU

// Each lane takes some of the outputs and sums over the samples of the warp.
OUTLINED void add_gradient_of_layer(const Matrix& matrix, float* grad, const float* x, int x_stride, const float* grad_y, int y_stride, int,
                                    float*) {
    for (int i = Lanes::lane(); i < (matrix.in + 1) * matrix.out; i += Lanes::WIDTH) {
        int k = i / matrix.out, o = i % matrix.out;
        float sum = 0;
        for (int j = 0; j < Lanes::WIDTH; j++) {
            int s = (j + Lanes::lane()) % Lanes::WIDTH;  // rows are whole warps long: at one s, all lanes would want the same bank of memory
            sum += grad_y[o * y_stride + s] * (k < matrix.in ? x[k * x_stride + s] : 1.0f);
        }
        Lanes::add(grad + i, sum);
    }
    Lanes::sync();
}

#else

// sums[o][k] += sum over the samples of grad_y[o][s] x[s][k], for OUTPUTS rows and VECTORS of inputs.
template <int OUTPUTS, int VECTORS>
INLINE void add_outer_tile(const float* grad_y, int y_stride, const float* x, float* sums, int pitch, int samples) {
    F sum[OUTPUTS][VECTORS];
    UNROLL for (int i = 0; i < OUTPUTS; i++) {
        UNROLL for (int v = 0; v < VECTORS; v++) {
            sum[i][v] = Lanes::load(sums + i * pitch + v * Lanes::WIDTH);
        }
    }
    for (int s = 0; s < samples; s++) {
        F in[VECTORS];
        UNROLL for (int v = 0; v < VECTORS; v++) {
            in[v] = Lanes::load(x + s * pitch + v * Lanes::WIDTH);
        }
        UNROLL for (int i = 0; i < OUTPUTS; i++) {
            F g = Lanes::all(grad_y[i * y_stride + s]);
            UNROLL for (int v = 0; v < VECTORS; v++) {
                sum[i][v] += g * in[v];
            }
        }
    }
    UNROLL for (int i = 0; i < OUTPUTS; i++) {
        UNROLL for (int v = 0; v < VECTORS; v++) {
            Lanes::store(sums + i * pitch + v * Lanes::WIDTH, sum[i][v]);
        }
    }
}

template <int VECTORS>
INLINE void add_outer_columns(const float* grad_y, int y_stride, const float* x, float* sums, int pitch, int outputs, int samples) {
    int o = 0;
    for (; o + TILE_OUTPUTS <= outputs; o += TILE_OUTPUTS) {
        add_outer_tile<TILE_OUTPUTS, VECTORS>(grad_y + o * y_stride, y_stride, x, sums + o * pitch, pitch, samples);
    }
    for (; o < outputs; o++) {
        add_outer_tile<1, VECTORS>(grad_y + o * y_stride, y_stride, x, sums + o * pitch, pitch, samples);
    }
}

// Lanes are inputs, so the sums of a whole packet are a small matrix in the cache. grad: a row of inputs, rounded up to whole vectors, for every
// output; then a vector of lanes for every bias.
OUTLINED void add_gradient_of_layer(const Matrix& matrix, float* grad, const float* x, int x_stride, const float* grad_y, int y_stride,
                                    int samples, float* sample_rows) {
    int pitch = round_up(matrix.in, Lanes::WIDTH), k = 0;
    transpose_block(x, x_stride, sample_rows, pitch, matrix.in, samples);
    for (; k + 2 * Lanes::WIDTH <= pitch; k += 2 * Lanes::WIDTH) {
        add_outer_columns<2>(grad_y, y_stride, sample_rows + k, grad + k, pitch, matrix.out, samples);
    }
    for (; k < pitch; k += Lanes::WIDTH) {
        add_outer_columns<1>(grad_y, y_stride, sample_rows + k, grad + k, pitch, matrix.out, samples);
    }
    for (int o = 0; o < matrix.out; o++) {
        float* to = grad + matrix.out * pitch + o * Lanes::WIDTH;
        F sum = Lanes::load(to);
        for (int s = 0; s < samples; s += Lanes::WIDTH) {
            sum += Lanes::load(grad_y + o * y_stride + s);
        }
        Lanes::store(to, sum);
    }
}

#endif

// From the gradient of the outputs to that of the features (scratch.grad_features); the decoder's own is added to `grad_decoder`.
OUTLINED void decode_backward(const Call& call, const Scratch& scratch, int column, const float* grad_outputs, int stride, int samples,
                              float* grad_decoder) {
    const float* transposed = call.decoder_transposed;
    int at = Scratch::gradient_size(call);
    int transposed_at = 0;
    for (int layer = 0; layer < call.layers; layer++) {
        transposed_at += call.widths[layer] * call.widths[layer + 1];
    }
    const float* grad_y = grad_outputs;
    int y_stride = stride;
    float *grad_x = scratch.grad_hidden + column, *other = scratch.grad_hidden_other + column;
    for (int layer = call.layers - 1; layer >= 0; layer--) {
        Matrix matrix = layer_of(call, layer);
        at -= Scratch::gradient_size(matrix.in, matrix.out);
        transposed_at -= matrix.in * matrix.out;
        const float* x = input_of(scratch, layer) + column;
        add_gradient_of_layer(matrix, grad_decoder + at, x, scratch.hidden_columns, grad_y, y_stride, samples, scratch.sample_rows);
        if (layer == 0) {
            grad_x = scratch.grad_features + column;
        }
        Matrix back = {transposed + transposed_at, nullptr, matrix.out, matrix.in};
        linear<Same>(back, 0, back.out, grad_y, y_stride, grad_x, scratch.hidden_columns, samples);
        if (layer > 0) {
            if (call.activation == SOFTPLUS) {
                multiply_by_derivative<Softplus>(grad_x, x, scratch.hidden_columns, matrix.in, samples);
            } else if (call.activation == RELU) {
                multiply_by_derivative<Relu>(grad_x, x, scratch.hidden_columns, matrix.in, samples);
            } else {
                multiply_by_derivative<LeakyRelu>(grad_x, x, scratch.hidden_columns, matrix.in, samples);
            }
        }
        grad_y = grad_x;
        y_stride = scratch.hidden_columns;
        float* swapped = other;
        other = grad_x;
        grad_x = swapped;
    }
}

}  // namespace triplane
