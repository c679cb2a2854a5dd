// What upfirdn2d computes, and which outputs a thread of a GPU computes. Read by g++ (processor kernel, tests), nvcc and NVRTC.
//
// Both layouts are one: a tensor is [images, height, width, channels], where the channels-first format counts every channel as an image
// of one channel. Along an axis,
//     y[o] = sum_t w[t] u[o down - before + t],   u[i up] = x[i], zero elsewhere,   w = the filter, turned round unless `flip` is set.
#pragma once

#include "number_formats.h"

struct Upfirdn2dParameters {
    const void* x;   // [images, in_height, in_width, channels]
    const float* f;  // [taps_y, taps_x]; the processor also takes [taps], standing for outer(f, f)
    void* y;         // [images, out_height, out_width, channels]
    int64_t images;
    int32_t channels;
    int32_t in_width, in_height, out_width, out_height;
    int32_t up_x, up_y, down_x, down_y, taps_x, taps_y;
    int32_t left, top;  // zeros before the first pixel, in pixels of the enlarged image; negative values crop
    int32_t separable;  // whether f is [taps]
    int32_t flip;
    float gain;
    int32_t threads;  // of the processor
};

INLINE int32_t floor_divided(int32_t a, int32_t b) {
    return a >= 0 ? a / b : -((b - 1 - a) / b);
}

INLINE int32_t tap_index(int32_t tap, int32_t taps, bool flip) {
    return flip ? tap : taps - 1 - tap;
}

template <class Number, int COUNT>
struct alignas(sizeof(Number) * COUNT) Pack {
    Number numbers[COUNT];
};

// One axis of the few neighbouring outputs that a thread computes. All but the place of the tile is known when the kernel is compiled:
// PHASE is -before modulo UP, and TILE * DOWN is a multiple of UP, so every tile meets the zeros between the pixels in the same way.
template <int UP, int DOWN, int TAPS, int PHASE, int TILE>
struct Axis {
    static_assert(TILE * DOWN % UP == 0 && 0 <= PHASE && PHASE < UP, "tiles must not differ in phase");

    static constexpr int outputs = TILE;
    static constexpr int taps = TAPS;
    static constexpr int pixels = (PHASE + (TILE - 1) * DOWN + TAPS - 1) / UP + 1;  // that the tile reads

    static INLINE int32_t first_pixel(int32_t tile, int32_t before) {
        return floor_divided(tile * TILE * DOWN - before, UP);
    }

    // The tap through which an output of the tile sees a pixel of the tile; none if it is not in [0, TAPS).
    static INLINE constexpr int tap(int pixel, int output) {
        return pixel * UP - PHASE - output * DOWN;
    }
};

// The outputs of one thread: a tile of AxisY::outputs x AxisX::outputs pixels, CHANNELS channels. `thread` counts channels fastest, then
// tiles along x, along y, images, so neighbours in a warp touch neighbours in memory in both layouts; it may exceed the last tile.
template <class Number, int CHANNELS, class AxisX, class AxisY>
struct ThreadTile {
    using Numbers = Pack<Number, CHANNELS>;

    // Loops over so many taps are laid out flat; longer filters keep their loops, whose bounds then decide at run time.
    static constexpr bool flat = AxisX::taps * AxisY::taps <= 64;

    float sums[AxisY::outputs][AxisX::outputs][CHANNELS];
    float weights[flat ? AxisY::taps : 1][flat ? AxisX::taps : 1];

    INLINE float weight(const Upfirdn2dParameters& p, int tap_y, int tap_x) const {
        if constexpr (flat) {
            return weights[tap_y][tap_x];
        } else {
            return p.f[tap_index(tap_y, AxisY::taps, p.flip) * AxisX::taps + tap_index(tap_x, AxisX::taps, p.flip)];
        }
    }

    INLINE void add_pixel(const Upfirdn2dParameters& p, const Number* image, int32_t row, int32_t column, int pixel_y, int pixel_x) {
        if (uint32_t(row) >= uint32_t(p.in_height) || uint32_t(column) >= uint32_t(p.in_width)) {
            return;
        }
        Numbers pack = *reinterpret_cast<const Numbers*>(image + (int64_t(row) * p.in_width + column) * p.channels);
        float x[CHANNELS];
        UNROLL for (int i = 0; i < CHANNELS; i++) {
            x[i] = load(&pack.numbers[i]);
        }
        UNROLL for (int oy = 0; oy < AxisY::outputs; oy++) {
            UNROLL for (int ox = 0; ox < AxisX::outputs; ox++) {
                int tap_y = AxisY::tap(pixel_y, oy), tap_x = AxisX::tap(pixel_x, ox);
                if (0 <= tap_y && tap_y < AxisY::taps && 0 <= tap_x && tap_x < AxisX::taps) {
                    float w = weight(p, tap_y, tap_x);
                    UNROLL for (int i = 0; i < CHANNELS; i++) {
                        sums[oy][ox][i] += w * x[i];
                    }
                }
            }
        }
    }

    INLINE void run(const Upfirdn2dParameters& p, int64_t thread) {
        // Unsigned 32-bit divisions are several times cheaper than 64-bit ones, and the launch keeps the count of threads below 2^31.
        uint32_t groups = uint32_t(p.channels) / CHANNELS;
        uint32_t tiles_x = uint32_t(p.out_width + AxisX::outputs - 1) / AxisX::outputs;
        uint32_t tiles_y = uint32_t(p.out_height + AxisY::outputs - 1) / AxisY::outputs;
        uint32_t rest = uint32_t(thread);
        uint32_t group = rest % groups;
        rest /= groups;
        int32_t tile_x = int32_t(rest % tiles_x);
        rest /= tiles_x;
        int32_t tile_y = int32_t(rest % tiles_y);
        rest /= tiles_y;
        int64_t n = rest;
        if (n >= p.images) {
            return;
        }

        if constexpr (flat) {
            UNROLL for (int ty = 0; ty < AxisY::taps; ty++) {
                UNROLL for (int tx = 0; tx < AxisX::taps; tx++) {
                    weights[ty][tx] = p.f[tap_index(ty, AxisY::taps, p.flip) * AxisX::taps + tap_index(tx, AxisX::taps, p.flip)];
                }
            }
        }
        UNROLL for (int oy = 0; oy < AxisY::outputs; oy++) {
            UNROLL for (int ox = 0; ox < AxisX::outputs; ox++) {
                UNROLL for (int i = 0; i < CHANNELS; i++) {
                    sums[oy][ox][i] = 0.0f;
                }
            }
        }

        const Number* image = static_cast<const Number*>(p.x) + n * p.in_height * p.in_width * p.channels + group * CHANNELS;
        int32_t row = AxisY::first_pixel(tile_y, p.top), column = AxisX::first_pixel(tile_x, p.left);
        if constexpr (flat) {
            UNROLL for (int py = 0; py < AxisY::pixels; py++) {
                UNROLL for (int px = 0; px < AxisX::pixels; px++) {
                    add_pixel(p, image, row + py, column + px, py, px);
                }
            }
        } else {
            for (int py = 0; py < AxisY::pixels; py++) {
                for (int px = 0; px < AxisX::pixels; px++) {
                    add_pixel(p, image, row + py, column + px, py, px);
                }
            }
        }

        Number* result = static_cast<Number*>(p.y) + n * p.out_height * p.out_width * p.channels + group * CHANNELS;
        UNROLL for (int oy = 0; oy < AxisY::outputs; oy++) {
            UNROLL for (int ox = 0; ox < AxisX::outputs; ox++) {
                int32_t y = tile_y * AxisY::outputs + oy, x = tile_x * AxisX::outputs + ox;
                if (y < p.out_height && x < p.out_width) {
                    Numbers pack;
                    UNROLL for (int i = 0; i < CHANNELS; i++) {
                        store(&pack.numbers[i], sums[oy][ox][i] * p.gain);
                    }
                    *reinterpret_cast<Numbers*>(result + (int64_t(y) * p.out_width + x) * p.channels) = pack;
                }
            }
        }
    }
};
