// Rendering a packet of rays, forward and backward, with nothing kept per sample but its depth: what the backward pass needs it computes again.
#pragma once

#include "decoder.h"
#include "planes.h"
#include "ray.h"

namespace triplane {

// Some rays of one image, computed together. Samples of a packet stand in columns: `begin` + ray * `each` + sample, for each of two passes.
struct Packet {
    int64_t image;
    int64_t first_ray;  // over all images
    int rays;
};

struct Pass {
    int begin;  // column of its first sample
    int each;   // samples per ray
};

INLINE int64_t packets_per_image(const Call& call, const Scratch& scratch) {
    return (call.rays + scratch.packet_rays - 1) / scratch.packet_rays;
}

// Packets walk over a picture in tiles of 8 x 8 rays: neighbours look at the same texels, which are then still in the cache.
INLINE Packet packet_number(const Call& call, const Scratch& scratch, int64_t number) {
    constexpr int TILE = 8;
    int64_t each = packets_per_image(call, scratch), image = number / each, first = (number % each) * scratch.packet_rays;
    int row = call.rays_per_row;
    if (row && row % TILE == 0 && TILE % scratch.packet_rays == 0) {
        int64_t tile = first / (TILE * TILE), inside = first % (TILE * TILE);
        first = (tile / (row / TILE) * TILE + inside / TILE) * row + tile % (row / TILE) * TILE + inside % TILE;
    }
    int64_t left = call.rays - first;
    return {image, image * call.rays + first, int(left < scratch.packet_rays ? left : scratch.packet_rays)};
}

INLINE Ray ray_of(const Call& call, const Packet& packet, int ray) {
    int64_t index = packet.first_ray + ray;
    return {index, call.near ? call.near[index] : 0.0f, call.far ? call.far[index] : 0.0f};
}

// The rays of a group of samples; lanes behind the last sample repeat it.
struct Samples {
    I ray;  // of the packet
    Point origin, direction;
    F t;
    INLINE Point point() const { return {origin.x + t * direction.x, origin.y + t * direction.y, origin.z + t * direction.z}; }
};

// The vectors [ray][3] of some rays.
INLINE Point vectors_of(const float* p, I ray) {
#if !UNPOSED_GPU
    if (ray[0] == ray[Lanes::WIDTH - 1]) {  // in increasing order: all are one
        return {Lanes::all(p[3 * ray[0]]), Lanes::all(p[3 * ray[0] + 1]), Lanes::all(p[3 * ray[0] + 2])};
    }
#endif
    return {Lanes::gather(p, ray * 3), Lanes::gather(p, ray * 3 + 1), Lanes::gather(p, ray * 3 + 2)};
}

INLINE Samples samples_at(const Call& call, const Packet& packet, const Scratch& scratch, Pass pass, int sample) {
    Samples s;
    int count = packet.rays * pass.each;
    I number = Lanes::min(Lanes::all(count - 1), Lanes::index() + sample);
    s.ray = Lanes::truncate((Lanes::to_float(number) + 0.5f) / float(pass.each));
    s.origin = vectors_of(call.origins + 3 * packet.first_ray, s.ray);
    if (!call.directions) {
        s.direction = {Lanes::all(0.0f), Lanes::all(0.0f), Lanes::all(0.0f)};
        s.t = Lanes::all(0.0f);
        return s;
    }
    s.direction = vectors_of(call.directions + 3 * packet.first_ray, s.ray);
    s.t = Lanes::clamped_load(scratch.sample_depth + pass.begin, sample, count - 1);
    return s;
}

INLINE F distance_from_centre(Point p) {
    F square = p.x * p.x + p.y * p.y + p.z * p.z;
    F root;
#if UNPOSED_GPU
    root = sqrtf(square);
#else
    for (int lane = 0; lane < Lanes::WIDTH; lane++) {
        root[lane] = __builtin_sqrtf(square[lane]);
    }
#endif
    return root;
}

// Features of `samples` samples of a pass from its sample `from` on, into the rows of features from `column` on.
template <class Texel>
OUTLINED void look_up(const Call& call, const Packet& packet, Scratch& scratch, Pass pass, int from, int samples, int column) {
    const Texel* image = (const Texel*)call.planes + packet.image * call.image_stride;
    for (int k = 0; k < samples; k += Lanes::WIDTH) {
        Taps taps = scratch.taps_at(call, column + k);
        Lanes::sync();
        find_taps(call, samples_at(call, packet, scratch, pass, from + k).point(), taps);
        gather_features(call, image, taps, scratch, scratch.features + column + k, scratch.hidden_columns);
    }
    Lanes::sync();
}

INLINE bool has_priors(const Call& call) { return call.outside_strength != 0.0f || call.core_strength != 0.0f; }

// Raw density: what the decoder said, less the prior outside, and more of it in the core.
OUTLINED void adjust_density(const Call& call, const Packet& packet, const Scratch& scratch, Pass pass, int from, int samples) {
    float* raw = scratch.outputs + pass.begin + from;
    if (has_priors(call)) {
        F none = Lanes::all(0.0f);
        for (int k = 0; k < samples; k += Lanes::WIDTH) {
            F distance = distance_from_centre(samples_at(call, packet, scratch, pass, from + k).point());
            F lost = Lanes::max(none, distance - call.outside_radius) * call.outside_strength;
            F won = Lanes::max(none, Lanes::all(call.core_radius) - distance) * call.core_strength;
            Lanes::store(raw + k, Lanes::load(raw + k) - lost + won);
        }
    }
}

OUTLINED void add_noise(const Call& call, Ray ray, float* raw, int first, int count) {
    if (call.noise) {
        const float* noise = call.noise + ray.index * (call.coarse + call.fine) + first;
        for (int k = 0; k < count; k += Lanes::WIDTH) {
            Lanes::store_first(raw + k, Lanes::load(raw + k) + Lanes::clamped_load(noise, k, count - 1), count - k);
        }
        Lanes::sync();
    }
}

// Raw densities and colours of all samples of a pass.
template <class Texel>
OUTLINED void evaluate(const Call& call, const Packet& packet, Scratch& scratch, Pass pass) {
    int samples = round_up(packet.rays * pass.each, Lanes::WIDTH), span = KEEPS_SAMPLES ? samples : Lanes::WIDTH;
    for (int from = 0; from < samples; from += span) {
        int column = KEEPS_SAMPLES ? pass.begin + from : 0;
        look_up<Texel>(call, packet, scratch, pass, from, span, column);
        decode_hidden(call, scratch, column, span);
        decode_outputs(call, scratch, column, scratch.outputs + pass.begin + from, scratch.columns, span, false);
        adjust_density(call, packet, scratch, pass, from, span);
    }
    Lanes::sync();
}

// scratch.share of all samples of a marched ray; the shares in increasing depth stay in ray_d.
OUTLINED void share_out(const Call& call, const Scratch& scratch, Pass coarse_pass, Pass fine_pass, int ray) {
    int samples = call.coarse + call.fine;
    for (int k = 0; k < samples; k += Lanes::WIDTH) {
        F share = share_of_sample(call, scratch, k, samples);
        Lanes::store_first(scratch.ray_d + k, share, samples - k);
        I sample = Lanes::load(scratch.order + k);
        I column = Lanes::select(sample < Lanes::all(call.coarse), sample + (coarse_pass.begin + ray * coarse_pass.each),
                                 sample + (fine_pass.begin + ray * fine_pass.each - call.coarse));
        Lanes::scatter_first(scratch.share, column, share, samples - k);
    }
    Lanes::sync();
}

OUTLINED float weighted_sum(const float* share, const float* row, int begin, int count) {
    F sum = Lanes::all(0.0f);
    int k = 0;
    for (; k + Lanes::WIDTH <= count; k += Lanes::WIDTH) {
        sum += Lanes::load(share + begin + k) * Lanes::load(row + begin + k);
    }
    if (k < count) {
        F product = Lanes::clamped_load(share + begin, k, count - 1) * Lanes::clamped_load(row + begin, k, count - 1);
        sum += Lanes::select(Lanes::index() + k < Lanes::all(count), product, Lanes::all(0.0f));
    }
    return Lanes::sum(sum);
}

template <class Texel>
INLINE void render_packet(const Call& call, Packet packet, Scratch& scratch) {
    int samples = call.coarse + call.fine, features = call.widths[call.layers] - 1;
    Pass coarse = {0, call.coarse}, fine = {round_up(scratch.packet_rays * call.coarse, Lanes::WIDTH), call.fine};
    float *t = scratch.sample_depth, *raw = scratch.outputs;
    for (int r = 0; r < packet.rays; r++) {
        Ray ray = ray_of(call, packet, r);
        for (int k = 0; k < call.coarse; k += Lanes::WIDTH) {
            F at = coarse_fraction(call, ray.index, k) * (ray.far - ray.near) + ray.near;
            Lanes::store_first(t + r * call.coarse + k, at, call.coarse - k);
        }
    }
    Lanes::sync();
    evaluate<Texel>(call, packet, scratch, coarse);
    for (int r = 0; r < packet.rays; r++) {
        Ray ray = ray_of(call, packet, r);
        add_noise(call, ray, raw + r * call.coarse, 0, call.coarse);
        if (call.fine) {
            for (int k = 0; k < call.coarse; k += Lanes::WIDTH) {
                Lanes::store(scratch.t + k, Lanes::load(t + r * call.coarse + k));
                Lanes::store(scratch.raw + k, Lanes::load(raw + r * call.coarse + k));
            }
            Lanes::sync();
            march(call, scratch, ray, call.coarse);
            place_fine_samples(call, scratch, ray, t + fine.begin + r * call.fine);
        }
    }
    if (call.fine) {
        evaluate<Texel>(call, packet, scratch, fine);
    }
    for (int r = 0; r < packet.rays; r++) {
        Ray ray = ray_of(call, packet, r);
        const float *coarse_t = t + r * call.coarse, *fine_t = t + fine.begin + r * call.fine;
        add_noise(call, ray, raw + fine.begin + r * call.fine, call.coarse, call.fine);
        merge_samples(call, scratch, coarse_t, raw + r * call.coarse, fine_t, raw + fine.begin + r * call.fine);
        march(call, scratch, ray, samples);
        share_out(call, scratch, coarse, fine, r);
        for (int f = 0; f < features; f++) {
            const float* row = scratch.outputs + (f + 1) * scratch.columns;
            float sum = weighted_sum(scratch.share, row, r * call.coarse, call.coarse);
            sum += call.fine ? weighted_sum(scratch.share, row, fine.begin + r * call.fine, call.fine) : 0.0f;
            if (Lanes::first()) {
                call.features[ray.index * features + f] = sum;
            }
        }
        float depth = depth_of_ray(call, scratch, ray, samples);
        if (Lanes::first()) {
            call.depth[ray.index] = depth;
            call.opacity[ray.index] = scratch.accumulated[segments_of(call, samples) - 1];
        }
        for (int k = 0; k < call.coarse; k += Lanes::WIDTH) {
            Lanes::store_first(call.depths + ray.index * samples + k, Lanes::load(coarse_t + k), call.coarse - k);
        }
        for (int k = 0; k < call.fine; k += Lanes::WIDTH) {
            Lanes::store_first(call.depths + ray.index * samples + call.coarse + k, Lanes::load(fine_t + k), call.fine - k);
        }
        Lanes::sync();
    }
}

// Gradients of one ray: the gradient of every output of its samples takes the place of the output.
OUTLINED void ray_backward(const Call& call, const Packet& packet, Scratch& scratch, int r, float* sample_t) {
    int samples = call.coarse + call.fine, features = call.widths[call.layers] - 1, begin = r * samples;
    Ray ray = ray_of(call, packet, r);
    float* raw = scratch.outputs + begin;
    add_noise(call, ray, raw, 0, samples);
    merge_samples(call, scratch, sample_t, raw, sample_t + call.coarse, raw + call.coarse);
    march(call, scratch, ray, samples);
    share_out(call, scratch, {begin, 0}, {begin + call.coarse, 0}, 0);
    const float* grad_features = call.grad_features + ray.index * features;
    for (int k = 0; k < samples; k += Lanes::WIDTH) {
        F of_share = Lanes::all(0.0f), share = Lanes::load(scratch.share + begin + k);
        for (int f = 0; f < features; f++) {
            float* at = scratch.outputs + (f + 1) * scratch.columns + begin + k;
            F colour = Lanes::load(at);
            of_share += colour * grad_features[f];
            Lanes::store_first(at, share * grad_features[f] * Colour::derivative(colour), samples - k);
        }
        Lanes::store(scratch.ray_b + k, of_share);
    }
    Lanes::sync();
    for (int k = 0; k < samples; k += Lanes::WIDTH) {
        Lanes::store(scratch.ray_a + k, clamped_gather(scratch.ray_b, Lanes::load(scratch.order + k), samples - 1));
    }
    Lanes::sync();
    RayGradient ends = march_backward(call, scratch, ray, samples, call.grad_depth[ray.index], call.grad_opacity[ray.index]);
    for (int k = 0; k < samples; k += Lanes::WIDTH) {
        I sample = Lanes::load(scratch.order + k);
        Lanes::scatter_first(raw, sample, Lanes::load(scratch.ray_b + k), samples - k);
        Lanes::scatter_first(scratch.grad_sample_depth + begin, sample, Lanes::load(scratch.ray_c + k), samples - k);
    }
    if (call.grad_near && Lanes::first()) {
        call.grad_near[ray.index] = ends.near;
        call.grad_far[ray.index] = ends.far;
    }
    Lanes::sync();
}

// What a ray's points, and its coarse depths, say about where the ray begins and ends.
OUTLINED void ray_ends_backward(const Call& call, const Packet& packet, Scratch& scratch, int r) {
    int samples = call.coarse + call.fine, begin = r * samples;
    int64_t index = packet.first_ray + r;
    const float* direction = call.directions + 3 * index;
    F origin_gradient[3] = {}, direction_gradient[3] = {}, near_gradient = Lanes::all(0.0f), far_gradient = Lanes::all(0.0f);
    for (int k = 0; k < samples; k += Lanes::WIDTH) {
        I i = Lanes::index() + k;
        F none = Lanes::all(0.0f), t = Lanes::load(scratch.sample_depth + begin + k), of_t = Lanes::load(scratch.grad_sample_depth + begin + k);
        for (int axis = 0; axis < 3; axis++) {
            F of_point = Lanes::load(scratch.grad_position + axis * scratch.columns + begin + k);
            of_point = Lanes::select(i < Lanes::all(samples), of_point, none);
            origin_gradient[axis] += of_point;
            direction_gradient[axis] += Lanes::select(i < Lanes::all(samples), of_point * t, none);
            of_t += of_point * direction[axis];
        }
        // Fine depths are places where the coarse samples said to look: constants.
        of_t = Lanes::select(i < Lanes::all(call.coarse), of_t, none);
        F fraction = coarse_fraction(call, index, k);
        near_gradient += of_t * (1.0f - fraction);
        far_gradient += of_t * fraction;
    }
    float near = Lanes::sum(near_gradient), far = Lanes::sum(far_gradient);
    for (int axis = 0; axis < 3; axis++) {
        float of_origin = Lanes::sum(origin_gradient[axis]), of_direction = Lanes::sum(direction_gradient[axis]);
        if (Lanes::first()) {
            call.grad_origins[3 * index + axis] = of_origin;
            call.grad_directions[3 * index + axis] = of_direction;
        }
    }
    if (Lanes::first()) {
        call.grad_near[index] += near;
        call.grad_far[index] += far;
    }
}

// From the gradients of a span's outputs to the decoder's, the planes' and the points'.
template <class Texel>
OUTLINED void span_backward(const Call& call, const Packet& packet, Scratch& scratch, Pass pass, int from, int span, int column,
                            float* grad_planes, float* grad_decoder) {
    const Texel* image = (const Texel*)call.planes + packet.image * call.image_stride;
    float* grad_image = grad_planes + packet.image * call.grad_image_size;
    int count = packet.rays * pass.each;
    bool wants_points = call.grad_origins != nullptr;
    decode_backward(call, scratch, column, scratch.outputs + from, scratch.columns, span, grad_decoder);
    for (int k = 0; k < span; k += Lanes::WIDTH) {
        scatter_gradients(call, image, grad_image, scratch.taps_at(call, column + k), scratch, scratch.grad_features + column + k,
                          scratch.hidden_columns, count - from - k, wants_points);
        if (wants_points) {
            Lanes::sync();
            Point point = samples_at(call, packet, scratch, pass, from + k).point();
            Point grad = gradient_of_point(call, point, scratch);
            if (has_priors(call)) {
                F distance = distance_from_centre(point), none = Lanes::all(0.0f);
                F slope = Lanes::select(distance > Lanes::all(call.outside_radius), Lanes::all(-call.outside_strength), none);
                slope = slope + Lanes::select(Lanes::all(call.core_radius) > distance, Lanes::all(-call.core_strength), none);
                slope = Lanes::load(scratch.outputs + from + k) * slope / Lanes::max(Lanes::all(1e-20f), distance);
                grad = {grad.x + slope * point.x, grad.y + slope * point.y, grad.z + slope * point.z};
            }
            Lanes::store(scratch.grad_position + from + k, grad.x);
            Lanes::store(scratch.grad_position + scratch.columns + from + k, grad.y);
            Lanes::store(scratch.grad_position + 2 * scratch.columns + from + k, grad.z);
        }
    }
    Lanes::sync();
}

// grad_planes [N, grad_image_size] and grad_decoder: this thread's, or shared with others (a GPU adds atomically).
template <class Texel>
INLINE void render_packet_backward(const Call& call, Packet packet, Scratch& scratch, float* grad_planes, float* grad_decoder) {
    int samples = call.coarse + call.fine, count = packet.rays * samples, outputs = call.widths[call.layers];
    Pass pass = {0, samples};
    int columns = round_up(count, Lanes::WIDTH), span = KEEPS_SAMPLES ? columns : Lanes::WIDTH;
    for (int k = 0; k < columns; k += Lanes::WIDTH) {
        Lanes::store(scratch.sample_depth + k, Lanes::clamped_load(call.depths + packet.first_ray * samples, k, count - 1));
    }
    Lanes::sync();
    evaluate<Texel>(call, packet, scratch, pass);
    for (int r = 0; r < packet.rays; r++) {
        ray_backward(call, packet, scratch, r, scratch.sample_depth + r * samples);
    }
    // Lanes behind the last sample repeat it; nothing of them may be counted.
    for (int o = 0; o < outputs; o++) {
        for (int k = count / Lanes::WIDTH * Lanes::WIDTH; k < columns; k += Lanes::WIDTH) {
            float* at = scratch.outputs + o * scratch.columns + k;
            Lanes::store(at, Lanes::select(Lanes::index() + k < Lanes::all(count), Lanes::load(at), Lanes::all(0.0f)));
        }
    }
    Lanes::sync();
    for (int from = 0; from < columns; from += span) {
        int column = KEEPS_SAMPLES ? from : 0;
        if (!KEEPS_SAMPLES) {
            look_up<Texel>(call, packet, scratch, pass, from, span, column);
            decode_hidden(call, scratch, column, span);
        }
        span_backward<Texel>(call, packet, scratch, pass, from, span, column, grad_planes, grad_decoder);
    }
    if (call.grad_origins) {
        for (int r = 0; r < packet.rays; r++) {
            ray_ends_backward(call, packet, scratch, r);
        }
    }
}

// Free points, raw outputs: rays of one sample each, without a march.
template <class Texel>
INLINE void query_packet(const Call& call, Packet packet, Scratch& scratch) {
    Pass pass = {0, 1};
    int outputs = call.widths[call.layers], samples = round_up(packet.rays, Lanes::WIDTH), span = KEEPS_SAMPLES ? samples : Lanes::WIDTH;
    for (int from = 0; from < samples; from += span) {
        int column = KEEPS_SAMPLES ? from : 0;
        look_up<Texel>(call, packet, scratch, pass, from, span, column);
        decode_hidden(call, scratch, column, span);
        decode_outputs(call, scratch, column, scratch.outputs + from, scratch.columns, span, true);
        for (int k = from; k < from + span && k < packet.rays; k += Lanes::WIDTH) {
            for (int o = 0; o < outputs; o++) {
                I at = (Lanes::index() + k) * outputs + o;
                Lanes::scatter_first(call.features + packet.first_ray * outputs, at, Lanes::load(scratch.outputs + o * scratch.columns + k),
                                     packet.rays - k);
            }
        }
        Lanes::sync();
    }
}

template <class Texel>
INLINE void query_packet_backward(const Call& call, Packet packet, Scratch& scratch, float* grad_planes, float* grad_decoder) {
    Pass pass = {0, 1};
    int outputs = call.widths[call.layers], samples = round_up(packet.rays, Lanes::WIDTH), span = KEEPS_SAMPLES ? samples : Lanes::WIDTH;
    for (int from = 0; from < samples; from += span) {
        int column = KEEPS_SAMPLES ? from : 0;
        look_up<Texel>(call, packet, scratch, pass, from, span, column);
        decode_hidden(call, scratch, column, span);
        for (int k = from; k < from + span; k += Lanes::WIDTH) {
            I point = Lanes::index() + k, last = Lanes::all(packet.rays - 1);
            for (int o = 0; o < outputs; o++) {
                F gradient = Lanes::gather(call.grad_features + packet.first_ray * outputs, Lanes::min(last, point) * outputs + o);
                gradient = Lanes::select(point <= last, gradient, Lanes::all(0.0f));
                Lanes::store(scratch.outputs + o * scratch.columns + k, gradient);
            }
        }
        Lanes::sync();
        span_backward<Texel>(call, packet, scratch, pass, from, span, column, grad_planes, grad_decoder);
        if (call.grad_origins) {
            for (int k = from; k < from + span && k < packet.rays; k += Lanes::WIDTH) {
                for (int axis = 0; axis < 3; axis++) {
                    Lanes::scatter_first(call.grad_origins + 3 * packet.first_ray, (Lanes::index() + k) * 3 + axis,
                                         Lanes::load(scratch.grad_position + axis * scratch.columns + k), packet.rays - k);
                }
            }
            Lanes::sync();
        }
    }
}

}  // namespace triplane
