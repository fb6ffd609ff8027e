// Weights packed for the kernels: aligned memory, and a matrix in int8 or bf16 panels.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

#include "kernels.h"

namespace mezzotint {

// Zeroed memory at an address that is a multiple of a cache line.
template <class T>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(int64_t n) : n_(n) {
    const size_t bytes = ((size_t)n * sizeof(T) + 63) / 64 * 64;
    void* memory = std::aligned_alloc(64, bytes ? bytes : 64);
    if (!memory) throw std::bad_alloc();
    std::memset(memory, 0, bytes);
    memory_.reset(static_cast<T*>(memory));
  }
  T* data() const { return memory_.get(); }
  T& operator[](int64_t i) const { return memory_.get()[i]; }
  int64_t size() const { return n_; }
  int64_t bytes() const { return n_ * (int64_t)sizeof(T); }

 private:
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };
  std::unique_ptr<T[], Free> memory_;
  int64_t n_ = 0;
};

inline int64_t round_up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

inline float widen(uint16_t bf16) {
  const uint32_t bits = (uint32_t)bf16 << 16;
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}

// A weight matrix (out n, in k): a product is what the kernels give for panels [0, n_panels()).
class Matrix {
 public:
  Matrix() = default;
  Matrix(int n, int k, bool int8, int bias) : n_(n), k_(k), int8_(int8), bias_(bias) {}

  void pack(const uint16_t* bf16);  // (n, k) row-major
  bool packed() const { return words_.data() || bytes_.data(); }
  int n() const { return n_; }
  int k() const { return k_; }
  int n_panels() const { return (n_ + MZ_PANEL - 1) / MZ_PANEL; }
  int64_t bytes() const { return words_.bytes() + bytes_.bytes() + scale_.bytes() + bias_sum_.bytes(); }
  mz_int8 int8() const { return {bytes_.data(), scale_.data(), bias_sum_.data(), (int32_t)round_up(k_, 4)}; }
  mz_bf16 bf16() const { return {words_.data(), round_up(k_, 2) * MZ_PANEL, (int32_t)round_up(k_, 2)}; }

 private:
  void pack_int8(const uint16_t* row, int at);
  void pack_bf16(const uint16_t* row, int at);

  int n_ = 0, k_ = 0;
  bool int8_ = false;
  int bias_ = 0;
  Buffer<int8_t> bytes_;
  Buffer<uint16_t> words_;
  Buffer<float> scale_;
  Buffer<int32_t> bias_sum_;
};

}  // namespace mezzotint
