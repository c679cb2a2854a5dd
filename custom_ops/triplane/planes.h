// Bilinear features of points on the planes, and their gradients: what grid_sample does with zeros outside, summed over the planes.
#pragma once

#include "number_formats.h"
#include "scratch.h"
#include "transpose.h"

namespace triplane {

typedef Lanes::F F;
typedef Lanes::I I;

struct Point {
    F x, y, z;  // world units
};

constexpr int32_t MISSED = -1;  // the offset of taps on a plane that the point misses: what is there, a number or not, means nothing to it

// Where a point falls on one plane: the texel at the lower corner, how far it is past it, and which of the two neighbours exist.
struct Place {
    I u0, v0, u1, v1;                          // clamped to the plane
    F u_fraction, v_fraction;                  // of the way to u1, v1
    F has_u0, has_u1, has_v0, has_v1;          // 1 or 0
    INLINE F weight_u0() const { return (1.0f - u_fraction) * has_u0; }
    INLINE F weight_u1() const { return u_fraction * has_u1; }
    INLINE F weight_v0() const { return (1.0f - v_fraction) * has_v0; }
    INLINE F weight_v1() const { return v_fraction * has_v1; }
    // What to read: `offset`, or nothing of a plane that the point misses. (Of one that it touches, texels that do not exist have a neighbour's
    // place, which has a weight of its own.) A point without a position misses nothing: that it is no number is to be seen.
    INLINE I unless_missed(I offset) const {
        F none = Lanes::all(0.0f), texels = (has_u0 + has_u1) * (has_v0 + has_v1);
        F weight = (weight_u0() + weight_u1()) * (weight_v0() + weight_v1());
        return Lanes::select((texels == none) & (weight == none), Lanes::all(MISSED), offset);
    }
};

INLINE void place_along(F coordinate, int texels, I& lower, I& upper, F& fraction, F& has_lower, F& has_upper) {
    // The edges of the planes, not the middles of their outer texels, are at -1 and 1.
    F at = coordinate * (0.5f * texels) + (0.5f * texels - 0.5f);
    at = Lanes::min(Lanes::all(texels + 1.0f), Lanes::max(Lanes::all(-2.0f), at));
    I cell = Lanes::truncate(at + 4.0f) - 4;  // floor, for numbers above -4
    fraction = at - Lanes::to_float(cell);
    F one = Lanes::all(1.0f), none = Lanes::all(0.0f);
    I first = Lanes::all(0), last = Lanes::all(texels - 1);
    has_lower = Lanes::select((cell >= first) & (cell <= last), one, none);
    has_upper = Lanes::select((cell + 1 >= first) & (cell + 1 <= last), one, none);
    lower = Lanes::min(last, Lanes::max(first, cell));
    upper = Lanes::min(last, Lanes::max(first, cell + 1));
}

INLINE Place place_on_plane(const Call& call, int plane, Point p) {
    const float* axes = call.axes + 6 * plane;
    float scale = 2.0f / call.box_side;
    Place place;
    place_along((p.x * axes[0] + p.y * axes[1] + p.z * axes[2]) * scale, call.width, place.u0, place.u1, place.u_fraction, place.has_u0,
                place.has_u1);
    place_along((p.x * axes[3] + p.y * axes[4] + p.z * axes[5]) * scale, call.height, place.v0, place.v1, place.v_fraction, place.has_v0,
                place.has_v1);
    return place;
}

// Four taps per plane for each lane: offsets from the image's first element, and weights that contain the mean over the planes.
OUTLINED void find_taps(const Call& call, Point p, Taps taps) {
    float share = 1.0f / call.plane_count;
    for (int plane = 0; plane < call.plane_count; plane++) {
        Place at = place_on_plane(call, plane, p);
        I column0 = at.u0 * (int32_t)call.pixel_stride, column1 = at.u1 * (int32_t)call.pixel_stride;
        I row0 = at.v0 * (int32_t)call.row_stride + (int32_t)(plane * call.plane_stride);
        I row1 = at.v1 * (int32_t)call.row_stride + (int32_t)(plane * call.plane_stride);
        float* weight = taps.weights + 4 * plane * Lanes::WIDTH;
        int32_t* offset = taps.offsets + 4 * plane * Lanes::WIDTH;
        F v0 = at.weight_v0() * share, v1 = at.weight_v1() * share;
        Lanes::store(weight + 0 * Lanes::WIDTH, at.weight_u0() * v0);
        Lanes::store(weight + 1 * Lanes::WIDTH, at.weight_u1() * v0);
        Lanes::store(weight + 2 * Lanes::WIDTH, at.weight_u0() * v1);
        Lanes::store(weight + 3 * Lanes::WIDTH, at.weight_u1() * v1);
        Lanes::store(offset + 0 * Lanes::WIDTH, at.unless_missed(row0 + column0));
        Lanes::store(offset + 1 * Lanes::WIDTH, at.unless_missed(row0 + column1));
        Lanes::store(offset + 2 * Lanes::WIDTH, at.unless_missed(row1 + column0));
        Lanes::store(offset + 3 * Lanes::WIDTH, at.unless_missed(row1 + column1));
    }
    Lanes::sync();
}

// The gradient with respect to the point, from the dot products (in scratch.dots) of every tap's texel with the gradient of the features.
OUTLINED Point gradient_of_point(const Call& call, Point p, const Scratch& scratch) {
    Point grad = {Lanes::all(0.0f), Lanes::all(0.0f), Lanes::all(0.0f)};
    for (int plane = 0; plane < call.plane_count; plane++) {
        Place at = place_on_plane(call, plane, p);
        const float* axes = call.axes + 6 * plane;
        const float* dot = scratch.dots + 4 * plane * Lanes::WIDTH;
        F d00 = Lanes::load(dot), d10 = Lanes::load(dot + Lanes::WIDTH);
        F d01 = Lanes::load(dot + 2 * Lanes::WIDTH), d11 = Lanes::load(dot + 3 * Lanes::WIDTH);
        float per_plane = 1.0f / (call.plane_count * call.box_side);
        F along_u = at.weight_v0() * (d10 * at.has_u1 - d00 * at.has_u0) + at.weight_v1() * (d11 * at.has_u1 - d01 * at.has_u0);
        F along_v = at.weight_u0() * (d01 * at.has_v1 - d00 * at.has_v0) + at.weight_u1() * (d11 * at.has_v1 - d10 * at.has_v0);
        along_u = along_u * (call.width * per_plane);
        along_v = along_v * (call.height * per_plane);
        grad.x = grad.x + along_u * axes[0] + along_v * axes[3];
        grad.y = grad.y + along_u * axes[1] + along_v * axes[4];
        grad.z = grad.z + along_u * axes[2] + along_v * axes[5];
    }
    return grad;
}

#if UNPOSED_GPU

// A lane gathers the features of its own sample. rows [C][stride], this group's column first.
template <class Texel>
OUTLINED void gather_features(const Call& call, const Texel* image, Taps taps, const Scratch&, float* rows, int stride) {
    for (int c = 0; c < call.channels; c++) {
        float sum = 0;
        for (int plane = 0; plane < call.plane_count; plane++) {
            const float* weights = taps.weights + 4 * plane * Lanes::WIDTH;
            const int32_t* offsets = taps.offsets + 4 * plane * Lanes::WIDTH;
            if (Lanes::load(offsets) != MISSED) {
                UNROLL for (int corner = 0; corner < 4; corner++) {
                    int32_t offset = Lanes::load(offsets + corner * Lanes::WIDTH);
                    sum += Lanes::load(weights + corner * Lanes::WIDTH) * load(image + offset + c);
                }
            }
        }
        Lanes::store(rows + c * stride, sum);
    }
}

// The way back: into the planes' gradient, and the dot products for the points'.
template <class Texel>
OUTLINED void scatter_gradients(const Call& call, const Texel* image, float* grad_image, Taps taps, Scratch& scratch, const float* rows,
                                int stride, int count, bool wants_dots) {
    bool active = Lanes::lane() < count;
    for (int tap = 0; tap < 4 * call.plane_count; tap++) {
        float weight = Lanes::load(taps.weights + tap * Lanes::WIDTH), dot = 0;
        int32_t offset = Lanes::load(taps.offsets + tap * Lanes::WIDTH);
        for (int c = 0; c < call.channels; c++) {
            float gradient = Lanes::load(rows + c * stride);
            if (active && weight != 0.0f) {
                Lanes::add(grad_image + offset + c, gradient * weight);
            }
            if (wants_dots && offset != MISSED) {
                dot += gradient * load(image + offset + c);
            }
        }
        if (wants_dots) {
            Lanes::store(scratch.dots + tap * Lanes::WIDTH, dot);
        }
    }
}

#else

constexpr int64_t CACHE_BYTES = 1 << 19;  // what a core has for itself on today's processors; planes below it need no prefetching

// Texels of one sample, asked for while the sample before is computed, where the planes are too large for the cache.
template <class Texel>
INLINE void prefetch_texels(const Call& call, const Texel* image, Taps taps, int lane) {
    int64_t bytes = int64_t(call.plane_count) * call.height * call.width * call.channels * sizeof(Texel);
    if (lane < Lanes::WIDTH && bytes > CACHE_BYTES) {
        for (int tap = 0; tap < 4 * call.plane_count; tap++) {
            const char* texel = (const char*)(image + taps.offsets[tap * Lanes::WIDTH + lane]);
            for (int line = 0; line < call.channels * (int)sizeof(Texel); line += 64) {
                __builtin_prefetch(texel + line);
            }
        }
    }
}

template <int CHUNKS, class Texel>
INLINE void gather_chunks(const Call& call, const Texel* image, Taps taps, int lane, int c, float* to) {
    Eight sum[CHUNKS] = {};
    for (int plane = 0; plane < call.plane_count; plane++) {
        const float* weights = taps.weights + 4 * plane * Lanes::WIDTH + lane;
        const int32_t* offsets = taps.offsets + 4 * plane * Lanes::WIDTH + lane;
        if (offsets[0] == MISSED) {
            continue;
        }
        UNROLL for (int corner = 0; corner < 4; corner++) {
            float weight = weights[corner * Lanes::WIDTH];
            const Texel* texel = image + offsets[corner * Lanes::WIDTH] + c;
            UNROLL for (int i = 0; i < CHUNKS; i++) {
                sum[i] += weight * load_eight(texel + 8 * i);
            }
        }
    }
    UNROLL for (int i = 0; i < CHUNKS; i++) {
        store_eight(to + 8 * i, sum[i]);
    }
}

// The features of a group of samples, one sample after the other with its channels in vectors. rows [C][stride], this group's column first.
template <class Texel>
OUTLINED void gather_features(const Call& call, const Texel* image, Taps taps, const Scratch& scratch, float* rows, int stride) {
    int channels = call.channels, pitch = round_up(channels, 8);
    for (int lane = 0; lane < Lanes::WIDTH; lane++) {
        prefetch_texels(call, image, taps, lane + 1);
        float* to = scratch.texels + lane * pitch;
        int c = 0;
        for (; c + 32 <= channels; c += 32) {
            gather_chunks<4>(call, image, taps, lane, c, to + c);
        }
        for (; c + 8 <= channels; c += 8) {
            gather_chunks<1>(call, image, taps, lane, c, to + c);
        }
        for (; c < channels; c++) {
            float sum = 0;
            for (int tap = 0; tap < 4 * call.plane_count; tap++) {
                int32_t offset = taps.offsets[tap * Lanes::WIDTH + lane];
                sum += offset == MISSED ? 0.0f : taps.weights[tap * Lanes::WIDTH + lane] * load(image + offset + c);
            }
            to[c] = sum;
        }
    }
    transpose_block(scratch.texels, pitch, rows, stride, Lanes::WIDTH, channels);
}

template <class Texel>
INLINE float dot_product(const float* gradient, const Texel* texel, int channels) {
    Eight sums = {};
    float dot = 0;
    int c = 0;
    for (; c + 8 <= channels; c += 8) {
        sums += load_eight(gradient + c) * load_eight(texel + c);
    }
    for (; c < channels; c++) {
        dot += gradient[c] * load(texel + c);
    }
    for (int i = 0; i < 8; i++) {
        dot += sums[i];
    }
    return dot;
}

template <int CHUNKS>
INLINE void scatter_chunks(const Call& call, float* grad_image, Taps taps, int lane, int c, const float* from) {
    Eight gradient[CHUNKS];
    UNROLL for (int i = 0; i < CHUNKS; i++) {
        gradient[i] = load_eight(from + 8 * i);
    }
    for (int tap = 0; tap < 4 * call.plane_count; tap++) {
        float weight = taps.weights[tap * Lanes::WIDTH + lane];
        float* texel = grad_image + taps.offsets[tap * Lanes::WIDTH + lane] + c;
        if (weight != 0.0f) {
            UNROLL for (int i = 0; i < CHUNKS; i++) {
                store_eight(texel + 8 * i, load_eight(texel + 8 * i) + weight * gradient[i]);
            }
        }
    }
}

// The way back: into the planes' gradient, and the dot products for the points'.
template <class Texel>
OUTLINED void scatter_gradients(const Call& call, const Texel* image, float* grad_image, Taps taps, Scratch& scratch, const float* rows,
                                int stride, int count, bool wants_dots) {
    int channels = call.channels, pitch = round_up(channels, 8);
    transpose_block(rows, stride, scratch.texels, pitch, channels, Lanes::WIDTH);
    for (int lane = 0; lane < (count < Lanes::WIDTH ? count : Lanes::WIDTH); lane++) {
        const float* gradient = scratch.texels + lane * pitch;
        prefetch_texels(call, grad_image, taps, lane + 1);
        int c = 0;
        for (; c + 32 <= channels; c += 32) {
            scatter_chunks<4>(call, grad_image, taps, lane, c, gradient + c);
        }
        for (; c + 8 <= channels; c += 8) {
            scatter_chunks<1>(call, grad_image, taps, lane, c, gradient + c);
        }
        for (; c < channels; c++) {
            for (int tap = 0; tap < 4 * call.plane_count; tap++) {
                float weight = taps.weights[tap * Lanes::WIDTH + lane];
                if (weight != 0.0f) {
                    grad_image[taps.offsets[tap * Lanes::WIDTH + lane] + c] += weight * gradient[c];
                }
            }
        }
        for (int tap = 0; wants_dots && tap < 4 * call.plane_count; tap++) {
            int32_t offset = taps.offsets[tap * Lanes::WIDTH + lane];
            scratch.dots[tap * Lanes::WIDTH + lane] = offset == MISSED ? 0.0f : dot_product(gradient, image + offset, channels);
        }
    }
}

#endif

}  // namespace triplane
