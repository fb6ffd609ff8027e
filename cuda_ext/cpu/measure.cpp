// Measures what a denoising step is compared with: products on data in L1, reads of memory, barriers.
#include "measure.h"

#include <algorithm>
#include <atomic>
#include <chrono>

#include "matrix.h"
#include "pool.h"

using namespace mezzotint;

namespace {

constexpr int ROWS = 24, DEPTH = 256, COLUMNS = 64, REPEATS = 2000, TRIES = 5;

// Seconds of `work(thread)` on all threads, the shortest of some tries.
template <class F>
double seconds(int n_threads, F work) {
  Pool pool(n_threads);
  double best = 1e30;
  for (int i = 0; i < TRIES; ++i) {
    const auto started = std::chrono::steady_clock::now();
    pool.run([&](int thread) { work(pool, thread); });
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count());
  }
  return best;
}

double rate(int n_threads, bool int8) {
  const mz_kernels& kernels = *mz_pick_isa().kernels;
  const double time = seconds(n_threads, [&](Pool&, int) {
    const Buffer<uint8_t> x(ROWS * DEPTH * 2);
    const Buffer<int8_t> weights(COLUMNS * DEPTH * 2);
    const Buffer<float> scale(COLUMNS), out(ROWS * COLUMNS);
    const Buffer<int32_t> bias_sum(COLUMNS);
    const mz_int8 w8 = {weights.data(), scale.data(), bias_sum.data(), DEPTH};
    const mz_bf16 w16 = {(const uint16_t*)weights.data(), DEPTH * MZ_PANEL, DEPTH};
    for (int i = 0; i < REPEATS; ++i)
      if (int8)
        kernels.gemm_int8(x.data(), out.data(), ROWS, &w8, 0, COLUMNS / MZ_PANEL, out.data(), COLUMNS, 0);
      else
        kernels.gemm_bf16((const uint16_t*)x.data(), DEPTH, ROWS, &w16, 0, COLUMNS / MZ_PANEL, out.data(), COLUMNS, 0);
  });
  return 2.0 * ROWS * DEPTH * COLUMNS * REPEATS * n_threads / time;
}

}  // namespace

double mz_measure_int8_rate(int32_t n_threads) { return rate(n_threads, true); }
double mz_measure_bf16_rate(int32_t n_threads) { return rate(n_threads, false); }

double mz_measure_bandwidth(int32_t n_threads, int64_t n_bytes) {
  const int64_t n = n_bytes / 8;
  const Buffer<uint64_t> buffer(n);
  std::fill_n(buffer.data(), n, 1);  // memory that was never written to is one page of zeros, over and over
  std::atomic<uint64_t> sink{0};
  const double time = seconds(n_threads, [&](Pool&, int thread) {
    uint64_t bits = 0;
    for (int64_t i = n * thread / n_threads; i < n * (thread + 1) / n_threads; ++i) bits |= buffer[i];
    sink.fetch_or(bits);
  });
  return (double)n * 8 / time;
}

double mz_measure_barrier(int32_t n_threads) {
  return seconds(n_threads, [](Pool& pool, int) {
           for (int i = 0; i < REPEATS; ++i) pool.barrier();
         }) / REPEATS;
}
