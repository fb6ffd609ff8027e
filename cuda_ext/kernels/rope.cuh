// Queries, keys and values out of one product: norms of the heads, rotation, and the new rows of the cache.
#pragma once

#include "kernels/state.cuh"

typedef struct {
  const mz_pass* pass;
  const float* qkv;                // (rows, (n_heads + 2 n_kv_heads) d_head)
  const float *q_gain, *k_gain;    // (d_head)
  const float* inverse_frequency;  // (d_head / 2)
  int n_heads, n_kv_heads, d_head, capacity;
  uint16_t* q;                     // (rows, n_heads, d_head)
  uint16_t *k, *v;                 // this layer's cache: (n_kv_heads, capacity, d_head)
} mz_rope_args;

// Grid (rows, ceil(heads / warps)), one warp per row and head.
__global__ void mz_rope(mz_rope_args a) {
  const int row = blockIdx.x, lane = threadIdx.x % 32;
  const int head = blockIdx.y * (blockDim.x / 32) + threadIdx.x / 32, n_rotated = a.n_heads + a.n_kv_heads;
  if (a.pass->stop || row >= a.pass->n_rows || head >= n_rotated + a.n_kv_heads) return;
  const int position = a.pass->start + row, half = a.d_head / 2;
  const float* x = a.qkv + ((size_t)row * (n_rotated + a.n_kv_heads) + head) * a.d_head;
  if (head >= n_rotated) {
    uint16_t* v = a.v + ((size_t)(head - n_rotated) * a.capacity + position) * a.d_head;
    for (int i = lane; i < a.d_head; i += 32) v[i] = mz_to_bf16(x[i]);
    return;
  }
  float squares = 0;
  for (int i = lane; i < a.d_head; i += 32) squares += x[i] * x[i];
  const float scale = rsqrtf(mz_warp_sum(squares) / a.d_head + MZ_NORM_EPSILON);
  const float* gain = head < a.n_heads ? a.q_gain : a.k_gain;
  uint16_t* out = head < a.n_heads ? a.q + ((size_t)row * a.n_heads + head) * a.d_head
                                   : a.k + ((size_t)(head - a.n_heads) * a.capacity + position) * a.d_head;
  for (int i = lane; i < half; i += 32) {
    const float low = x[i] * scale * gain[i], high = x[i + half] * scale * gain[i + half];
    const float angle = (float)position * a.inverse_frequency[i], cosine = cosf(angle), sine = sinf(angle);
    out[i] = mz_to_bf16(low * cosine - high * sine);
    out[i + half] = mz_to_bf16(high * cosine + low * sine);
  }
}
