// The triplane kernels on a processor: packets of rays on a few threads.

#include <cstdlib>
#include <vector>

#include "render.h"
#include "threads.h"

namespace {

using namespace triplane;

struct Memory {
    explicit Memory(size_t floats) : at((float*)aligned_alloc(64, (floats * sizeof(float) + 63) / 64 * 64)) {
        memset(at, 0, (floats * sizeof(float) + 63) / 64 * 64);  // lanes behind the last sample are computed with and must be finite
    }
    ~Memory() { free(at); }
    float* at;
};

enum Job { RENDER, QUERY };

// Kept out of line, with its own copy of the call: no store through a float pointer can then force a reload of a parameter.
template <class Texel>
__attribute__((noinline)) void forward_packets(const Call given, Job job, int64_t first, int64_t last) {
    const Call call = given;
    Memory memory(Scratch(call, nullptr, false).floats);
    Scratch scratch(call, memory.at, false);
    for (int64_t i = first; i < last; i++) {
        Packet packet = packet_number(call, scratch, i);
        if (job == RENDER) {
            render_packet<Texel>(call, packet, scratch);
        } else {
            query_packet<Texel>(call, packet, scratch);
        }
    }
}

// The decoder's gradient is summed in float over the samples of a packet, and in double over all packets.
void collect(float* grad, double* sums, int size) {
    for (int i = 0; i < size; i++) {
        sums[i] += grad[i];
        grad[i] = 0.0f;
    }
}

// From the layout of Scratch::grad_decoder to that of the decoder.
void unpack(const Call& call, const double* sums, float* decoder) {
    for (int layer = 0; layer < call.layers; layer++) {
        int in = call.widths[layer], out = call.widths[layer + 1], pitch = round_up(in, Lanes::WIDTH);
        const double* bias_lanes = sums + out * pitch;
        for (int o = 0; o < out; o++) {
            for (int k = 0; k < in; k++) {
                decoder[k * out + o] = float(sums[o * pitch + k]);
            }
            double bias = 0;
            for (int lane = 0; lane < Lanes::WIDTH; lane++) {
                bias += bias_lanes[o * Lanes::WIDTH + lane];
            }
            decoder[in * out + o] = float(bias);
        }
        sums += Scratch::gradient_size(in, out);
        decoder += (in + 1) * out;
    }
}

template <class Texel>
__attribute__((noinline)) void backward_packets(const Call given, Job job, int64_t first, int64_t last, int thread, int threads) {
    const Call call = given;
    Memory memory(Scratch(call, nullptr, true).floats);
    Scratch scratch(call, memory.at, true);
    int size = Scratch::gradient_size(call);
    std::vector<double> sums(size);
    for (int64_t i = first; i < last; i++) {
        Packet packet = packet_number(call, scratch, i);
        // The threads that share an image add to its parts one after the other; packet.image * threads / images is the first of them.
        int64_t part = call.grad_parts > 1 ? thread - packet.image * threads / call.images : 0;
        float* grad_planes = call.grad_planes + part * call.images * call.grad_image_size;
        if (job == RENDER) {
            render_packet_backward<Texel>(call, packet, scratch, grad_planes, scratch.grad_decoder);
        } else {
            query_packet_backward<Texel>(call, packet, scratch, grad_planes, scratch.grad_decoder);
        }
        collect(scratch.grad_decoder, sums.data(), size);
    }
    unpack(call, sums.data(), call.grad_decoder + thread * Scratch::decoder_size(call));
}

void forward(const Call& call, Job job, int threads) {
    int64_t packets = call.images * packets_per_image(call, Scratch(call, nullptr, false));
    parallel_for(packets, threads, [&](int64_t first, int64_t last, int) {
        if (call.planes_are_bfloat16) {
            forward_packets<BFloat16>(call, job, first, last);
        } else {
            forward_packets<float>(call, job, first, last);
        }
    });
}

void backward(const Call& call, Job job, int threads) {
    int64_t per_image = packets_per_image(call, Scratch(call, nullptr, true));
    bool whole = call.grad_parts == 1;
    int64_t together = whole ? per_image : 1, count = whole ? call.images : call.images * per_image;
    // Exactly so many threads, idle ones too where packets are few: the parts of an image were counted for them.
    parallel_for(threads, threads, [&](int64_t, int64_t, int thread) {
        int64_t first = count * thread / threads * together, last = count * (thread + 1) / threads * together;
        if (call.planes_are_bfloat16) {
            backward_packets<BFloat16>(call, job, first, last, thread, threads);
        } else {
            backward_packets<float>(call, job, first, last, thread, threads);
        }
    });
}

}  // namespace

extern "C" {

void triplane_render(const Call* call, int threads) {
    forward(*call, RENDER, threads);
}

void triplane_render_backward(const Call* call, int threads) {
    backward(*call, RENDER, threads);
}

void triplane_query(const Call* call, int threads) {
    forward(*call, QUERY, threads);
}

void triplane_query_backward(const Call* call, int threads) {
    backward(*call, QUERY, threads);
}

int triplane_call_bytes() {
    return sizeof(Call);
}

}
