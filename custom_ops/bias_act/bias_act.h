// The arithmetic of one element of bias_act: y = clamp(gain f(x + bias)), and its first and second derivative. Read by g++, nvcc and NVRTC.
#pragma once

#include "channels.h"
#include "clamping.h"

struct BiasActParameters {
    const void* x;          // the input; or with `of_output`, in the backward pass, the result y
    const float* bias;      // [channels] or null; not used with `of_output`
    const void* grad;       // of y
    const void* grad_grad;  // of the gradient of x
    void* y;                // forward: the result; backward: the gradient of x; second: the gradient of `grad`
    void* grad_x;           // second: the gradient of x
    float* sums;            // backward and second: [samples, parts, channels], sums of the gradient of x; or null
    Channels shape;
    int32_t of_output;
    int32_t format, activation, threads;  // for the processor; a GPU has one kernel for each format and activation
    float alpha, gain;
    float clamp;  // infinity for none
};

// linear, relu and lrelu are one function, with alpha = 1, 0 and the slope that was asked for.
enum Activation { LEAKY, TANH, SIGMOID, ELU, SELU, SOFTPLUS, SWISH, ACTIVATIONS };

struct Decay {
    float exp, expm1;  // of -a
};

// a >= 0, NaN stays NaN. exp(-a) = 2^n exp(r) with |r| <= ln(2) / 2, where seven terms of the series of exp(r) - 1 leave 2e-8 of it.
INLINE Decay decay(float a) {
    a = a > 87.0f ? 87.0f : a;
    const float shift = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, which then stands in the lowest bits
    float shifted = a * -1.44269504f + shift;
    float n = shifted - shift;
    float r = (-a - n * 0.693145751953125f) - n * 1.42860677e-6f;  // ln(2) in two parts, the first of which n multiplies exactly
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r * r + r;
    float power = float_of((bits_of(shifted) + 127u) << 23);
    return {power * p + power, power * p + (power - 1.0f)};
}

// log(1 + e), 0 <= e <= 1, as 2 artanh(s) with s <= 1/3.
INLINE float log1p_of_fraction(float e) {
    float s = e / (2.0f + e), t = s * s;
    float p = 1.0f / 15;
    p = p * t + 1.0f / 13;
    p = p * t + 1.0f / 11;
    p = p * t + 1.0f / 9;
    p = p * t + 1.0f / 7;
    p = p * t + 1.0f / 5;
    p = p * t + 1.0f / 3;
    return 2.0f * (s + s * t * p);
}

// A function and its first two derivatives at a point; the compiler leaves out what is not asked for.
struct Jet {
    float value, first, second;
};

INLINE Jet sigmoid_jet(float u) {
    float e = decay(fabsf(u)).exp, inverse = 1.0f / (1.0f + e);
    float value = u >= 0 ? inverse : e * inverse;
    float first = e * inverse * inverse;
    return {value, first, first * (1.0f - 2.0f * value)};
}

INLINE Jet elu_jet(float u, float scale, float alpha) {
    Decay d = decay(u > 0 ? 0.0f : -u);
    float below = scale * alpha;
    return {u > 0 ? scale * u : below * d.expm1, u > 0 ? scale : below * d.exp, u < 0 ? below * d.exp : 0.0f};
}

template <int ACTIVATION>
INLINE Jet jet(float u, float alpha) {
    if constexpr (ACTIVATION == LEAKY) {
        return {u > 0 ? u : alpha * u, u > 0 ? 1.0f : alpha, 0.0f};
    } else if constexpr (ACTIVATION == TANH) {
        Decay d = decay(2.0f * fabsf(u));
        float inverse = 1.0f / (1.0f + d.exp);
        float size = -d.expm1 * inverse;
        float value = u < 0 ? -size : size;
        // Below, the roundings of size hardly count; above, the difference would cancel.
        float first = size < 0.7f ? 1.0f - size * size : 4.0f * d.exp * inverse * inverse;
        return {value, first, -2.0f * value * first};
    } else if constexpr (ACTIVATION == SIGMOID) {
        return sigmoid_jet(u);
    } else if constexpr (ACTIVATION == ELU) {
        return elu_jet(u, 1.0f, 1.0f);
    } else if constexpr (ACTIVATION == SELU) {
        return elu_jet(u, 1.05070098735548f, 1.67326324235438f);
    } else if constexpr (ACTIVATION == SOFTPLUS) {
        Jet s = sigmoid_jet(u);
        return {(u < 0 ? 0.0f : u) + log1p_of_fraction(decay(fabsf(u)).exp), s.value, s.first};
    } else {
        Jet s = sigmoid_jet(u);
        return {u * s.value, s.value + u * s.first, 2.0f * s.first + u * s.second};
    }
}

template <int ACTIVATION>
INLINE float value(float u, float alpha, float gain, float clamp) {
    return clamped(gain * jet<ACTIVATION>(u, alpha).value, clamp);
}

template <int ACTIVATION>
INLINE float first_derivative(float u, float alpha, float gain, float clamp) {
    Jet f = jet<ACTIVATION>(u, alpha);
    return clamped_derivative(gain * f.value, gain * f.first, clamp);
}

template <int ACTIVATION>
INLINE float second_derivative(float u, float alpha, float gain, float clamp) {
    Jet f = jet<ACTIVATION>(u, alpha);
    return clamped_derivative(gain * f.value, gain * f.second, clamp);
}

// The first derivative of LEAKY with alpha >= 0 and gain > 0, whose result tells the sign of its input and whether it was clamped. Without a
// clamp nothing was, not even a result that is infinite: infinity less infinity is no number, and fails the comparison.
INLINE float first_derivative_of_output(float y, float alpha, float gain, float clamp) {
    return clamp - fabsf(y) <= 0 ? 0.0f : y > 0 ? gain : gain * alpha;
}
