// Elementary functions on lanes: the same polynomials on every machine, accurate to about two units in the last place.
#pragma once

#include "lanes.h"

namespace functions {

typedef Lanes::F F;
typedef Lanes::I I;

// exp(x) = 2^n exp(r), |r| <= ln(2) / 2, by a polynomial fitted at Chebyshev nodes (relative error 8e-9); saturates near the ends of the
// range of normal numbers. Polynomials are summed in pairs: a chain of dependent products would leave the units idle.
INLINE F exponential(F x) {
    x = Lanes::min(Lanes::all(88.0f), Lanes::max(Lanes::all(-87.0f), x));
    F rounded = x * 1.44269504f + 12582912.0f;  // adding 1.5 * 2^23 leaves the nearest integer in the low bits
    I n = Lanes::float_as_bits(rounded) - 0x4b400000;
    F whole = rounded - 12582912.0f;
    F r = x - whole * 0.693145752f;  // ln 2 in two parts, the first exact in few bits
    r = r - whole * 1.42860677e-6f;
    F square = r * r;
    F low = r * 0.166665734f + 0.5f, high = r * 0.00836377647f + 0.0416664568f;
    F p = (square * 0.00139345445f + high) * square + low;
    p = p * square + (r + 1.0f);
    return p * Lanes::bits_as_float((n + 127) << 23);
}

// 1 - exp(-x) for x >= 0 without cancellation where x is small.
INLINE F one_minus_exp_of_minus(F x) {
    F p = x * (-1.0f / 40320.0f) + 1.0f / 5040.0f;
    p = p * x - 1.0f / 720.0f;
    p = p * x + 1.0f / 120.0f;
    p = p * x - 1.0f / 24.0f;
    p = p * x + 1.0f / 6.0f;
    p = p * x - 0.5f;
    p = p * x * x + x;
    return Lanes::select(x < Lanes::all(0.5f), p, 1.0f - exponential(-x));
}

// log(1 + y) for y in [0, 1]: y times a polynomial, fitted to log(1 + y) / y at Chebyshev nodes (largest error 5e-9).
INLINE F log_of_one_plus(F y) {
    F square = y * y, fourth = square * square;
    F a = y * 0.33330004f - 0.49999904f, b = y * 0.19678117f - 0.24954559f;
    F c = y * 0.10614265f - 0.15311863f, d = y * 0.01990716f - 0.05706420f;
    F p = (fourth * -0.00325638f + (d * square + c)) * fourth + (b * square + a);
    return p * square + y;
}

// log(1 + exp(x))
INLINE F softplus(F x) {
    return Lanes::max(Lanes::all(0.0f), x) + log_of_one_plus(exponential(-Lanes::abs(x)));
}

INLINE F sigmoid(F x) {
    return 1.0f / (1.0f + exponential(-x));
}

}  // namespace functions
