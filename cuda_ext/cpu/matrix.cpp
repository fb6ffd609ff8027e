// Packs a weight matrix: per output channel to int8, or as it is, into panels of 16 output columns.
#include "matrix.h"

#include <algorithm>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace mezzotint {
namespace {

// One row in int8, halves to even; returns its scale, which is 0 for a row of zeros.
float quantise(const uint16_t* row, int k, int8_t* out) {
  int16_t largest = 0;  // without their signs, bf16 words are ordered as the numbers are
  for (int i = 0; i < k; ++i) largest = std::max<int16_t>(largest, (int16_t)(row[i] & 0x7FFF));
  const float scale = widen((uint16_t)largest) / 127.0f;
  if (scale == 0) return std::memset(out, 0, k), 0;
  constexpr float ROUNDER = 12582912.0f;  // as in kernels.cpp
  for (int i = 0; i < k; ++i) {
    const float rounded = widen(row[i]) / scale + ROUNDER;
    uint32_t bits;
    std::memcpy(&bits, &rounded, 4);
    out[i] = (int8_t)bits;
  }
  return scale;
}

}  // namespace

Buffer<uint8_t> in_large_pages(int64_t n_bytes) {
  Buffer<uint8_t> buffer(n_bytes);
#if defined(__linux__)
  constexpr uintptr_t PAGE = 1 << 21;
  const uintptr_t start = ((uintptr_t)buffer.data() + PAGE - 1) / PAGE * PAGE, stop = (uintptr_t)buffer.data() + n_bytes;
  if (stop > start + PAGE) madvise((void*)start, (stop - start) / PAGE * PAGE, MADV_HUGEPAGE);  // it may be refused
#endif
  return buffer;
}

// Calls pack_panel(first row, row behind the last) for every panel, each by one thread.
template <class F>
void Matrix::each_panel(Pool& pool, F pack_panel) {
  if (int8_) scale_ = Buffer<float>((int64_t)n_panels() * MZ_PANEL);
  if (int8_) bias_sum_ = Buffer<int32_t>((int64_t)n_panels() * MZ_PANEL);
  pool.run([&](int thread) {
    const int64_t panels = n_panels(), threads = pool.size();
    for (int64_t p = panels * thread / threads; p < panels * (thread + 1) / threads; ++p)
      pack_panel((int)p * MZ_PANEL, std::min((int)(p + 1) * MZ_PANEL, n_));
  });
}

void Matrix::pack(const uint16_t* bf16, Pool& pool) {
  each_panel(pool, [&](int first, int last) {
    for (int row = first; row < last; ++row) {
      const uint16_t* weights = bf16 + (int64_t)row * k_;
      if (!int8_) {
        put_bf16(weights, row);
        continue;
      }
      int8_t q[1 << 16];
      put_int8(q, quantise(weights, k_, q), row);
    }
  });
}

void Matrix::pack(const int8_t* q, const float* scales, Pool& pool) {
  each_panel(pool, [&](int first, int last) {
    for (int row = first; row < last; ++row) put_int8(q + (int64_t)row * k_, scales[row], row);
  });
}

void Matrix::put_int8(const int8_t* row, float scale, int at) {
  int8_t* to = (int8_t*)panels_ + (int64_t)(at / MZ_PANEL) * MZ_PANEL * k_padded() + at % MZ_PANEL * 4;
  for (int k = 0; k < k_; k += 4) std::memcpy(to + k * MZ_PANEL, row + k, std::min(4, k_ - k));
  int32_t sum = 0;
  for (int k = 0; k < k_; ++k) sum += row[k];
  scale_[at] = scale;
  bias_sum_[at] = bias_ * sum;
}

void Matrix::put_bf16(const uint16_t* row, int at) {
  uint16_t* to = (uint16_t*)panels_ + (int64_t)(at / MZ_PANEL) * MZ_PANEL * k_padded() + at % MZ_PANEL * 2;
  for (int k = 0; k < k_; ++k) to[k / 2 * 32 + k % 2] = row[k];
}

void Matrix::row(int at, float* out) const {
  const int64_t panel = (int64_t)(at / MZ_PANEL) * MZ_PANEL * k_padded();
  if (int8_) {
    const int8_t* from = (const int8_t*)panels_ + panel + at % MZ_PANEL * 4;
    for (int k = 0; k < k_; ++k) out[k] = scale_[at] * (float)from[k / 4 * 64 + k % 4];
  } else {
    const uint16_t* from = (const uint16_t*)panels_ + panel + at % MZ_PANEL * 2;
    for (int k = 0; k < k_; ++k) out[k] = widen(from[k / 2 * 32 + k % 2]);
  }
}

}  // namespace mezzotint
