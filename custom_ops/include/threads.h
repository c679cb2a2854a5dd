// A range of work on a few threads of this process, without OpenMP: torch brings one of its own, and two of them fight over the cores.
#pragma once

#include <algorithm>
#include <cstdint>
#include <thread>
#include <vector>

// body(first, last, thread) for consecutive parts of [0, count), one part per thread; the caller's thread takes the first part.
template <class Body>
void parallel_for(int64_t count, int threads, const Body& body) {
    threads = int(std::max<int64_t>(1, std::min<int64_t>(threads, count)));
    std::vector<std::thread> others;
    for (int i = 1; i < threads; i++) {
        others.emplace_back([&body, count, threads, i] { body(count * i / threads, count * (i + 1) / threads, i); });
    }
    body(0, count / threads, 0);
    for (std::thread& other : others) {
        other.join();
    }
}
