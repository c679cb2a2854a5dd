// The kernel of a processor. An output row is made in two steps: a weighted sum of a few input rows gives a line of floats that stays in
// the first-level cache, then weighted sums of shifted copies of that line give the outputs. Both steps are `weighted_sum`, whose innermost
// loop runs over consecutive numbers: channels where there are many, pixels where there are few.
//
// A filter that is an outer product needs one line; any other needs one per column of the filter, each with weights of its own down the
// image and weight one along it.
#include <cmath>
#include <vector>

#include "threads.h"
#include "upfirdn2d.h"

namespace {

// From this many channels on, the numbers of one pixel fill vectors; with fewer, vectors span pixels, and strides along x take a shuffle.
constexpr int MANY_CHANNELS = 8;

constexpr int LANES = 8;
using Vector = float __attribute__((vector_size(4 * LANES)));

template <class Number>
inline Vector load_vector(const Number* p) {
    float numbers[LANES];
    for (int i = 0; i < LANES; i++) {
        numbers[i] = load(p + i);
    }
    Vector v;
    memcpy(&v, numbers, sizeof v);
    return v;
}

template <class Number>
inline void store_vector(Number* p, Vector v) {
    float numbers[LANES];
    memcpy(numbers, &v, sizeof v);
    for (int i = 0; i < LANES; i++) {
        store(p + i, numbers[i]);
    }
}

// Up to `capacity` pointers to numbers that are to be summed, each with its weight.
template <class In>
struct Terms {
    std::vector<const In*> sources;
    std::vector<float> weights;
    int count = 0;

    explicit Terms(int capacity) : sources(capacity), weights(capacity) {}

    void add(const In* source, float weight) {
        sources[count] = source;
        weights[count] = weight;
        count++;
    }
};

template <int VECTORS, class In, class Out>
inline void weighted_block(Out* out, const Terms<In>& terms, int64_t offset) {
    Vector sums[VECTORS] = {};
    const In* const* sources = terms.sources.data();
    const float* weights = terms.weights.data();
    for (int t = 0; t < terms.count; t++) {
        const In* source = sources[t] + offset;
        const float weight = weights[t];
        UNROLL for (int i = 0; i < VECTORS; i++) {
            sums[i] += weight * load_vector(source + i * LANES);
        }
    }
    UNROLL for (int i = 0; i < VECTORS; i++) {
        store_vector(out + i * LANES, sums[i]);
    }
}

// `count` runs of `length` consecutive numbers, each `step` after the one before.
struct Runs {
    int64_t count, length, in_step, out_step;
};

// out[q out_step + i] = sum_t weight[t] source[t][q in_step + i]
template <class In, class Out>
void weighted_sum(Out* out, const Terms<In>& terms, Runs runs) {
    for (int64_t q = 0; q < runs.count; q++) {
        Out* target = out + q * runs.out_step;
        const int64_t offset = q * runs.in_step;
        int64_t i = 0;
        for (; i + 4 * LANES <= runs.length; i += 4 * LANES) {
            weighted_block<4>(target + i, terms, offset + i);
        }
        for (; i + 2 * LANES <= runs.length; i += 2 * LANES) {
            weighted_block<2>(target + i, terms, offset + i);
        }
        for (; i + LANES <= runs.length; i += LANES) {
            weighted_block<1>(target + i, terms, offset + i);
        }
        if (i < runs.length && runs.length >= LANES) {
            // The rest fills no vector; a vector that ends with it computes some outputs once more, to the same values.
            i = runs.length - LANES;
            weighted_block<1>(target + i, terms, offset + i);
            continue;
        }
        for (; i < runs.length; i++) {
            float sum = 0.0f;
            for (int t = 0; t < terms.count; t++) {
                sum += terms.weights[t] * load(terms.sources[t] + offset + i);
            }
            store(target + i, sum);
        }
    }
}

// out[(s out_step + q) channels + i] = in[(q strands + s) channels + i]: every strands-th pixel together; or back, with `gathers`.
template <bool GATHERS, int STRANDS, int CHANNELS, class In, class Out>
void deal_fixed(Out* out, const In* in, int64_t strand_pixels, int64_t pixels) {
    for (int64_t q = 0; q < pixels; q++) {
        UNROLL for (int s = 0; s < STRANDS; s++) {
            UNROLL for (int i = 0; i < CHANNELS; i++) {
                const int64_t apart = (s * strand_pixels + q) * CHANNELS + i, together = (q * STRANDS + s) * CHANNELS + i;
                store(out + (GATHERS ? together : apart), load(in + (GATHERS ? apart : together)));
            }
        }
    }
}

template <bool GATHERS, class In, class Out>
void deal(Out* out, const In* in, int strands, int channels, int64_t strand_pixels, int64_t pixels) {
    const int64_t whole = pixels / strands;
    int64_t done = 0;
    if (strands == 2 && channels == 1) {
        deal_fixed<GATHERS, 2, 1>(out, in, strand_pixels, whole);
        done = 2 * whole;
    } else if (strands == 2 && channels == 3) {
        deal_fixed<GATHERS, 2, 3>(out, in, strand_pixels, whole);
        done = 2 * whole;
    }
    for (int64_t x = done; x < pixels; x++) {
        for (int i = 0; i < channels; i++) {
            const int64_t apart = (x % strands * strand_pixels + x / strands) * channels + i, together = x * channels + i;
            store(out + (GATHERS ? together : apart), load(in + (GATHERS ? apart : together)));
        }
    }
}

// Weights in the order in which taps meet pixels.
struct Filter {
    int lines;                 // 1 for an outer product, else taps_x
    std::vector<float> down;   // [lines, taps_y]; carries the gain
    std::vector<float> along;  // [taps_x]
};

Filter split(const Upfirdn2dParameters& p) {
    const int kx = p.taps_x, ky = p.taps_y;
    Filter filter{1, std::vector<float>(ky), std::vector<float>(kx)};
    if (p.separable) {
        for (int t = 0; t < kx; t++) {
            filter.along[t] = p.f[tap_index(t, kx, p.flip)];
            filter.down[t] = filter.along[t] * p.gain;
        }
        return filter;
    }
    auto tap = [&](int y, int x) { return p.f[tap_index(y, ky, p.flip) * kx + tap_index(x, kx, p.flip)]; };
    int pivot_y = 0, pivot_x = 0;
    for (int y = 0; y < ky; y++) {
        for (int x = 0; x < kx; x++) {
            if (std::fabs(tap(y, x)) > std::fabs(tap(pivot_y, pivot_x))) {
                pivot_y = y;
                pivot_x = x;
            }
        }
    }
    const float pivot = tap(pivot_y, pivot_x);
    bool outer_product = pivot != 0.0f;
    for (int y = 0; y < ky && outer_product; y++) {
        for (int x = 0; x < kx; x++) {
            // Rounding may part an outer product from its factors by this much, and nothing else may.
            outer_product &= std::fabs(tap(y, pivot_x) * (tap(pivot_y, x) / pivot) - tap(y, x)) <= 1.2e-7f * std::fabs(pivot);
        }
    }
    for (int x = 0; x < kx; x++) {
        filter.along[x] = outer_product ? tap(pivot_y, x) / pivot : 1.0f;
    }
    filter.lines = outer_product ? 1 : kx;
    filter.down.resize(filter.lines * ky);
    for (int line = 0; line < filter.lines; line++) {
        for (int y = 0; y < ky; y++) {
            filter.down[line * ky + y] = tap(y, outer_product ? pivot_x : line) * p.gain;
        }
    }
    return filter;
}

// Makes output rows, one at a time.
template <class Number>
class RowMaker {
public:
    RowMaker(const Upfirdn2dParameters& p, const Filter& filter)
        : p(p), filter(filter), strands(p.channels < MANY_CHANNELS ? p.down_x : 1), phases(p.channels < MANY_CHANNELS ? p.up_x : 1),
          down(p.taps_y) {
        const int32_t channels = p.channels;
        // A line holds the pixels [first, last) that any output sees; those outside the image are and stay zero.
        const int32_t last_position = (p.out_width - 1) * p.down_x - p.left + p.taps_x - 1;
        first = std::min(0, floor_divided(-p.left + p.up_x - 1, p.up_x));
        line_pixels = std::max(p.in_width, floor_divided(last_position, p.up_x) + 1) - first;
        strand_pixels = (line_pixels + strands - 1) / strands;
        lines.assign(filter.lines, std::vector<float>(int64_t(strand_pixels) * strands * channels));
        straight.resize(strands > 1 ? int64_t(line_pixels) * channels : 0);
        phase_pixels = (p.out_width + p.up_x - 1) / p.up_x;
        apart.resize(phases > 1 ? int64_t(phase_pixels) * phases * channels : 0);
        for (int32_t phase = 0; phase < p.up_x; phase++) {
            // The outputs phase, phase + up, ... see the zeros between pixels alike and lie `down` pixels apart.
            const int32_t position = phase * p.down_x - p.left;
            const int32_t pixel = floor_divided(position + p.up_x - 1, p.up_x);
            Terms<float>& terms = along.emplace_back(p.taps_x);
            for (int32_t t = pixel * p.up_x - position, i = pixel - first; t < p.taps_x; t += p.up_x, i++) {
                const int64_t place = int64_t(i % strands) * strand_pixels + i / strands;
                terms.add(lines[filter.lines == 1 ? 0 : t].data() + place * channels, filter.along[t]);
            }
        }
    }

    void make(int64_t image, int32_t row) {
        for (int line = 0; line < filter.lines; line++) {
            sum_rows(line, image, row);
        }
        const int32_t channels = p.channels;
        Number* out = static_cast<Number*>(p.y) + (image * p.out_height + row) * p.out_width * channels;
        for (int32_t phase = 0; phase < std::min(p.up_x, p.out_width); phase++) {
            const int64_t outputs = (p.out_width - phase + p.up_x - 1) / p.up_x;
            if (phases > 1) {
                weighted_sum(&apart[int64_t(phase) * phase_pixels * channels], along[phase], Runs{1, outputs * channels, 0, 0});
            } else if (strands == p.down_x && p.up_x == 1) {
                weighted_sum(out, along[0], Runs{1, outputs * channels, 0, 0});
            } else {
                weighted_sum(out + phase * channels, along[phase],
                             Runs{outputs, channels, int64_t(p.down_x) * channels, int64_t(p.up_x) * channels});
            }
        }
        if (phases > 1) {
            deal<true>(out, apart.data(), phases, channels, phase_pixels, p.out_width);
        }
    }

private:
    void sum_rows(int line, int64_t image, int32_t row) {
        const int64_t row_length = int64_t(p.in_width) * p.channels;
        const Number* x = static_cast<const Number*>(p.x) + image * p.in_height * row_length;
        const int32_t position = row * p.down_y - p.top;
        const int32_t pixel = floor_divided(position + p.up_y - 1, p.up_y);
        down.count = 0;
        for (int32_t t = pixel * p.up_y - position, i = pixel; t < p.taps_y; t += p.up_y, i++) {
            if (0 <= i && i < p.in_height) {
                down.add(x + i * row_length, filter.down[line * p.taps_y + t]);
            }
        }
        float* target = (strands > 1 ? straight : lines[line]).data() - int64_t(first) * p.channels;
        weighted_sum(target, down, Runs{1, row_length, 0, 0});
        if (strands > 1) {
            deal<false>(lines[line].data(), straight.data(), strands, p.channels, strand_pixels, line_pixels);
        }
    }

    const Upfirdn2dParameters& p;
    const Filter& filter;
    const int32_t strands, phases;  // pixels of one residue modulo down (up) are kept together where channels are few
    int32_t first, line_pixels, strand_pixels, phase_pixels;
    std::vector<std::vector<float>> lines;
    std::vector<float> straight, apart;
    Terms<Number> down;
    std::vector<Terms<float>> along;
};

template <class Number>
void run(const Upfirdn2dParameters& p) {
    const Filter filter = split(p);
    parallel_for(p.images * p.out_height, p.threads, [&](int64_t begin, int64_t end, int) {
        RowMaker<Number> maker(p, filter);
        int64_t image = begin / p.out_height;
        int32_t row = int32_t(begin % p.out_height);
        for (int64_t i = begin; i < end; i++) {
            maker.make(image, row);
            if (++row == p.out_height) {
                row = 0;
                image++;
            }
        }
    });
}

}  // namespace

extern "C" void upfirdn2d_float32(const Upfirdn2dParameters* p) {
    run<float>(*p);
}

extern "C" void upfirdn2d_bfloat16(const Upfirdn2dParameters* p) {
    run<BFloat16>(*p);
}

extern "C" void upfirdn2d_float16(const Upfirdn2dParameters* p) {
    run<Float16>(*p);
}
