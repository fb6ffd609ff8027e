// The first rows of a forward pass: embedding, its norm, and the mark of canvas rows.
//
// Rule for norms: a producer of rows x writes x (float32), x times the next norm's gain (packed bfloat16) and sums of
// squares; the consumer multiplies first and scales its result by 1 / rms. So a norm costs no kernel of its own.
#pragma once

#include "kernels/state.cuh"

// One block per row. `sums` gets one part.
__global__ void mz_embed(const mz_pass* pass, const uint16_t* embedding, const float* embed_gain,
                         const float* canvas_embed, const float* next_gain, int d_model, float* x, uint16_t* packed,
                         float* sums) {
  const int row = blockIdx.x;
  if (pass->stop || row >= pass->n_rows) return;
  MZ_SHARED(float, scratch, 32);
  const int id = pass->ids[row], k_steps = d_model / 16;
  float squares = 0;
  for (int i = threadIdx.x; i < d_model; i += blockDim.x) {
    const float value = mz_to_float(embedding[mz_packed_weight(id, i, k_steps)]);
    squares += value * value;
  }
  const float scale = rsqrtf(mz_block_sum(squares, scratch) / d_model + MZ_NORM_EPSILON);
  squares = 0;
  for (int i = threadIdx.x; i < d_model; i += blockDim.x) {
    float value = mz_to_float(embedding[mz_packed_weight(id, i, k_steps)]) * scale * embed_gain[i];
    if (!pass->causal) value += canvas_embed[i];
    x[(size_t)row * d_model + i] = value;
    packed[mz_packed_row(row, i, k_steps)] = mz_to_bf16(value * next_gain[i]);
    squares += value * value;
  }
  squares = mz_block_sum(squares, scratch);
  if (threadIdx.x == 0) sums[row] = squares;
}
