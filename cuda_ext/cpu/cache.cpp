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
  const int64_t n_parts = (int64_t)n_heads_ * shape.n_layers;
  keys_ = Buffer<int16_t>(keys_size_ * n_parts);
  values_ = Buffer<int16_t>(values_size_ * n_parts);
  key_scales_ = Buffer<float>(rows_ * n_parts);
  value_scales_ = Buffer<float>(rows_ * n_parts);
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

void Cache::put_key(int layer, int head, int slot, const int16_t* key, float scale) const {
  int16_t* at = keys(layer, head) + (int64_t)(slot / MZ_PANEL) * MZ_PANEL * d_head_ + slot % MZ_PANEL * 2;
  for (int i = 0; i < d_head_; i += 2) std::memcpy(at + i * MZ_PANEL, key + i, 2 * sizeof *key);
  key_scales(layer, head)[slot] = scale;
}

void Cache::put_value(int layer, int head, int slot, const int16_t* value, float scale) const {
  int16_t* at = values(layer, head) + slot / 2 * 32 + slot % 2;
  for (int i = 0; i < d_head_; ++i) at[i / MZ_PANEL * value_stride() + i % MZ_PANEL * 2] = value[i];
  value_scales(layer, head)[slot] = scale;
}

}  // namespace mezzotint
