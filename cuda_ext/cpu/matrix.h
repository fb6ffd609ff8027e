// Weights packed for the kernels: aligned memory, and a matrix in int8 or bf16 panels.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

#include "kernels.h"
#include "pool.h"

namespace mezzotint {

// Zeroed memory at an address that is a multiple of a cache line; the system gives large ones page by page, as they are
// written to.
template <class T>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(int64_t n) : memory_(std::calloc((size_t)n * sizeof(T) + LINE, 1)), n_(n) {
    if (!memory_) throw std::bad_alloc();
    const uintptr_t at = (reinterpret_cast<uintptr_t>(memory_.get()) + LINE - 1) / LINE * LINE;
    data_ = reinterpret_cast<T*>(at);
  }
  T* data() const { return data_; }
  T& operator[](int64_t i) const { return data_[i]; }
  int64_t size() const { return n_; }
  int64_t bytes() const { return n_ * (int64_t)sizeof(T); }

 private:
  static constexpr uintptr_t LINE = 64;
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };
  std::unique_ptr<void, Free> memory_;
  T* data_ = nullptr;
  int64_t n_ = 0;
};

inline int64_t round_up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

inline float widen(uint16_t bf16) {
  const uint32_t bits = (uint32_t)bf16 << 16;
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}

// Memory that is read from end to end in every pass: in large pages where the system has them, for with pages of 4 KB
// translating addresses costs as much as reading.
Buffer<uint8_t> in_large_pages(int64_t n_bytes);

// A weight matrix (out n, in k): a product is what the kernels give for panels [0, n_panels()).
class Matrix {
 public:
  Matrix() = default;
  Matrix(int n, int k, bool int8, int bias) : n_(n), k_(k), int8_(int8), bias_(bias) {}

  int64_t panel_bytes() const { return (int64_t)n_panels() * MZ_PANEL * k_padded() * (int8_ ? 1 : 2); }
  void place(uint8_t* memory) { panels_ = memory; }  // zeroed, for `panel_bytes`

  // (n, k) row-major, packed by all threads; the second one takes int8 rows as they are.
  void pack(const uint16_t* bf16, Pool& pool);
  void pack(const int8_t* q, const float* scales, Pool& pool);
  void row(int at, float* out) const;  // what one row is now
  int n() const { return n_; }
  int k() const { return k_; }
  int n_panels() const { return (n_ + MZ_PANEL - 1) / MZ_PANEL; }
  int64_t bytes() const { return panel_bytes() + scale_.bytes() + bias_sum_.bytes(); }
  mz_int8 int8() const { return {(int8_t*)panels_, scale_.data(), bias_sum_.data(), (int32_t)k_padded()}; }
  mz_bf16 bf16() const { return {(uint16_t*)panels_, k_padded() * MZ_PANEL, (int32_t)k_padded()}; }

 private:
  int64_t k_padded() const { return round_up(k_, int8_ ? 4 : 2); }
  template <class F>
  void each_panel(Pool& pool, F pack_panel);
  void put_int8(const int8_t* row, float scale, int at);
  void put_bf16(const uint16_t* row, int at);

  int n_ = 0, k_ = 0;
  bool int8_ = false;
  int bias_ = 0;
  uint8_t* panels_ = nullptr;  // in the model's memory
  Buffer<float> scale_;
  Buffer<int32_t> bias_sum_;
};

}  // namespace mezzotint
