// Weights as they come (row-major bfloat16) into packed tiles; once, when a model is loaded.
#pragma once

#include "kernels/device.cuh"

// One thread per element of `packed`. Rows from `n_rows` on are zero. With `interleave` the two halves of the rows
// (gate, up) take turns, 8 rows each, so that one thread of the product holds both of a pair.
__global__ void mz_pack_weights(const uint16_t* given, uint16_t* packed, int n_rows, int packed_rows, int n_columns,
                                int interleave) {
  const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= (size_t)packed_rows * n_columns) return;
  const int row = (int)(i / n_columns), column = (int)(i % n_columns);
  const int half = row % 16 / 8, source = interleave ? half * (n_rows / 2) + row / 16 * 8 + row % 8 : row;
  packed[mz_packed_weight(row, column, n_columns / 16)] =
      source < n_rows ? given[(size_t)source * n_columns + column] : (uint16_t)0;
}

// Weights that are stored in int8 with a scale for every row, as bfloat16. One thread per element.
__global__ void mz_widen_int8(const int8_t* given, const float* scales, uint16_t* words, size_t n, int n_columns) {
  const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) words[i] = mz_to_bf16((float)given[i] * scales[i / n_columns]);
}
