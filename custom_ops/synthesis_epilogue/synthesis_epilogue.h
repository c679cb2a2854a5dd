// The arithmetic of one element of what follows a modulated convolution: y = clamp(gain lrelu(v)) with v = x scale + noise strength + bias.
// The derivative is computed from v, which is cheaper than to read y again. Read by g++, nvcc and NVRTC.
#pragma once

#include "channels.h"
#include "clamping.h"

struct SynthesisEpilogueParameters {
    const void* x;
    const float* scale;     // [samples, channels]
    const float* bias;      // [channels]
    const float* noise;     // [1 or samples, pixels] or null
    const float* strength;  // [1], where there is noise
    const void* grad;       // backward: of y
    void* y;                // forward: the result; backward: the gradient of x
    float* sums;            // backward: [samples, parts, SUMS, channels]
    Channels shape;         // a sample is [pixels, channels] or [channels, pixels]
    int32_t noise_per_sample;
    int32_t format, threads;  // for the processor
    float slope, gain;
    float clamp;  // infinity for none
};

// Sums over the pixels of a channel, with g the gradient of v: of g x (the gradient of scale), g (of bias), g noise (of strength).
enum Sum { OF_SCALE, OF_BIAS, OF_STRENGTH, SUMS };

INLINE float epilogue(float v, float slope, float gain, float clamp) {
    return clamped(gain * (v > 0 ? v : slope * v), clamp);
}

INLINE float epilogue_derivative(float v, float slope, float gain, float clamp) {
    float d = v > 0 ? gain : gain * slope;
    return clamped_derivative(d * v, d, clamp);
}
