// The memory that one packet of rays needs while it is computed: on a processor in the cache of a core, on a GPU a warp's share of shared memory.
#pragma once

#include "lanes.h"
#include "parameters.h"

namespace triplane {

// A processor computes several short rays together, so that the decoder's matrix products are long enough, and keeps every sample's features
// and hidden units for the backward pass. A warp computes 32 samples at a time (a part of a ray, or a few short ones), and what it needs again
// it computes again.
constexpr bool KEEPS_SAMPLES = !UNPOSED_GPU;
constexpr int SAMPLES_PER_PACKET = UNPOSED_GPU ? 32 : 96;

INLINE int round_up(int n, int multiple) {
    return (n + multiple - 1) / multiple * multiple;
}

INLINE int widest_hidden(const Call& call) {
    int widest = 1;
    for (int layer = 1; layer < call.layers; layer++) {
        widest = call.widths[layer] > widest ? call.widths[layer] : widest;
    }
    return widest;
}

// Where a group of samples reads the planes, and how much of each: [4 P][WIDTH].
struct Taps {
    float* weights;
    int32_t* offsets;
};

struct Scratch {
    int packet_rays;     // rays computed together
    int columns;         // samples of the packet, each pass rounded up to whole groups of lanes: the length of a row of outputs
    int hidden_columns;  // the length of a row of features or hidden units
    int ray_length;      // of the arrays of one ray

    float* outputs;                  // [1 + F][columns]: raw density, then colours; the backward pass puts their gradients here
    float* features;                 // [C][hidden_columns]
    float* hidden[MOST_LAYERS - 1];  // [width][hidden_columns]
    float* sample_depth;             // [columns]
    float* share;                    // [columns]: of each sample in what its ray sees

    float* tap_weights;    // [groups of lanes][4 P][WIDTH], see Taps
    int32_t* tap_offsets;
    float* texels;         // [WIDTH][C]: features of one group of lanes, a sample per row

    // One ray, in increasing depth.
    float *t, *raw, *edges, *segment_raw, *optical_depth, *accumulated, *ray_a, *ray_b, *ray_c, *ray_d;
    int32_t* order;  // which sample of the list (coarse, then fine) stands here

    // Of the backward pass alone.
    float *grad_hidden, *grad_hidden_other;  // [widest][hidden_columns]
    float* grad_features;                    // [C][hidden_columns]
    float* grad_sample_depth;                // [columns]
    float* grad_position;                    // [3][columns]
    float* dots;                             // [4 P][WIDTH]
    float* sample_rows;                      // processor only: [columns][widest input], the inputs of a layer with a sample per row
    float* grad_decoder;                     // processor only: the decoder's gradient of a packet, see gradient_size

    int floats;  // all of it

    // memory null: only `floats` means anything.
    INLINE Scratch(const Call& call, float* memory, bool backward) : floats(0) {
        int samples = call.coarse + call.fine;
        int longest = backward || call.fine == 0 ? samples : (call.coarse > call.fine ? call.coarse : call.fine);
        packet_rays = SAMPLES_PER_PACKET / longest > 1 ? SAMPLES_PER_PACKET / longest : 1;
        columns = round_up(packet_rays * call.coarse, Lanes::WIDTH) + round_up(packet_rays * call.fine, Lanes::WIDTH);
        hidden_columns = KEEPS_SAMPLES ? columns : Lanes::WIDTH;
        ray_length = round_up(samples + 2, Lanes::WIDTH) + Lanes::WIDTH;

        outputs = take(memory, call.widths[call.layers] * columns);
        features = take(memory, call.channels * hidden_columns);
        for (int layer = 1; layer < call.layers; layer++) {
            hidden[layer - 1] = take(memory, call.widths[layer] * hidden_columns);
        }
        sample_depth = take(memory, columns);
        share = take(memory, columns);
        tap_weights = take(memory, 4 * call.plane_count * hidden_columns);
        tap_offsets = (int32_t*)take(memory, 4 * call.plane_count * hidden_columns);
        texels = KEEPS_SAMPLES ? take(memory, Lanes::WIDTH * round_up(call.channels, 8)) : nullptr;
        t = take(memory, ray_length);
        raw = take(memory, ray_length);
        edges = take(memory, ray_length);
        segment_raw = take(memory, ray_length);
        optical_depth = take(memory, ray_length);
        accumulated = take(memory, ray_length);
        ray_a = take(memory, ray_length);
        ray_b = take(memory, ray_length);
        ray_c = take(memory, ray_length);
        ray_d = take(memory, ray_length);
        order = (int32_t*)take(memory, ray_length);
        if (backward) {
            int widest = widest_hidden(call);
            grad_hidden = take(memory, widest * hidden_columns);
            grad_hidden_other = take(memory, widest * hidden_columns);
            grad_features = take(memory, call.channels * hidden_columns);
            grad_sample_depth = take(memory, columns);
            grad_position = take(memory, 3 * columns);
            dots = take(memory, 4 * call.plane_count * Lanes::WIDTH);
            int widest_input = widest > call.channels ? widest : call.channels;
            sample_rows = KEEPS_SAMPLES ? take(memory, columns * round_up(widest_input, Lanes::WIDTH)) : nullptr;
            grad_decoder = KEEPS_SAMPLES ? take(memory, gradient_size(call)) : nullptr;
        }
    }

    // Of the group of samples whose features begin at this column.
    INLINE Taps taps_at(const Call& call, int column) const {
        int at = 4 * call.plane_count * column;
        return {tap_weights + at, tap_offsets + at};
    }

    static INLINE int decoder_size(const Call& call) {
        int size = 0;
        for (int layer = 0; layer < call.layers; layer++) {
            size += (call.widths[layer] + 1) * call.widths[layer + 1];
        }
        return size;
    }

    // Of a layer in the gradient that packets are added to: a processor has rows of whole vectors, and lanes of a bias.
    static INLINE int gradient_size(int in, int out) {
        return KEEPS_SAMPLES ? out * (round_up(in, Lanes::WIDTH) + Lanes::WIDTH) : (in + 1) * out;
    }

    static INLINE int gradient_size(const Call& call) {
        int size = 0;
        for (int layer = 0; layer < call.layers; layer++) {
            size += gradient_size(call.widths[layer], call.widths[layer + 1]);
        }
        return size;
    }

private:
    INLINE float* take(float* memory, int count) {
        float* place = memory + floats;
        floats += round_up(count, Lanes::WIDTH);
        return place;
    }
};

}  // namespace triplane
