// Packs a weight matrix: per output channel to int8, or as it is, into panels of 16 output columns.
#include "matrix.h"

#include <algorithm>
#include <cmath>

namespace mezzotint {

void Matrix::pack(const uint16_t* bf16) {
  const int64_t columns = (int64_t)n_panels() * MZ_PANEL;
  if (int8_) {
    bytes_ = Buffer<int8_t>(columns * round_up(k_, 4));
    scale_ = Buffer<float>(columns);
    bias_sum_ = Buffer<int32_t>(columns);
  } else {
    words_ = Buffer<uint16_t>(columns * round_up(k_, 2));
  }
  for (int row = 0; row < n_; ++row) {
    const uint16_t* weights = bf16 + (int64_t)row * k_;
    int8_ ? pack_int8(weights, row) : pack_bf16(weights, row);
  }
}

// Symmetric, halves to even; the scale of a row of zeros is 0.
void Matrix::pack_int8(const uint16_t* row, int at) {
  float largest = 0;
  for (int k = 0; k < k_; ++k) largest = std::max(largest, std::fabs(widen(row[k])));
  const float scale = largest / 127.0f;
  int32_t sum = 0;
  int8_t* panel = bytes_.data() + (int64_t)(at / MZ_PANEL) * MZ_PANEL * round_up(k_, 4);
  for (int k = 0; k < k_; ++k) {
    const int q = scale > 0 ? (int)std::nearbyint(widen(row[k]) / scale) : 0;
    panel[k / 4 * 64 + at % MZ_PANEL * 4 + k % 4] = (int8_t)q;
    sum += q;
  }
  scale_[at] = scale;
  bias_sum_[at] = bias_ * sum;
}

void Matrix::pack_bf16(const uint16_t* row, int at) {
  uint16_t* panel = words_.data() + (int64_t)(at / MZ_PANEL) * MZ_PANEL * round_up(k_, 2);
  for (int k = 0; k < k_; ++k) panel[k / 2 * 32 + at % MZ_PANEL * 2 + k % 2] = row[k];
}

}  // namespace mezzotint
