// The last product and what is asked of it: statistics of the rows that matter, without a logit ever in memory.
#pragma once

#include "kernels/gemm.cuh"

// Final norm of the wanted rows, packed one after another. One block of 128 threads per row.
__global__ void mz_head_rows(const mz_pass* pass, const float* x, const float* gain, int d_model, float norm_eps,
                             uint16_t* packed) {
  const int place = blockIdx.x;
  if (pass->stop || place >= pass->plan.n_wanted) return;
  MZ_SHARED(float, scratch, 32);
  const float* from = x + (size_t)pass->plan.wanted[place] * d_model;
  float squares = 0;
  for (int i = threadIdx.x; i < d_model; i += blockDim.x) squares += from[i] * from[i];
  const float scale = rsqrtf(mz_block_sum(squares, scratch) / d_model + norm_eps);
  for (int i = threadIdx.x; i < d_model; i += blockDim.x)
    packed[mz_packed_row(place, i, d_model / 16)] = mz_to_bf16(from[i] * scale * gain[i]);
}

typedef struct {
  const mz_pass* pass;
  const mz_loop* loop;
  const uint8_t* flags;   // (vocab)
  const uint4* weights;   // packed (vocab, padded to 32, K)
  const uint4* x;         // packed wanted rows
  int k_steps, vocab;
  mz_stat* parts;         // (blocks, MZ_MAX_ROWS)
} mz_head_args;

// One block's part of the vocabulary: every gridDim.x-th tile of Tiles * 16 tokens.
template <int Rows, int Tiles>
__global__ void __launch_bounds__(MZ_GEMM_THREADS) mz_head_stats(mz_head_args a) {
  if (a.pass->stop || !a.pass->plan.n_wanted) return;
  MZ_SHARED(float, shared, MZ_GEMM_SHARED);
  constexpr int Width = Tiles * 16, Slices = MZ_GEMM_THREADS / Rows;
  const mz_control* c = &a.loop->control;
  const mz_plan* plan = &a.pass->plan;
  const int n_wanted = plan->n_wanted, warp = threadIdx.x / 32;
  const int place = threadIdx.x % Rows, slice = threadIdx.x / Rows;
  const bool used = place < n_wanted;
  const int row = used ? plan->at[place] : 0, own = used ? plan->own[place] : 0;
  const mz_rule rule = used ? plan->rule[place] : mz_rule{0, 0, 0, 0};
  const uint32_t step = c->verdict ? 0 : a.loop->canvas.step + 1;  // a verdict's sample is the seed's and the row's
  const bool warm = c->temperature > 0;
  const float heat = warm ? 1 / c->temperature : 1;
  mz_stat stat = mz_stat_empty();
  for (int first = blockIdx.x * Width; first < a.vocab; first += gridDim.x * Width) {
    float sum[Tiles][Rows / 8][4];
    mz_gemm_multiply<Rows, Tiles>(a.weights + (size_t)(first / 16) * a.k_steps * 32, a.x, a.k_steps,
                                  a.k_steps * warp / MZ_GEMM_WARPS, a.k_steps * (warp + 1) / MZ_GEMM_WARPS,
                                  (n_wanted + 15) / 16, (uint4*)shared + warp * 256, sum);
    mz_gemm_reduce<Rows, Tiles>(sum, shared);
    for (int n = slice; n < Width; n += Slices) {
      const int id = first + n;
      if (!used || id >= a.vocab || !mz_allowed(rule, a.flags[id])) continue;
      float x = shared[mz_gemm_place<Rows, Tiles>(0, n, place)] * heat;
      if (warm) x += mz_gumbel(c->seed, step, row, id);
      stat = mz_stat_add(stat, x, id, mz_ends(rule, a.flags[id]), id == own);
    }
    __syncthreads();
  }
  mz_stat* stats = (mz_stat*)shared;
  stats[threadIdx.x] = stat;
  __syncthreads();
  if (slice > 0 || !used) return;
  for (int i = 1; i < Slices; ++i) stat = mz_stat_merge(stat, stats[i * Rows + place]);
  a.parts[(size_t)blockIdx.x * MZ_MAX_ROWS + place] = stat;
}

// The blocks' parts together. One block of 128 threads per wanted row.
__global__ void mz_head_merge(const mz_pass* pass, mz_loop* loop, const mz_stat* parts, int n_parts) {
  const int place = blockIdx.x;
  if (pass->stop || place >= pass->plan.n_wanted) return;
  MZ_SHARED(mz_stat, stats, 128);
  mz_stat stat = mz_stat_empty();
  for (int i = threadIdx.x; i < n_parts; i += 128) stat = mz_stat_merge(stat, parts[(size_t)i * MZ_MAX_ROWS + place]);
  stats[threadIdx.x] = stat;
  for (unsigned half = 64; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) stats[threadIdx.x] = mz_stat_merge(stats[threadIdx.x], stats[threadIdx.x + half]);
  }
  if (threadIdx.x == 0) loop->found[place] = mz_stat_finish(stats[0]);
}
