// Queries, keys and values out of one product: bias, norms of the heads, rotation, and the new rows of the cache.
#pragma once

#include "kernels/state.cuh"

typedef struct {
  const mz_pass* pass;
  const float* qkv;                // (rows, (n_heads + 2 n_kv_heads) d_head)
  const float* bias;               // ((n_heads + 2 n_kv_heads) d_head), or null
  const float *q_gain, *k_gain;    // (d_head), or null
  const float* inverse_frequency;  // (d_head / 2)
  int n_heads, n_kv_heads, d_head, capacity, shift;
  float norm_eps;
  uint16_t* q;                     // (rows, n_heads, d_head)
  uint16_t *k, *v;                 // this layer's cache: (n_kv_heads, capacity, d_head)
} mz_rope_args;

// Grid (rows, ceil(heads / warps)), one warp per row and head. A row's slot is where its keys and values go, its
// position what they are rotated by.
__global__ void mz_rope(mz_rope_args a) {
  const mz_plan& plan = a.pass->plan;
  const int row = blockIdx.x, lane = threadIdx.x % 32, d = a.d_head, half = d / 2, slot = plan.start + row;
  const int head = blockIdx.y * (blockDim.x / 32) + threadIdx.x / 32, n_rotated = a.n_heads + a.n_kv_heads;
  if (a.pass->stop || row >= mz_n_rows(&plan) || head >= n_rotated + a.n_kv_heads) return;
  const float* from = a.qkv + ((size_t)row * (n_rotated + a.n_kv_heads) + head) * d;
  const float* bias = a.bias ? a.bias + (size_t)head * d : nullptr;
  const auto x = [&](int i) { return bias ? from[i] + bias[i] : from[i]; };
  if (head >= n_rotated) {
    uint16_t* v = a.v + ((size_t)(head - n_rotated) * a.capacity + slot) * d;
    for (int i = lane; i < d; i += 32) v[i] = mz_to_bf16(x(i));
    return;
  }
  const bool is_q = head < a.n_heads;
  const float* gain = is_q ? a.q_gain : a.k_gain;
  float scale = 1, squares = 0;
  if (gain) {
    for (int i = lane; i < d; i += 32) squares += x(i) * x(i);
    scale = rsqrtf(mz_warp_sum(squares) / d + a.norm_eps);
  }
  const auto normed = [&](int i) { return gain ? x(i) * scale * gain[i] : x(i); };
  uint16_t* out = is_q ? a.q + ((size_t)row * a.n_heads + head) * d
                       : a.k + ((size_t)(head - a.n_heads) * a.capacity + slot) * d;
  const float position = (float)mz_position(&plan, row, a.shift);
  for (int i = lane; i < half; i += 32) {
    const float low = normed(i), high = normed(i + half);
    const float angle = position * a.inverse_frequency[i], cosine = cosf(angle), sine = sinf(angle);
    out[i] = mz_to_bf16(low * cosine - high * sine);
    out[i + half] = mz_to_bf16(high * cosine + low * sine);
  }
}
