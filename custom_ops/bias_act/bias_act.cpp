// The kernels of a processor. A thread works on strips of neighbouring elements as floats, long enough that what is done once per strip
// costs nothing and short enough that all of it stays in the nearest cache; the bias of a strip is laid out element by element.
#include <memory>
#include <vector>

#include "bias_act.h"
#include "strips.h"
#include "threads.h"

namespace {

constexpr int STRIP = 1024;
constexpr int STRIPS_PER_FLUSH = 64;  // so many floats are summed as floats before a double takes them

struct Scalars {
    float alpha, gain, clamp;
};

using Forward = void(int n, const float* RESTRICT x, const float* RESTRICT bias, Scalars s, float* RESTRICT y);
using Backward = void(int n, const float* RESTRICT x, const float* RESTRICT bias, const float* RESTRICT grad, Scalars s,
                      float* RESTRICT grad_x);
using Second = void(int n, const float* RESTRICT x, const float* RESTRICT bias, const float* RESTRICT grad, const float* RESTRICT grad_grad,
                    Scalars s, float* RESTRICT grad_of_grad, float* RESTRICT grad_x);

template <int ACTIVATION>
void forward(int n, const float* RESTRICT x, const float* RESTRICT bias, Scalars s, float* RESTRICT y) {
    for (int i = 0; i < n; i++) {
        y[i] = value<ACTIVATION>(x[i] + bias[i], s.alpha, s.gain, s.clamp);
    }
}

template <int ACTIVATION>
void backward(int n, const float* RESTRICT x, const float* RESTRICT bias, const float* RESTRICT grad, Scalars s, float* RESTRICT grad_x) {
    for (int i = 0; i < n; i++) {
        grad_x[i] = grad[i] * first_derivative<ACTIVATION>(x[i] + bias[i], s.alpha, s.gain, s.clamp);
    }
}

void backward_of_output(int n, const float* RESTRICT y, const float*, const float* RESTRICT grad, Scalars s, float* RESTRICT grad_x) {
    for (int i = 0; i < n; i++) {
        grad_x[i] = grad[i] * first_derivative_of_output(y[i], s.alpha, s.gain, s.clamp);
    }
}

template <int ACTIVATION>
void second(int n, const float* RESTRICT x, const float* RESTRICT bias, const float* RESTRICT grad, const float* RESTRICT grad_grad,
            Scalars s, float* RESTRICT grad_of_grad, float* RESTRICT grad_x) {
    for (int i = 0; i < n; i++) {
        float u = x[i] + bias[i];
        grad_of_grad[i] = grad_grad[i] * first_derivative<ACTIVATION>(u, s.alpha, s.gain, s.clamp);
        grad_x[i] = grad_grad[i] * grad[i] * second_derivative<ACTIVATION>(u, s.alpha, s.gain, s.clamp);
    }
}

#define FOR_EACH_ACTIVATION(f) {f<LEAKY>, f<TANH>, f<SIGMOID>, f<ELU>, f<SELU>, f<SOFTPLUS>, f<SWISH>}
Forward* const forwards[ACTIVATIONS] = FOR_EACH_ACTIVATION(forward);
Backward* const backwards[ACTIVATIONS] = FOR_EACH_ACTIVATION(backward);
Second* const seconds[ACTIVATIONS] = FOR_EACH_ACTIVATION(second);

// Memory of one thread: a few strips, not initialised.
class Scratch {
public:
    explicit Scratch(int length) : length_(length), floats_(new float[COUNT * size_t(length)]) {}
    float* operator[](int i) const { return floats_.get() + size_t(i) * length_; }
    static constexpr int COUNT = 7;

private:
    int length_;
    std::unique_ptr<float[]> floats_;
};

double sum(const float* x, int n) {
    constexpr int LANES = 16;
    float lanes[LANES] = {};
    int whole = n / LANES * LANES;
    for (int i = 0; i < whole; i += LANES) {
        for (int j = 0; j < LANES; j++) {
            lanes[j] += x[i + j];
        }
    }
    double total = 0;
    for (int j = 0; j < LANES; j++) {
        total += lanes[j];
    }
    for (int i = whole; i < n; i++) {
        total += x[i];
    }
    return total;
}

// work(first element, count, bias by element, scratch) -> gradients of the strip by element, or null, which are summed into p.sums.
template <class Work>
void for_each_strip(const BiasActParameters& p, const Work& work) {
    const Channels& c = p.shape;
    const int channels = channel_count(c);
    // Columns as channels: a strip is whole rows, and all strips have the same bias. Else it is a piece of one row.
    const int rows_per_strip = c.last ? std::max(1, STRIP / c.columns) : 1;
    const int length = c.last ? rows_per_strip * c.columns : std::min(STRIP, c.columns);
    const int64_t rows = int64_t(c.samples) * c.rows;
    const int64_t strips = (rows + rows_per_strip - 1) / rows_per_strip;
    const int threads = int(std::max<int64_t>(1, std::min<int64_t>(p.threads, strips)));
    std::vector<double> totals(p.sums ? size_t(threads) * channels : 0);

    parallel_for(strips, threads, [&](int64_t first, int64_t last, int thread) {
        Scratch scratch(length);
        float *bias = scratch[0], *partial = scratch[1];
        std::fill_n(bias, length, 0.0f);
        std::fill_n(partial, length, 0.0f);
        double* total = totals.data() + size_t(thread) * channels;
        if (c.last) {
            for (int i = 0; p.bias && i < length; i++) {
                bias[i] = p.bias[i % channels];
            }
            for (int64_t strip = first; strip < last; strip++) {
                int64_t row = strip * rows_per_strip;
                int n = int(std::min<int64_t>(rows_per_strip, rows - row)) * c.columns;
                const float* grad = work(row * c.columns, n, bias, scratch);
                if (!p.sums) {
                    continue;
                }
                for (int i = 0; i < n; i++) {
                    partial[i] += grad[i];
                }
                if (strip + 1 == last || (strip - first) % STRIPS_PER_FLUSH == STRIPS_PER_FLUSH - 1) {
                    for (int i = 0; i < length; i++) {
                        total[i % channels] += partial[i];
                        partial[i] = 0;
                    }
                }
            }
        } else {
            for (int64_t row = first; row < last; row++) {
                int channel = int(row % channels);
                if (p.bias) {
                    std::fill_n(bias, length, p.bias[channel]);
                }
                for (int column = 0; column < c.columns; column += length) {
                    int n = std::min(length, c.columns - column);
                    const float* grad = work(row * c.columns + column, n, bias, scratch);
                    if (p.sums) {
                        total[channel] += sum(grad, n);
                    }
                }
            }
        }
    });
    for (int channel = 0; p.sums && channel < channels; channel++) {
        double total = 0;
        for (int thread = 0; thread < threads; thread++) {
            total += totals[size_t(thread) * channels + channel];
        }
        p.sums[channel] = float(total);
    }
}

template <class Number>
void run_forward(const BiasActParameters& p) {
    const Number* x = static_cast<const Number*>(p.x);
    Number* y = static_cast<Number*>(p.y);
    for_each_strip(p, [&](int64_t at, int n, const float* bias, const Scratch& scratch) -> const float* {
        float* strip = room(y + at, scratch[3]);
        forwards[p.activation](n, read(x + at, n, scratch[2]), bias, {p.alpha, p.gain, p.clamp}, strip);
        write(strip, n, y + at);
        return nullptr;
    });
}

template <class Number>
void run_backward(const BiasActParameters& p) {
    const Number *x = static_cast<const Number*>(p.x), *grad = static_cast<const Number*>(p.grad);
    Number* grad_x = static_cast<Number*>(p.y);
    Backward* work = p.of_output ? backward_of_output : backwards[p.activation];
    for_each_strip(p, [&](int64_t at, int n, const float* bias, const Scratch& scratch) -> const float* {
        float* strip = room(grad_x + at, scratch[4]);
        work(n, read(x + at, n, scratch[2]), bias, read(grad + at, n, scratch[3]), {p.alpha, p.gain, p.clamp}, strip);
        write(strip, n, grad_x + at);
        return strip;
    });
}

template <class Number>
void run_second(const BiasActParameters& p) {
    const Number *x = static_cast<const Number*>(p.x), *grad = static_cast<const Number*>(p.grad);
    const Number* grad_grad = static_cast<const Number*>(p.grad_grad);
    Number *grad_of_grad = static_cast<Number*>(p.y), *grad_x = static_cast<Number*>(p.grad_x);
    for_each_strip(p, [&](int64_t at, int n, const float* bias, const Scratch& scratch) -> const float* {
        float *of_grad = room(grad_of_grad + at, scratch[5]), *of_x = room(grad_x + at, scratch[6]);
        seconds[p.activation](n, read(x + at, n, scratch[2]), bias, read(grad + at, n, scratch[3]), read(grad_grad + at, n, scratch[4]),
                              {p.alpha, p.gain, p.clamp}, of_grad, of_x);
        write(of_grad, n, grad_of_grad + at);
        write(of_x, n, grad_x + at);
        return of_x;
    });
}

}  // namespace

#define FOR_ITS_FORMAT(run) (p->format == 0 ? run<float>(*p) : p->format == 1 ? run<BFloat16>(*p) : run<Float16>(*p))

extern "C" void bias_act_forward(const BiasActParameters* p) {
    FOR_ITS_FORMAT(run_forward);
}

extern "C" void bias_act_backward(const BiasActParameters* p) {
    FOR_ITS_FORMAT(run_backward);
}

extern "C" void bias_act_second(const BiasActParameters* p) {
    FOR_ITS_FORMAT(run_second);
}
