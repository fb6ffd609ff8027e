// Where keys and values lie, and the rotations of every position.
#include "cache.h"

#include <cmath>

#include "model.h"

namespace mezzotint {

Cache::Cache(const mz_shape& shape, int capacity)
    : capacity_(capacity), n_heads_(shape.n_kv_heads), d_head_(shape.d_head) {
  if (capacity < 1 || capacity > MAX_CAPACITY) throw Error{"a cache holds 1 to 65536 rows"};
  rows_ = (int)round_up(capacity, MZ_PANEL);
  keys_size_ = (int64_t)rows_ * d_head_;
  values_size_ = (int64_t)rows_ * round_up(d_head_, MZ_PANEL);
  keys_ = Buffer<uint16_t>(keys_size_ * n_heads_ * shape.n_layers);
  values_ = Buffer<uint16_t>(values_size_ * n_heads_ * shape.n_layers);
  ids_ = Buffer<int32_t>(capacity);
  const int half = d_head_ / 2;
  cos_ = Buffer<float>((int64_t)capacity * half);
  sin_ = Buffer<float>((int64_t)capacity * half);
  for (int i = 0; i < half; ++i) {
    const float frequency = (float)std::pow((double)shape.rope_base, (double)(-(float)(2 * i) / (float)d_head_));
    for (int position = 0; position < capacity; ++position) {
      const float angle = (float)position * frequency;
      cos_[(int64_t)position * half + i] = std::cos(angle);
      sin_[(int64_t)position * half + i] = std::sin(angle);
    }
  }
}

void Cache::put_key(int layer, int head, int slot, const uint16_t* key) const {
  uint16_t* at = keys(layer, head) + (int64_t)(slot / MZ_PANEL) * MZ_PANEL * d_head_ + slot % MZ_PANEL * 2;
  for (int i = 0; i < d_head_; i += 2) at[i * MZ_PANEL] = key[i], at[i * MZ_PANEL + 1] = key[i + 1];
}

void Cache::put_value(int layer, int head, int slot, const uint16_t* value) const {
  uint16_t* at = values(layer, head) + slot / 2 * 32 + slot % 2;
  for (int i = 0; i < d_head_; ++i) at[i / MZ_PANEL * value_stride() + i % MZ_PANEL * 2] = value[i];
}

}  // namespace mezzotint
