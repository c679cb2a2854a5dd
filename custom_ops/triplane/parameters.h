// What one call of a triplane kernel is told. The same layout stands in parameters.py; every pointer is to float unless it says otherwise.
#pragma once

#include "portable.h"

namespace triplane {

constexpr int MOST_LAYERS = 5;  // linear layers of the decoder: up to four hidden ones

// Sizes: N images, R rays each (or R free points), S = coarse + fine samples per ray, P planes, C channels, F rendered features.
struct Call {
    const void* planes;    // [N, P, C, H, W] with channels innermost, float or BFloat16; strides below
    const float* axes;     // [P, 2, 3]
    const float* decoder;  // per layer: weight [in, out], then bias [out]
    const float* decoder_transposed;  // per layer: weight [out, in]; read by the backward pass
    const float* origins;     // [N, R, 3] world units; free points where nothing is rendered
    const float* directions;  // [N, R, 3]
    const float* near;        // [N, R]
    const float* far;         // [N, R]
    const float* u_coarse;    // [N, R, coarse] or null: the middles of the cells
    const float* u_fine;      // [N, R, fine], increasing
    const float* noise;       // [N, R, S] or null: added to raw densities

    float* features;  // [N, R, F]; of free points [N, R, 1 + F], raw
    float* depth;     // [N, R]
    float* opacity;   // [N, R]
    float* depths;    // [N, R, S] coarse, then fine: written by the forward pass, read by the backward pass

    const float* grad_features;
    const float* grad_depth;
    const float* grad_opacity;
    float* grad_planes;   // [grad_parts, N, grad_image_size], zeros before; the strides inside an image are those of the planes
    float* grad_decoder;  // [grad_decoder_rows, layout of `decoder`]; a GPU adds to what is there
    float* grad_origins;  // these four are all null or all given
    float* grad_directions;
    float* grad_near;
    float* grad_far;

    int64_t image_stride, plane_stride, row_stride, pixel_stride;  // of the planes, in elements
    int64_t grad_image_size;  // elements of an image
    int64_t images, rays;

    float box_side;          // world units that the planes span
    float density_shift;     // density = scale * softplus(raw - shift)
    float density_scale;
    float outside_strength;  // raw density loses strength * relu(|p| - radius)
    float outside_radius;
    float core_strength;     // and wins strength * relu(radius - |p|)
    float core_radius;

    int32_t plane_count, channels, height, width;
    int32_t layers;
    int32_t widths[MOST_LAYERS + 1];  // channels, hidden ..., 1 + F
    int32_t activation;               // Activation, between layers
    int32_t coarse, fine;             // samples per ray
    int32_t cells;                    // quadrature: 1 cells, 0 mid-points
    int32_t median;                   // depth: 1 median, 0 expected
    int32_t released;                 // 1: the rule of EG3D's release
    int32_t rays_per_row;             // of the picture, for a walk in tiles; 0: unknown
    int32_t planes_are_bfloat16;
    int32_t grad_parts;         // of each image, for the threads of a processor that share it; 1: threads take whole images
    int32_t grad_decoder_rows;  // one for each thread of a processor; the blocks of a GPU take turns, where there are fewer
};

enum Activation { SOFTPLUS, RELU, LRELU };

}  // namespace triplane
