// The first rows of a forward pass: embedding, and with extras its norm, the neighbours, the mark of canvas rows.
//
// Rule for norms: a producer of rows x writes x (float32), x times the next norm's gain (packed bfloat16) and sums of
// squares; the consumer multiplies first and scales its result by 1 / rms. So a norm costs no kernel of its own.
#pragma once

#include "kernels/state.cuh"

typedef struct {
  const mz_pass* pass;
  const uint16_t* embedding;  // packed
  int d_model, shift;
  int32_t* context_ids;       // of the cache; context rows write theirs
  const float* next_gain;
  float* x;                   // (rows, d_model)
  uint16_t* packed;
  float* sums;                // of squares: one part
  // Extras; null without. `left` and `right` have a row for every token, and one, `none`, where there is none.
  const float *embed_gain, *canvas;
  const uint16_t *left, *right;
  int none;
  float norm_eps;
} mz_embed_args;

// The token in front of the canvas, or in front of the context rows.
MZ_DEVICE int mz_before(const mz_embed_args& a, bool canvas) {
  const mz_plan& plan = a.pass->plan;
  if (canvas && plan.decided) return plan.ids[plan.decided - 1];
  return plan.start ? a.context_ids[plan.start - 1] : a.none;
}

// The token that a row is given: its own, or on a canvas where the model shifts that of the row before.
MZ_DEVICE int mz_fed(const mz_embed_args& a, int row) {
  const mz_plan& plan = a.pass->plan;
  if (row < plan.n_context || !a.shift) return plan.ids[row];
  return row > plan.n_context ? plan.ids[row - 1] : mz_before(a, true);
}

// One block per row.
__global__ void mz_embed(mz_embed_args a) {
  const mz_plan& plan = a.pass->plan;
  const int row = blockIdx.x, n_rows = mz_n_rows(&plan), d = a.d_model, k_steps = d / 16;
  if (a.pass->stop || row >= n_rows) return;
  MZ_SHARED(float, scratch, 32);
  const bool canvas = row >= plan.n_context;
  const int id = mz_fed(a, row);
  if (!canvas && threadIdx.x == 0) a.context_ids[plan.start + row] = id;
  float scale = 1, squares = 0;
  const uint16_t *left = nullptr, *right = nullptr;
  if (a.embed_gain) {
    for (int i = threadIdx.x; i < d; i += blockDim.x) {
      const float value = mz_to_float(a.embedding[mz_packed_weight(id, i, k_steps)]);
      squares += value * value;
    }
    scale = rsqrtf(mz_block_sum(squares, scratch) / d + a.norm_eps);
    const bool first = row == (canvas ? plan.n_context : 0);
    left = a.left + (size_t)(first ? mz_before(a, canvas) : mz_fed(a, row - 1)) * d;
    right = a.right + (size_t)(row + 1 < n_rows ? mz_fed(a, row + 1) : a.none) * d;
  }
  squares = 0;
  for (int i = threadIdx.x; i < d; i += blockDim.x) {
    float value = mz_to_float(a.embedding[mz_packed_weight(id, i, k_steps)]);
    if (left) value = value * scale * a.embed_gain[i] + mz_to_float(left[i]);
    if (left && canvas) value += a.canvas[i] + mz_to_float(right[i]);
    a.x[(size_t)row * d + i] = value;
    a.packed[mz_packed_row(row, i, k_steps)] = mz_to_bf16(value * a.next_gain[i]);
    squares += value * value;
  }
  squares = mz_block_sum(squares, scratch);
  if (threadIdx.x == 0) a.sums[row] = squares;
}
