// What a clamp to [-clamp, clamp] does to a number and to its derivative; infinity stands for none. A NaN fails every comparison and so comes
// through.
#pragma once

#include "portable.h"

INLINE float clamped(float y, float clamp) {
    return y > clamp ? clamp : y < -clamp ? -clamp : y;
}

// The derivative of clamped(y) where that of y is `derivative`. On the clamp itself it is not cut off.
INLINE float clamped_derivative(float y, float derivative, float clamp) {
    return fabsf(y) > clamp ? 0.0f : derivative;
}
