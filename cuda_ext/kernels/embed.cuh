// The first rows of a forward pass: embedding, its norm, the neighbours, and the mark of canvas rows.
//
// Rule for norms: a producer of rows x writes x (float32), x times the next norm's gain (packed bfloat16) and sums of
// squares; the consumer multiplies first and scales its result by 1 / rms. So a norm costs no kernel of its own.
#pragma once

#include "kernels/state.cuh"

// What is added to a row's embedding: `left` and `right` have a row for every token, and one where there is none.
typedef struct {
  const uint16_t *left, *right;
  const float* canvas;
  int32_t* context_ids;  // of the cache; context rows write theirs
  int none;
} mz_beside;

// One block per row. `sums` gets one part.
__global__ void mz_embed(const mz_pass* pass, const uint16_t* embedding, const float* embed_gain, mz_beside beside,
                         const float* next_gain, int d_model, float* x, uint16_t* packed, float* sums) {
  const int row = blockIdx.x;
  if (pass->stop || row >= pass->n_rows) return;
  MZ_SHARED(float, scratch, 32);
  const int id = pass->ids[row], k_steps = d_model / 16, start = pass->start;
  const int before = row ? pass->ids[row - 1] : start ? beside.context_ids[start - 1] : beside.none;
  const int behind = row + 1 < pass->n_rows ? pass->ids[row + 1] : beside.none;
  if (pass->causal && threadIdx.x == 0) beside.context_ids[start + row] = id;
  float squares = 0;
  for (int i = threadIdx.x; i < d_model; i += blockDim.x) {
    const float value = mz_to_float(embedding[mz_packed_weight(id, i, k_steps)]);
    squares += value * value;
  }
  const float scale = rsqrtf(mz_block_sum(squares, scratch) / d_model + MZ_NORM_EPSILON);
  squares = 0;
  for (int i = threadIdx.x; i < d_model; i += blockDim.x) {
    float value = mz_to_float(embedding[mz_packed_weight(id, i, k_steps)]) * scale * embed_gain[i];
    value += mz_to_float(beside.left[(size_t)before * d_model + i]);
    if (!pass->causal) value += beside.canvas[i] + mz_to_float(beside.right[(size_t)behind * d_model + i]);
    x[(size_t)row * d_model + i] = value;
    packed[mz_packed_row(row, i, k_steps)] = mz_to_bf16(value * next_gain[i]);
    squares += value * value;
  }
  squares = mz_block_sum(squares, scratch);
  if (threadIdx.x == 0) sums[row] = squares;
}
