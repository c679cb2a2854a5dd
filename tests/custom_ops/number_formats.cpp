// The half-precision numbers that compilers without a type for them get.
#include "number_formats.h"

extern "C" {

void to_float16(const float* from, uint16_t* to, int n) {
    for (int i = 0; i < n; i++) {
        to[i] = float16_bits(from[i]);
    }
}

void from_float16(const uint16_t* from, float* to, int n) {
    for (int i = 0; i < n; i++) {
        to[i] = float16_value(from[i]);
    }
}

}
