// The kernels of a processor: rows of channels (channels-last) or of pixels (channels-first), as floats.
#include <memory>
#include <vector>

#include "strips.h"
#include "synthesis_epilogue.h"
#include "threads.h"

namespace {

using Parameters = SynthesisEpilogueParameters;

constexpr int STRIP = 1024;          // pixels of a channels-first row at a time
constexpr int ROWS_PER_FLUSH = 64;   // so many floats are summed as floats before a double takes them

struct Scalars {
    float slope, gain, clamp;
};

// One pixel of all channels; `shift` is its noise times strength.
void forward_pixel(int n, const float* RESTRICT x, const float* RESTRICT scale, const float* RESTRICT bias, float shift, Scalars s,
                   float* RESTRICT y) {
    for (int i = 0; i < n; i++) {
        y[i] = epilogue(x[i] * scale[i] + (bias[i] + shift), s.slope, s.gain, s.clamp);
    }
}

void backward_pixel(int n, const float* RESTRICT x, const float* RESTRICT scale, const float* RESTRICT bias, float noise, float shift,
                    const float* RESTRICT grad, Scalars s, float* RESTRICT grad_x, float* RESTRICT of_scale, float* RESTRICT of_bias,
                    float* RESTRICT of_strength) {
    for (int i = 0; i < n; i++) {
        float g = grad[i] * epilogue_derivative(x[i] * scale[i] + (bias[i] + shift), s.slope, s.gain, s.clamp);
        grad_x[i] = g * scale[i];
        of_scale[i] += g * x[i];
        of_bias[i] += g;
        of_strength[i] += g * noise;
    }
}

// Pixels of one channel.
void forward_channel(int n, const float* RESTRICT x, float scale, float bias, const float* RESTRICT noise, float strength, Scalars s,
                     float* RESTRICT y) {
    for (int i = 0; i < n; i++) {
        y[i] = epilogue(x[i] * scale + (bias + noise[i] * strength), s.slope, s.gain, s.clamp);
    }
}

void backward_channel(int n, const float* RESTRICT x, float scale, float bias, const float* RESTRICT noise, float strength,
                      const float* RESTRICT grad, Scalars s, float* RESTRICT grad_x, double (&sums)[SUMS]) {
    constexpr int LANES = 16;
    float lanes[SUMS][LANES] = {};
    for (int first = 0; first < n; first += LANES) {
        const auto add = [&](int lane) {
            int i = first + lane;
            float g = grad[i] * epilogue_derivative(x[i] * scale + (bias + noise[i] * strength), s.slope, s.gain, s.clamp);
            grad_x[i] = g * scale;
            lanes[OF_SCALE][lane] += g * x[i];
            lanes[OF_BIAS][lane] += g;
            lanes[OF_STRENGTH][lane] += g * noise[i];
        };
        if (n - first >= LANES) {
            for (int lane = 0; lane < LANES; lane++) {
                add(lane);
            }
        } else {
            for (int lane = 0; lane < n - first; lane++) {
                add(lane);
            }
        }
    }
    for (int k = 0; k < SUMS; k++) {
        for (float lane : lanes[k]) {
            sums[k] += lane;
        }
    }
}

template <class Number, bool BACKWARD>
void pixels_of_channels(const Parameters& p, int64_t first, int64_t last, double* totals) {
    const int pixels = p.shape.rows, channels = p.shape.columns;
    const Number *x = static_cast<const Number*>(p.x), *grad = static_cast<const Number*>(p.grad);
    Number* y = static_cast<Number*>(p.y);
    const float strength = p.noise ? *p.strength : 0.0f;
    const Scalars s = {p.slope, p.gain, p.clamp};
    std::unique_ptr<float[]> scratch(new float[size_t(3 + SUMS) * channels]());
    float *x_scratch = scratch.get(), *grad_scratch = x_scratch + channels, *y_scratch = grad_scratch + channels;
    float* partial = y_scratch + channels;
    int unflushed = 0;
    for (int64_t row = first; row < last; row++) {
        int64_t sample = row / pixels, pixel = row % pixels;
        const float* scale = p.scale + sample * channels;
        float noise = p.noise ? p.noise[(p.noise_per_sample ? sample * pixels : 0) + pixel] : 0.0f;
        const Number* from = x + row * channels;
        float* strip = room(y + row * channels, y_scratch);
        if (!BACKWARD) {
            forward_pixel(channels, read(from, channels, x_scratch), scale, p.bias, noise * strength, s, strip);
        } else {
            backward_pixel(channels, read(from, channels, x_scratch), scale, p.bias, noise, noise * strength,
                           read(grad + row * channels, channels, grad_scratch), s, strip, partial + OF_SCALE * channels,
                           partial + OF_BIAS * channels, partial + OF_STRENGTH * channels);
            if (++unflushed == ROWS_PER_FLUSH || row + 1 == last || pixel + 1 == pixels) {
                for (int i = 0; i < SUMS * channels; i++) {
                    totals[sample * SUMS * channels + i] += partial[i];
                    partial[i] = 0;
                }
                unflushed = 0;
            }
        }
        write(strip, channels, y + row * channels);
    }
}

template <class Number, bool BACKWARD>
void channels_of_pixels(const Parameters& p, int64_t first, int64_t last, double* totals) {
    const int channels = p.shape.rows, pixels = p.shape.columns;
    const Number *x = static_cast<const Number*>(p.x), *grad = static_cast<const Number*>(p.grad);
    Number* y = static_cast<Number*>(p.y);
    const float strength = p.noise ? *p.strength : 0.0f;
    const Scalars s = {p.slope, p.gain, p.clamp};
    float x_scratch[STRIP], grad_scratch[STRIP], y_scratch[STRIP], silence[STRIP] = {};
    for (int64_t row = first; row < last; row++) {
        int64_t sample = row / channels, channel = row % channels;
        double sums[SUMS] = {};
        for (int column = 0; column < pixels; column += STRIP) {
            int n = std::min(STRIP, pixels - column);
            int64_t at = row * pixels + column;
            const float* noise = p.noise ? p.noise + (p.noise_per_sample ? sample * pixels : 0) + column : silence;
            float* strip = room(y + at, y_scratch);
            if (!BACKWARD) {
                forward_channel(n, read(x + at, n, x_scratch), p.scale[row], p.bias[channel], noise, strength, s, strip);
            } else {
                backward_channel(n, read(x + at, n, x_scratch), p.scale[row], p.bias[channel], noise, strength,
                                 read(grad + at, n, grad_scratch), s, strip, sums);
            }
            write(strip, n, y + at);
        }
        for (int k = 0; BACKWARD && k < SUMS; k++) {
            totals[(sample * SUMS + k) * channels + channel] = sums[k];
        }
    }
}

template <class Number, bool BACKWARD>
void run(const Parameters& p) {
    const int64_t rows = int64_t(p.shape.samples) * p.shape.rows;
    const size_t sums = BACKWARD ? size_t(p.shape.samples) * SUMS * channel_count(p.shape) : 0;
    const int threads = int(std::max<int64_t>(1, std::min<int64_t>(p.threads, rows)));
    std::vector<double> totals(threads * sums);
    parallel_for(rows, threads, [&](int64_t first, int64_t last, int thread) {
        const auto work = p.shape.last ? pixels_of_channels<Number, BACKWARD> : channels_of_pixels<Number, BACKWARD>;
        work(p, first, last, totals.data() + thread * sums);
    });
    for (size_t i = 0; i < sums; i++) {
        double total = 0;
        for (int thread = 0; thread < threads; thread++) {
            total += totals[thread * sums + i];
        }
        p.sums[i] = float(total);
    }
}

template <bool BACKWARD>
void run_format(const Parameters& p) {
    const auto work = p.format == 0 ? run<float, BACKWARD> : p.format == 1 ? run<BFloat16, BACKWARD> : run<Float16, BACKWARD>;
    work(p);
}

}  // namespace

extern "C" void synthesis_epilogue_forward(const SynthesisEpilogueParameters* p) {
    run_format<false>(*p);
}

extern "C" void synthesis_epilogue_backward(const SynthesisEpilogueParameters* p) {
    run_format<true>(*p);
}
