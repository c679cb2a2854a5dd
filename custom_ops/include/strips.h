// Strips of a tensor as floats, for processors: other formats pass through scratch memory, floats stay where they are.
#pragma once

#include "number_formats.h"

inline const float* read(const float* p, int, float*) {
    return p;
}

template <class Number>
const float* read(const Number* p, int n, float* scratch) {
    for (int i = 0; i < n; i++) {
        scratch[i] = load(p + i);
    }
    return scratch;
}

// Where the floats of a strip at p are to be left for `write`.
inline float* room(float* p, float*) {
    return p;
}

template <class Number>
float* room(Number*, float* scratch) {
    return scratch;
}

inline void write(const float*, int, float*) {}

template <class Number>
void write(const float* x, int n, Number* p) {
    for (int i = 0; i < n; i++) {
        store(p + i, x[i]);
    }
}
