// Light along one ray: where samples lie, how much of each the ray sees, and how that changes with densities and depths.
//
// The definitions are those of custom_ops/volume (sampling.py, compositing.py); lanes are samples or segments. Arrays are rounded up to whole
// groups of lanes: what stands behind the last sample is never read as one.
#pragma once

#include "functions.h"
#include "scratch.h"

namespace triplane {

typedef Lanes::F F;
typedef Lanes::I I;

constexpr float WEIGHT_FLOOR = 0.01f;  // keeps some fine samples everywhere
constexpr float EMPTY = 1e-6f;         // below this opacity a ray has seen nothing

struct Ray {
    int64_t index;    // over all images
    float near, far;
};

INLINE F clamped_gather(const float* p, I at, int last) {
    return Lanes::gather(p, Lanes::min(Lanes::all(last), Lanes::max(Lanes::all(0), at)));
}

// The fraction of [near, far] at which coarse samples lie.
INLINE F coarse_fraction(const Call& call, int64_t ray, int i) {
    F u = Lanes::all(0.5f);
    if (call.u_coarse) {
        u = Lanes::clamped_load(call.u_coarse + ray * call.coarse, i, call.coarse - 1);
    }
    return (Lanes::to_float(Lanes::index() + i) + u) / float(call.released ? call.coarse - 1 : call.coarse);
}

INLINE int segments_of(const Call& call, int samples) {
    return call.cells ? samples : samples + 1;
}

// Edges, optical depth and accumulated opacity of the ray's segments from scratch.t and scratch.raw, `samples` of them.
OUTLINED void march(const Call& call, Scratch& scratch, Ray ray, int samples) {
    int segments = segments_of(call, samples);
    float near = call.released ? scratch.t[0] : ray.near, far = call.released ? scratch.t[samples - 1] : ray.far;
    for (int k = 0; k <= segments; k += Lanes::WIDTH) {
        I i = Lanes::index() + k;
        F before = Lanes::clamped_load(scratch.t, k - 1, samples - 1);
        F edge = call.cells ? (before + Lanes::clamped_load(scratch.t, k, samples - 1)) * 0.5f : before;
        edge = Lanes::select(i == Lanes::all(0), Lanes::all(near), Lanes::select(i == Lanes::all(segments), Lanes::all(far), edge));
        Lanes::store(scratch.edges + k, edge);
        // The raw density of a segment: of its sample, or the mean of the samples at its ends.
        F raw = Lanes::clamped_load(scratch.raw, k, samples - 1);
        Lanes::store(scratch.segment_raw + k, call.cells ? raw : (Lanes::clamped_load(scratch.raw, k - 1, samples - 1) + raw) * 0.5f);
    }
    Lanes::sync();
    for (int k = 0; k < segments; k += Lanes::WIDTH) {
        F length = Lanes::clamped_load(scratch.edges, k + 1, segments) - Lanes::load(scratch.edges + k);
        F density = functions::softplus(Lanes::load(scratch.segment_raw + k) - call.density_shift) * call.density_scale;
        Lanes::store(scratch.ray_a + k, density * length);
    }
    Lanes::sync();
    Lanes::running_sum(scratch.ray_a, scratch.optical_depth, segments);
    for (int k = 0; k < segments; k += Lanes::WIDTH) {
        Lanes::store(scratch.accumulated + k, functions::one_minus_exp_of_minus(Lanes::load(scratch.optical_depth + k)));
    }
    Lanes::sync();
}

// How much light stops in segments k, k + 1, ... of `segments`.
INLINE F segment_weight(const Scratch& scratch, int k, int segments) {
    F before = Lanes::clamped_load(scratch.accumulated, k - 1, segments - 1);
    return Lanes::load(scratch.accumulated + k) - Lanes::select(Lanes::index() + k > Lanes::all(0), before, Lanes::all(0.0f));
}

// How much of samples k, k + 1, ... the ray sees: what stops in their cells, or between the middles (in accumulated opacity) of the segments
// around them.
INLINE F share_of_sample(const Call& call, const Scratch& scratch, int k, int samples) {
    int segments = segments_of(call, samples);
    if (call.cells) {
        return segment_weight(scratch, k, segments);
    }
    I i = Lanes::index() + k;
    F here = Lanes::load(scratch.accumulated + k), after = Lanes::clamped_load(scratch.accumulated, k + 1, segments - 1);
    F before = Lanes::clamped_load(scratch.accumulated, k - 1, segments - 1);
    F end = Lanes::select(i == Lanes::all(samples - 1), after, (here + after) * 0.5f);
    return end - Lanes::select(i > Lanes::all(0), (before + here) * 0.5f, Lanes::all(0.0f));
}

// How many of the first `count` numbers, in increasing order, are below x (or equal to it as well).
template <bool OR_EQUAL>
INLINE I count_below(const float* sorted, int count, F x) {
    I found = Lanes::all(0);
#if !UNPOSED_GPU
    for (int i = 0; i < count; i++) {  // quicker than a search, which fetches a number of its own for every lane
        F at = Lanes::all(sorted[i]);
        found -= OR_EQUAL ? at <= x : at < x;  // true is -1
    }
#else
    int step = 1;
    while (step < count) {
        step *= 2;
    }
    for (; step; step /= 2) {
        I next = found + step;
        F at = clamped_gather(sorted, next - 1, count - 1);
        found = Lanes::select((next <= Lanes::all(count)) & (OR_EQUAL ? at <= x : at < x), next, found);
    }
#endif
    return found;
}

// Fine depths at the quantiles u of the coarse march's weights, into `fine`.
OUTLINED void place_fine_samples(const Call& call, Scratch& scratch, Ray ray, float* fine) {
    int segments = segments_of(call, call.coarse);
    // As released: the weights between neighbouring samples without the first and the last, each given to the bin half a step before it.
    int first = call.released ? 1 : 0, weights = call.released ? call.coarse - 1 : segments;
    int bins = call.released ? weights - 2 : weights;
    for (int k = 0; k < segments; k += Lanes::WIDTH) {
        Lanes::store(scratch.ray_d + k, segment_weight(scratch, k, segments));
    }
    Lanes::sync();
    const float* weight = scratch.ray_d + first;
    for (int k = 0; k < bins; k += Lanes::WIDTH) {
        F before = Lanes::clamped_load(weight, k + first - 1, weights - 1), here = Lanes::clamped_load(weight, k + first, weights - 1);
        F after = Lanes::clamped_load(weight, k + first + 1, weights - 1);
        F smooth = (Lanes::max(before, here) + Lanes::max(here, after)) * 0.5f + WEIGHT_FLOOR;
        Lanes::store(scratch.ray_a + k, call.released ? smooth + 1e-5f : smooth);
    }
    Lanes::sync();
    Lanes::running_sum(scratch.ray_a, scratch.ray_b, bins);
    float total = scratch.ray_b[bins - 1];
    const float* edges = scratch.edges;
    if (call.released) {
        for (int k = 0; k <= bins; k += Lanes::WIDTH) {
            F middle = Lanes::clamped_load(scratch.t, k, call.coarse - 1) + Lanes::clamped_load(scratch.t, k + 1, call.coarse - 1);
            Lanes::store(scratch.ray_c + k, middle * 0.5f);
        }
        Lanes::sync();
        edges = scratch.ray_c;
    }
    for (int k = 0; k < call.fine; k += Lanes::WIDTH) {
        F u = Lanes::clamped_load(call.u_fine + ray.index * call.fine, k, call.fine - 1);
        F target = u * total;
        I bin = Lanes::min(Lanes::all(bins - 1), count_below<true>(scratch.ray_b, bins, target));
        F below = Lanes::select(bin > Lanes::all(0), clamped_gather(scratch.ray_b, bin - 1, bins - 1), Lanes::all(0.0f));
        F step = clamped_gather(scratch.ray_b, bin, bins - 1) - below;
        F fraction = (target - below) / Lanes::select(step < Lanes::all(1e-5f * total), Lanes::all(total), step);
        fraction = Lanes::min(Lanes::all(1.0f), Lanes::max(Lanes::all(0.0f), fraction));
        F lower = clamped_gather(edges, bin, bins), upper = clamped_gather(edges, bin + 1, bins);
        Lanes::store_first(fine + k, lower + (upper - lower) * fraction, call.fine - k);
    }
    Lanes::sync();
}

// scratch.t, raw and order: all samples of a ray in increasing depth, a coarse one before a fine one at the same depth.
OUTLINED void merge_samples(const Call& call, Scratch& scratch, const float* coarse_t, const float* coarse_raw, const float* fine_t,
                            const float* fine_raw) {
    // Depths that are not finite have no order and leave places empty; the numbers of samples there must be some.
    for (int k = 0; k < call.coarse + call.fine; k += Lanes::WIDTH) {
        Lanes::store(scratch.order + k, Lanes::all(0));
    }
    Lanes::sync();
    for (int k = 0; k < call.coarse; k += Lanes::WIDTH) {
        I i = Lanes::index() + k;
        F t = Lanes::clamped_load(coarse_t, k, call.coarse - 1);
        I place = call.fine ? i + count_below<false>(fine_t, call.fine, t) : i;
        Lanes::scatter_first(scratch.t, place, t, call.coarse - k);
        Lanes::scatter_first(scratch.raw, place, Lanes::clamped_load(coarse_raw, k, call.coarse - 1), call.coarse - k);
        Lanes::scatter_first(scratch.order, place, i, call.coarse - k);
    }
    for (int k = 0; k < call.fine; k += Lanes::WIDTH) {
        I i = Lanes::index() + k;
        F t = Lanes::clamped_load(fine_t, k, call.fine - 1);
        I place = i + count_below<true>(coarse_t, call.coarse, t);
        Lanes::scatter_first(scratch.t, place, t, call.fine - k);
        Lanes::scatter_first(scratch.raw, place, Lanes::clamped_load(fine_raw, k, call.fine - 1), call.fine - k);
        Lanes::scatter_first(scratch.order, place, i + call.coarse, call.fine - k);
    }
    Lanes::sync();
}

// Half of the light that stops has stopped before this depth: the segment in which that happens, and how far into it.
struct Median {
    int segment;
    float before, step, target;  // optical depths: at the segment's beginning, in it, and where the median is
    INLINE float fraction() const { return (target - before) / step; }
};

OUTLINED Median find_median(const Scratch& scratch, float opacity, int segments) {
    Median median;
#if defined(__CUDA_ARCH__)
    median.target = -log1pf(-0.5f * opacity);
#else
    median.target = float(-log1p(-0.5 * double(opacity)));
#endif
    int found = 0;  // the first segment at whose end the optical depth has reached the target
    while (found < segments - 1 && scratch.optical_depth[found] < median.target) {
        found++;
    }
    median.segment = found;
    median.before = found ? scratch.optical_depth[found - 1] : 0.0f;
    float step = scratch.optical_depth[found] - median.before;
    median.step = step > 0.0f ? step : 1.0f;
    return median;
}

// The depth of a marched ray whose shares are in scratch.ray_d.
OUTLINED float depth_of_ray(const Call& call, const Scratch& scratch, Ray ray, int samples) {
    int segments = segments_of(call, samples);
    float opacity = scratch.accumulated[segments - 1];
    if (call.median) {
        if (!(opacity > EMPTY)) {
            return scratch.edges[segments];
        }
        Median median = find_median(scratch, opacity, segments);
        float begin = scratch.edges[median.segment], end = scratch.edges[median.segment + 1];
        return begin + (end - begin) * median.fraction();
    }
    F sum = Lanes::all(0.0f);
    for (int k = 0; k < samples; k += Lanes::WIDTH) {
        F part = Lanes::load(scratch.ray_d + k) * Lanes::load(scratch.t + k);
        sum += Lanes::select(Lanes::index() + k < Lanes::all(samples), part, Lanes::all(0.0f));
    }
    float total = Lanes::sum(sum);
    return opacity > EMPTY ? total / opacity : (opacity <= EMPTY ? (call.released ? float_of(0x7f800000u) : ray.far) : opacity);
}

struct RayGradient {
    float near, far;
};

// From gradients of the shares (scratch.ray_a, in increasing depth), depth and opacity to those of raw densities (into scratch.ray_b) and
// depths (into scratch.ray_c) of the samples, and of the ray's ends. scratch.ray_d holds the shares.
OUTLINED RayGradient march_backward(const Call& call, Scratch& scratch, Ray ray, int samples, float grad_depth, float grad_opacity) {
    int segments = segments_of(call, samples);
    float opacity = scratch.accumulated[segments - 1];
    bool seen = opacity > EMPTY;
    RayGradient ends = {0.0f, 0.0f};
    float direct_depth = 0.0f;  // the gradient of sum(share * t) with an expected depth
    Median median = {0, 0.0f, 1.0f, 0.0f};
    float begin_gradient = 0.0f, end_gradient = 0.0f, before_gradient = 0.0f, through_gradient = 0.0f;
    if (!seen) {
        ends.far = call.released ? 0.0f : grad_depth;
    } else if (call.median) {
        median = find_median(scratch, opacity, segments);
        float q = median.fraction(), length = scratch.edges[median.segment + 1] - scratch.edges[median.segment];
        begin_gradient = grad_depth * (1.0f - q);
        end_gradient = grad_depth * q;
        float slope = grad_depth * length / median.step;
        before_gradient = slope * (q - 1.0f);   // optical depth at the beginning of the segment
        through_gradient = -slope * q;          // at its end
        grad_opacity += slope * 0.5f / (1.0f - 0.5f * opacity);
    } else {
        direct_depth = grad_depth / opacity;
        grad_opacity -= direct_depth * depth_of_ray(call, scratch, ray, samples);
    }
    // The share of a sample is the difference of two bounds; a bound is an accumulated opacity, or the mean of two.
    for (int k = 0; k < samples; k += Lanes::WIDTH) {
        F gradient = Lanes::load(scratch.ray_a + k) + direct_depth * Lanes::load(scratch.t + k);
        Lanes::store_first(scratch.ray_b + k, gradient, samples - k);
    }
    Lanes::sync();
    for (int k = 0; k < segments; k += Lanes::WIDTH) {
        I i = Lanes::index() + k;
        F none = Lanes::all(0.0f);
        // of bounds j, j + 1, ...: that of share j less that of share j + 1
        auto of_bound = [&](int j) {
            F own = Lanes::clamped_load(scratch.ray_b, j, samples - 1), next = Lanes::clamped_load(scratch.ray_b, j + 1, samples - 1);
            return own - Lanes::select(Lanes::index() + j < Lanes::all(samples - 1), next, none);
        };
        F of_accumulated;
        if (call.cells) {
            of_accumulated = of_bound(k);
        } else {
            // Accumulated opacity i is half of bounds i - 1 and i; the last one is all of the last bound.
            F left = Lanes::select(i > Lanes::all(0), of_bound(k - 1), none);
            F right = Lanes::select(i < Lanes::all(samples - 1), of_bound(k), none);
            of_accumulated = Lanes::select(i == Lanes::all(samples), left, (left + right) * 0.5f);
        }
        of_accumulated += Lanes::select(i == Lanes::all(segments - 1), Lanes::all(grad_opacity), none);
        F of_optical_depth = of_accumulated * (1.0f - Lanes::load(scratch.accumulated + k));
        if (seen && call.median) {
            of_optical_depth += Lanes::select(i == Lanes::all(median.segment - 1), Lanes::all(before_gradient), none);
            of_optical_depth += Lanes::select(i == Lanes::all(median.segment), Lanes::all(through_gradient), none);
        }
        Lanes::store(scratch.ray_c + k, of_optical_depth);
    }
    Lanes::sync();
    Lanes::running_sum_from_end(scratch.ray_c, scratch.ray_a, segments);
    // ray_a: the gradient of density * length of every segment -> of its raw density (ray_b) and of its length (ray_a).
    for (int k = 0; k < segments; k += Lanes::WIDTH) {
        F gradient = Lanes::load(scratch.ray_a + k), raw = Lanes::load(scratch.segment_raw + k) - call.density_shift;
        F length = Lanes::clamped_load(scratch.edges, k + 1, segments) - Lanes::load(scratch.edges + k);
        Lanes::store(scratch.ray_b + k, gradient * length * functions::sigmoid(raw) * call.density_scale);
        Lanes::store(scratch.ray_c + k, gradient * functions::softplus(raw) * call.density_scale);
    }
    Lanes::sync();
    // An edge ends one segment and begins the next.
    for (int k = 0; k <= segments; k += Lanes::WIDTH) {
        I i = Lanes::index() + k;
        F none = Lanes::all(0.0f);
        F gradient = Lanes::select(i > Lanes::all(0), Lanes::clamped_load(scratch.ray_c, k - 1, segments - 1), none) -
                     Lanes::select(i < Lanes::all(segments), Lanes::clamped_load(scratch.ray_c, k, segments - 1), none);
        if (seen && call.median) {
            gradient += Lanes::select(i == Lanes::all(median.segment), Lanes::all(begin_gradient), none);
            gradient += Lanes::select(i == Lanes::all(median.segment + 1), Lanes::all(end_gradient), none);
        }
        Lanes::store(scratch.ray_a + k, gradient);
    }
    Lanes::sync();
    float of_near = scratch.ray_a[0], of_far = scratch.ray_a[segments];
    if (!seen && call.median) {
        of_far += grad_depth;  // its depth is its last edge
        ends.far = 0.0f;
    }
    for (int k = 0; k < samples; k += Lanes::WIDTH) {
        I i = Lanes::index() + k;
        F none = Lanes::all(0.0f);
        F of_raw, of_t;
        if (call.cells) {
            of_raw = Lanes::load(scratch.ray_b + k);
            F left = Lanes::select(i > Lanes::all(0), Lanes::load(scratch.ray_a + k), none);
            F right = Lanes::select(i < Lanes::all(samples - 1), Lanes::clamped_load(scratch.ray_a, k + 1, segments), none);
            of_t = (left + right) * 0.5f;
        } else {
            // Sample i is half of segments i and i + 1; the first and the last segment belong to one sample.
            F left = Lanes::load(scratch.ray_b + k), right = Lanes::clamped_load(scratch.ray_b, k + 1, segments - 1);
            of_raw = Lanes::select(i == Lanes::all(0), left, left * 0.5f) + Lanes::select(i == Lanes::all(samples - 1), right, right * 0.5f);
            of_t = Lanes::clamped_load(scratch.ray_a, k + 1, segments);
        }
        of_t += direct_depth * Lanes::load(scratch.ray_d + k);
        if (call.released) {
            of_t += Lanes::select(i == Lanes::all(0), Lanes::all(of_near), none);
            of_t += Lanes::select(i == Lanes::all(samples - 1), Lanes::all(of_far), none);
        }
        Lanes::store_first(scratch.segment_raw + k, of_raw, samples - k);
        Lanes::store_first(scratch.ray_c + k, of_t, samples - k);
    }
    Lanes::sync();
    for (int k = 0; k < samples; k += Lanes::WIDTH) {
        Lanes::store_first(scratch.ray_b + k, Lanes::load(scratch.segment_raw + k), samples - k);
    }
    Lanes::sync();
    if (!call.released) {
        ends.near += of_near;
        ends.far += of_far;
    }
    return ends;
}

}  // namespace triplane
