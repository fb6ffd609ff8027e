// Rows over the cached context and one another: blocks of them both ways, one behind the other.
//
// Idea: the query heads that share a key head are so many more rows, so keys and values are read once for all of them.
// Blocks split the keys; the last block of a row tile joins the parts. The length is read on the device.
#pragma once

#include "kernels/state.cuh"

#define MZ_ATTENTION_THREADS 128
#define MZ_ATTENTION_ROWS 64  // of a block, 16 per warp
#define MZ_ATTENTION_KEYS 32  // fetched at a time

typedef struct {
  const mz_pass* pass;
  const uint16_t* q;        // (rows, n_heads, d_head)
  const uint16_t *k, *v;    // this layer's cache: (n_kv_heads, capacity, d_head)
  int n_heads, n_kv_heads, capacity;
  int context_sees, canvas_sees;  // rows of a kind see one another in blocks of so many
  int max_tiles;            // row tiles the grid has
  float* partial;           // splits > 1: (n_kv_heads * max_tiles, splits, 64, d_head)
  float2* partial_norm;     // (..., splits, 64): largest score, sum
  int* counters;            // (n_kv_heads * max_tiles), zero
  uint16_t* out;            // packed rows (rows, n_heads * d_head)
} mz_attention_args;

// The slots that a row sees: those below `below`, and [first, stop).
typedef struct {
  int below, first, stop;
} mz_seen;

// Context rows see what is in front of them, and their block; canvas rows the decided tokens, and blocks of the canvas.
MZ_DEVICE mz_seen mz_row_sees(const mz_plan* plan, int row, int context_sees, int canvas_sees) {
  const int first = plan->start + plan->n_context, slot = plan->start + row, at = row - plan->n_context;
  if (at < 0) {
    const int stop = (slot / context_sees + 1) * context_sees;
    return mz_seen{stop < first ? stop : first, first, first};
  }
  const int n = (at / canvas_sees + 1) * canvas_sees;
  return mz_seen{plan->start + plan->decided, first, first + (n < plan->n_canvas ? n : plan->n_canvas)};
}

// What a warp knows of its 16 rows; a lane holds rows lane / 4 and that + 8. Scores are in powers of two.
template <int Width>
struct mz_attention_rows {
  float out[Width / 8][4], most[2], sum[2];
};

template <int Width>
MZ_DEVICE void mz_attention_fetch(const uint16_t* keys, const uint16_t* values, int first, int n_keys, uint16_t* k,
                                  uint16_t* v) {
  constexpr int Chunks = Width / 8;
  for (int i = threadIdx.x; i < MZ_ATTENTION_KEYS * Chunks; i += MZ_ATTENTION_THREADS) {
    const int key = i / Chunks, chunk = i % Chunks;
    const size_t from = (size_t)(first + key < n_keys ? first + key : n_keys - 1) * Width + chunk * 8;
    mz_copy_async(&k[key * (Width + 8) + chunk * 8], &keys[from]);
    mz_copy_async(&v[key * (Width + 8) + chunk * 8], &values[from]);
  }
}

// The next 32 keys.
template <int Width>
MZ_DEVICE void mz_attention_step(const uint32_t (&q)[Width / 16][4], const uint16_t* k, const uint16_t* v, int first,
                                 const mz_seen (&seen)[2], float scale, mz_attention_rows<Width>& rows) {
  const int lane = threadIdx.x % 32;
  float score[MZ_ATTENTION_KEYS / 8][4] = {};
#pragma unroll
  for (int step = 0; step < Width / 16; ++step)
#pragma unroll
    for (int n = 0; n < MZ_ATTENTION_KEYS / 16; ++n) {
      uint32_t b[4];
      mz_load_matrices(b, &k[(n * 16 + lane / 16 * 8 + lane % 8) * (Width + 8) + step * 16 + lane / 8 % 2 * 8]);
      mz_multiply(score[2 * n], q[step], b[0], b[1]);
      mz_multiply(score[2 * n + 1], q[step], b[2], b[3]);
    }
  float most[2] = {rows.most[0], rows.most[1]}, shrink[2], base[2];
#pragma unroll
  for (int n = 0; n < MZ_ATTENTION_KEYS / 8; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int key = first + n * 8 + lane % 4 * 2 + i % 2;
      const mz_seen sees = seen[i / 2];
      const bool is_seen = key < sees.below || (key >= sees.first && key < sees.stop);
      score[n][i] = is_seen ? score[n][i] * scale : -INFINITY;
      most[i / 2] = fmaxf(most[i / 2], score[n][i]);
    }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    most[i] = fmaxf(most[i], __shfl_xor_sync(0xFFFFFFFFu, most[i], 1));
    most[i] = fmaxf(most[i], __shfl_xor_sync(0xFFFFFFFFu, most[i], 2));
    base[i] = most[i] == -INFINITY ? 0 : most[i];
    shrink[i] = exp2f(rows.most[i] - base[i]);
    rows.most[i] = most[i];
    rows.sum[i] *= shrink[i];
  }
#pragma unroll
  for (int n = 0; n < Width / 8; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) rows.out[n][i] *= shrink[i / 2];
#pragma unroll
  for (int n = 0; n < MZ_ATTENTION_KEYS / 8; ++n)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      score[n][i] = exp2f(score[n][i] - base[i / 2]);
      rows.sum[i / 2] += score[n][i];
    }
#pragma unroll
  for (int n = 0; n < MZ_ATTENTION_KEYS / 16; ++n) {  // the scores are the first factor of the next product as they lie
    const float(&low)[4] = score[2 * n];
    const float(&high)[4] = score[2 * n + 1];
    const uint32_t p[4] = {mz_pair(low[0], low[1]), mz_pair(low[2], low[3]), mz_pair(high[0], high[1]),
                           mz_pair(high[2], high[3])};
#pragma unroll
    for (int d = 0; d < Width / 16; ++d) {
      uint32_t b[4];
      mz_load_matrices_transposed(b, &v[(n * 16 + lane % 16) * (Width + 8) + d * 16 + lane / 16 * 8]);
      mz_multiply(rows.out[2 * d], p, b[0], b[1]);
      mz_multiply(rows.out[2 * d + 1], p, b[2], b[3]);
    }
  }
}

// Join the splits' parts of one row tile, two columns per thread at a time.
template <int Width>
MZ_DEVICE void mz_attention_join(const mz_attention_args& a, int tile_id, int head_row, int n_folded, int n_rows,
                                 int group, int kv_head) {
  const int n_splits = gridDim.z;
  const float* parts = a.partial + (size_t)tile_id * n_splits * MZ_ATTENTION_ROWS * Width;
  const float2* norms = a.partial_norm + (size_t)tile_id * n_splits * MZ_ATTENTION_ROWS;
  for (int i = threadIdx.x; i < MZ_ATTENTION_ROWS * Width; i += MZ_ATTENTION_THREADS) {
    const int r = i / Width, d = i % Width, folded = head_row + r;
    if (folded >= n_folded) return;
    float most = -INFINITY, sum = 0, out = 0;
    for (int s = 0; s < n_splits; ++s) most = fmaxf(most, norms[s * MZ_ATTENTION_ROWS + r].x);
    for (int s = 0; s < n_splits; ++s) {
      const float2 norm = norms[s * MZ_ATTENTION_ROWS + r];
      if (norm.y == 0) continue;  // a part without keys was never written
      const float weight = exp2f(norm.x - most);
      sum += weight * norm.y;
      out += weight * parts[((size_t)s * MZ_ATTENTION_ROWS + r) * Width + d];
    }
    const int head = kv_head * group + folded / n_rows, row = folded % n_rows;
    a.out[mz_packed_row(row, head * Width + d, a.n_heads * Width / 16)] = mz_to_bf16(out / sum);
  }
}

// Grid (row tiles, n_kv_heads, splits). `Width`: of a head, 64 or 128.
template <int Width>
__global__ void __launch_bounds__(MZ_ATTENTION_THREADS) mz_attention(mz_attention_args a) {
  const mz_plan* plan = &a.pass->plan;
  const int n_rows = mz_n_rows(plan), group = a.n_heads / a.n_kv_heads, n_folded = group * n_rows;
  const int head_row = blockIdx.x * MZ_ATTENTION_ROWS, kv_head = blockIdx.y;
  if (a.pass->stop || head_row >= n_folded) return;
  MZ_SHARED(uint16_t, k, 2 * MZ_ATTENTION_KEYS * (Width + 8));
  MZ_SHARED(uint16_t, v, 2 * MZ_ATTENTION_KEYS * (Width + 8));
  MZ_SHARED(int, flag, 1);
  constexpr int Stage = MZ_ATTENTION_KEYS * (Width + 8);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, n_keys = plan->start + n_rows;
  const int share = ((n_keys + gridDim.z - 1) / gridDim.z + MZ_ATTENTION_KEYS - 1) / MZ_ATTENTION_KEYS;
  const int first = blockIdx.z * share * MZ_ATTENTION_KEYS;
  const int stop = first + share * MZ_ATTENTION_KEYS < n_keys ? first + share * MZ_ATTENTION_KEYS : n_keys;
  const uint16_t* keys = a.k + (size_t)kv_head * a.capacity * Width;
  const uint16_t* values = a.v + (size_t)kv_head * a.capacity * Width;

  mz_seen seen[2];
  uint32_t q[Width / 16][4];
  const uint16_t* from[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int r = head_row + warp * 16 + lane / 4 + i * 8, folded = r < n_folded ? r : n_folded - 1;
    const int row = folded % n_rows;
    seen[i] = mz_row_sees(plan, row, a.context_sees, a.canvas_sees);
    from[i] = a.q + ((size_t)row * a.n_heads + kv_head * group + folded / n_rows) * Width;
  }
#pragma unroll
  for (int step = 0; step < Width / 16; ++step)
#pragma unroll
    for (int i = 0; i < 4; ++i)
      q[step][i] = *(const uint32_t*)&from[i % 2][step * 16 + lane % 4 * 2 + i / 2 * 8];

  mz_attention_rows<Width> rows;
#pragma unroll
  for (int n = 0; n < Width / 8; ++n) rows.out[n][0] = rows.out[n][1] = rows.out[n][2] = rows.out[n][3] = 0;
  rows.most[0] = rows.most[1] = -INFINITY;
  rows.sum[0] = rows.sum[1] = 0;
  const float scale = 1.44269504f / sqrtf((float)Width);
  if (first < stop) mz_attention_fetch<Width>(keys, values, first, n_keys, k, v);
  mz_copy_commit();
  for (int key = first, stage = 0; key < stop; key += MZ_ATTENTION_KEYS, stage ^= 1) {
    if (key + MZ_ATTENTION_KEYS < stop)
      mz_attention_fetch<Width>(keys, values, key + MZ_ATTENTION_KEYS, n_keys, k + (stage ^ 1) * Stage,
                                v + (stage ^ 1) * Stage);
    mz_copy_commit();
    mz_copy_wait<1>();
    __syncthreads();
    mz_attention_step<Width>(q, k + stage * Stage, v + stage * Stage, key, seen, scale, rows);
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    rows.sum[i] += __shfl_xor_sync(0xFFFFFFFFu, rows.sum[i], 1);
    rows.sum[i] += __shfl_xor_sync(0xFFFFFFFFu, rows.sum[i], 2);
  }

  const int tile_id = kv_head * a.max_tiles + blockIdx.x, part = tile_id * gridDim.z + blockIdx.z;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int r = warp * 16 + lane / 4 + i * 8, folded = head_row + r;
    if (folded >= n_folded) continue;
    const int head = kv_head * group + folded / n_rows, row = folded % n_rows;
    if (gridDim.z > 1 && lane % 4 == 0)
      a.partial_norm[(size_t)part * MZ_ATTENTION_ROWS + r] = float2{rows.most[i], rows.sum[i]};
    if (rows.sum[i] == 0) continue;
#pragma unroll
    for (int n = 0; n < Width / 8; ++n)
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const int d = n * 8 + lane % 4 * 2 + j;
        if (gridDim.z > 1)
          a.partial[((size_t)part * MZ_ATTENTION_ROWS + r) * Width + d] = rows.out[n][2 * i + j];
        else
          a.out[mz_packed_row(row, head * Width + d, a.n_heads * Width / 16)] =
              mz_to_bf16(rows.out[n][2 * i + j] / rows.sum[i]);
      }
  }
  if (gridDim.z > 1 && mz_last_block(&a.counters[tile_id], gridDim.z, flag))
    mz_attention_join<Width>(a, tile_id, head_row, n_folded, n_rows, group, kv_head);
}
