// Keys and values of one context and of the rows behind it.
#pragma once

#include <atomic>

#include "matrix.h"

namespace mezzotint {

constexpr int MAX_CAPACITY = 1 << 16;  // rows of a cache

// In int16 panels with a scale per slot, per layer and key head: keys as columns ([d/2][16 keys][2] each 16), values as rows
// ([rows/2][16 dims][2] each 16 dims), so that attention is two matrix products like all others.
class Cache {
 public:
  Cache(const mz_shape& shape, int capacity);

  int capacity() const { return capacity_; }
  int16_t* keys(int layer, int head) const { return keys_.data() + (layer * n_heads_ + head) * keys_size_; }
  int16_t* values(int layer, int head) const { return values_.data() + (layer * n_heads_ + head) * values_size_; }
  float* key_scales(int layer, int head) const { return key_scales_.data() + ((int64_t)layer * n_heads_ + head) * rows_; }
  float* value_scales(int layer, int head) const {
    return value_scales_.data() + ((int64_t)layer * n_heads_ + head) * rows_;
  }
  int64_t value_stride() const { return (int64_t)rows_ * MZ_PANEL; }
  const float* cos(int position) const { return cos_.data() + (int64_t)position * (d_head_ / 2); }
  const float* sin(int position) const { return sin_.data() + (int64_t)position * (d_head_ / 2); }
  int32_t id(int slot) const { return ids_[slot]; }
  void put_id(int slot, int32_t id) const { ids_[slot] = id; }
  void put_key(int layer, int head, int slot, const int16_t* key, float scale) const;
  void put_value(int layer, int head, int slot, const int16_t* value, float scale) const;

  std::atomic<bool> busy{false};  // a run is writing to it

 private:
  int capacity_, rows_, n_heads_, d_head_;  // rows_: capacity in whole panels
  int64_t keys_size_, values_size_;         // of a layer's head
  Buffer<int16_t> keys_, values_;
  Buffer<float> key_scales_, value_scales_;
  Buffer<int32_t> ids_;  // of the context tokens
  Buffer<float> cos_, sin_;
};

}  // namespace mezzotint
