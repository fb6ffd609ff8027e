// Products of a few rows with a large weight matrix: y (rows, N) = x (rows, K) W (N, K)^T, with what follows fused.
//
// Idea: the weights are the traffic, so they stream once, each lane fetching the very 16 bytes that it feeds to its
// mma: no barrier in the main loop. Eight warps of a block share 16 or 32 rows of W and split K; `splits` blocks may
// split it further. Sums are always added in the same order.
#pragma once

#include "kernels/state.cuh"

#define MZ_GEMM_THREADS 256
#define MZ_GEMM_WARPS 8
#define MZ_GEMM_SHARED 9216  // floats: the fetched weights, later the sums of four warps

enum mz_epilogue {
  MZ_STORE = 0,     // out = y
  MZ_RESIDUAL = 1,  // out += y; packed = out times the next gain; sums of squares for the next norm
  MZ_GATED = 2,     // packed = silu(gate) * up
};

typedef struct {
  const mz_pass* pass;
  const uint4* weights;  // packed (n_tiles * 16, K)
  const uint4* x;        // packed rows (rows, K)
  int k_steps, n_tiles;  // in units of 16; a block takes `Tiles` of the tiles
  int splits;
  float* partial;        // splits > 1: (blocks, splits, Tiles * 16 * Rows)
  int* counters;         // splits > 1: (blocks), zero
  const float* sums;     // of squares of the rows of x, (n_sums, MZ_MAX_ROWS); null: x is no norm's input
  int n_sums;
  float norm_eps;
  int epilogue;
  float* out;            // (rows, n_tiles * 16)
  uint16_t* packed;
  const float* gain;     // of the next norm
  float* out_sums;       // (n_tiles / Tiles, MZ_MAX_ROWS)
} mz_gemm_args;

// Partial products of this warp's share of K, steps [first, last).
template <int Rows, int Tiles>
MZ_DEVICE void mz_gemm_multiply(const uint4* weights, const uint4* x, int k_steps, int first, int last, int n_groups,
                                uint4* ring, float (&sum)[Tiles][Rows / 8][4]) {
  constexpr int Stages = 8 / Tiles;
  const int lane = threadIdx.x % 32;
  const auto fetch = [&](int step) {
    if (step < last)
      for (int t = 0; t < Tiles; ++t)
        mz_copy_async(&ring[((step & (Stages - 1)) * Tiles + t) * 32 + lane],
                      &weights[((size_t)t * k_steps + step) * 32 + lane]);
    mz_copy_commit();
  };
  uint4 now[Rows / 16], next[Rows / 16];
  const auto read_rows = [&](int step) {
#pragma unroll
    for (int group = 0; group < Rows / 16; ++group)
      if (group < n_groups) next[group] = x[((size_t)group * k_steps + step) * 32 + lane];
  };
#pragma unroll
  for (int t = 0; t < Tiles; ++t)
#pragma unroll
    for (int n = 0; n < Rows / 8; ++n) sum[t][n][0] = sum[t][n][1] = sum[t][n][2] = sum[t][n][3] = 0;
#pragma unroll
  for (int group = 0; group < Rows / 16; ++group) next[group] = uint4{0, 0, 0, 0};
  for (int i = 0; i < Stages - 1; ++i) fetch(first + i);
  if (first < last) read_rows(first);
  for (int step = first; step < last; ++step) {
    fetch(step + Stages - 1);
    mz_copy_wait<Stages - 1>();
#pragma unroll
    for (int group = 0; group < Rows / 16; ++group) now[group] = next[group];
    if (step + 1 < last) read_rows(step + 1);
#pragma unroll
    for (int t = 0; t < Tiles; ++t) {
      const uint4 w = ring[((step & (Stages - 1)) * Tiles + t) * 32 + lane];
      const uint32_t a[4] = {w.x, w.y, w.z, w.w};
#pragma unroll
      for (int group = 0; group < Rows / 16; ++group)
        if (group < n_groups) {
          mz_multiply(sum[t][2 * group], a, now[group].x, now[group].y);
          mz_multiply(sum[t][2 * group + 1], a, now[group].z, now[group].w);
        }
    }
  }
}

// Where the block's result (n, row) lies in shared memory, of a warp in 0..3.
template <int Rows, int Tiles>
MZ_DEVICE int mz_gemm_place(int warp, int n, int row) {
  return (warp * Tiles * 16 + n) * (Rows + 4) + row;
}

// The eight warps' sums, added up in shared memory at warp 0's place. Ends with a barrier.
template <int Rows, int Tiles>
MZ_DEVICE void mz_gemm_reduce(float (&sum)[Tiles][Rows / 8][4], float* shared) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  for (int round = 1; round >= 0; --round) {  // first the upper four warps, then the lower four with those added
    __syncthreads();
    if (warp / 4 == round)
#pragma unroll
      for (int t = 0; t < Tiles; ++t)
#pragma unroll
        for (int n = 0; n < Rows / 8; ++n)
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            float* place = &shared[mz_gemm_place<Rows, Tiles>(warp % 4, t * 16 + lane / 4 + i / 2 * 8,
                                                              n * 8 + lane % 4 * 2 + i % 2)];
            *place = round ? sum[t][n][i] : *place + sum[t][n][i];
          }
  }
  __syncthreads();
  for (int i = threadIdx.x; i < Tiles * 16 * Rows; i += MZ_GEMM_THREADS) {
    const int n = i / Rows, row = i % Rows;
    float total = 0;
    for (int w = 0; w < 4; ++w) total += shared[mz_gemm_place<Rows, Tiles>(w, n, row)];
    shared[mz_gemm_place<Rows, Tiles>(0, n, row)] = total;
  }
  __syncthreads();
}

// 1 / rms of each row of x, from the parts of its sum of squares; 1 without a norm. Ends with a barrier.
template <int Rows>
MZ_DEVICE void mz_gemm_scales(const mz_gemm_args& args, int n_rows, float* scales, float* scratch) {
  constexpr int Slices = MZ_GEMM_THREADS / Rows;
  const int row = threadIdx.x % Rows, slice = threadIdx.x / Rows;
  float total = 0;
  if (args.sums && row < n_rows)
#pragma unroll 8
    for (int i = slice; i < args.n_sums; i += Slices) total += args.sums[(size_t)i * MZ_MAX_ROWS + row];
  scratch[threadIdx.x] = total;
  __syncthreads();
  if (slice == 0) {
    for (int i = 1; i < Slices; ++i) total += scratch[i * Rows + row];
    scales[row] = args.sums ? rsqrtf(total / (args.k_steps * 16) + args.norm_eps) : 1.0f;
  }
  __syncthreads();
}

// With K split over blocks: true in the block that comes last, which then has the whole sum in shared memory.
template <int Rows, int Tiles>
MZ_DEVICE bool mz_gemm_join(const mz_gemm_args& args, float* shared, int* flag) {
  constexpr int Size = Tiles * 16 * Rows;
  float* partial = args.partial + (size_t)blockIdx.x * args.splits * Size;
  for (int i = threadIdx.x; i < Size; i += MZ_GEMM_THREADS)
    partial[(size_t)blockIdx.y * Size + i] = shared[mz_gemm_place<Rows, Tiles>(0, i / Rows, i % Rows)];
  if (!mz_last_block(&args.counters[blockIdx.x], args.splits, flag)) return false;
  for (int i = threadIdx.x; i < Size; i += MZ_GEMM_THREADS) {
    float total = 0;
    for (int s = 0; s < args.splits; ++s) total += partial[(size_t)s * Size + i];
    shared[mz_gemm_place<Rows, Tiles>(0, i / Rows, i % Rows)] = total;
  }
  __syncthreads();
  return true;
}

template <int Rows, int Tiles>
MZ_DEVICE void mz_gemm_finish(const mz_gemm_args& args, int n_rows, float* shared, const float* scales) {
  constexpr int Width = Tiles * 16;
  const int width = args.n_tiles * 16, first = blockIdx.x * Width;
  if (args.epilogue == MZ_GATED) {
    for (int i = threadIdx.x; i < Width / 2 * n_rows; i += MZ_GEMM_THREADS) {
      const int j = i % (Width / 2), row = i / (Width / 2), n = j / 8 * 16 + j % 8;
      const float gate = shared[mz_gemm_place<Rows, Tiles>(0, n, row)] * scales[row];
      const float up = shared[mz_gemm_place<Rows, Tiles>(0, n + 8, row)] * scales[row];
      args.packed[mz_packed_row(row, first / 2 + j, args.n_tiles / 2)] = mz_to_bf16(gate / (1 + expf(-gate)) * up);
    }
    return;
  }
  for (int i = threadIdx.x; i < Width * n_rows; i += MZ_GEMM_THREADS) {
    const int n = i % Width, row = i / Width;
    float* place = &shared[mz_gemm_place<Rows, Tiles>(0, n, row)];
    float* out = &args.out[(size_t)row * width + first + n];
    const float y = *place * scales[row];
    *out = args.epilogue == MZ_RESIDUAL ? *out + y : y;
    if (args.epilogue != MZ_RESIDUAL) continue;
    *place = *out * *out;
    args.packed[mz_packed_row(row, first + n, args.n_tiles)] = mz_to_bf16(*out * args.gain[first + n]);
  }
  if (args.epilogue != MZ_RESIDUAL) return;
  __syncthreads();
  for (int row = threadIdx.x; row < n_rows; row += MZ_GEMM_THREADS) {
    float squares = 0;
    for (int n = 0; n < Width; ++n) squares += shared[mz_gemm_place<Rows, Tiles>(0, n, row)];
    args.out_sums[(size_t)blockIdx.x * MZ_MAX_ROWS + row] = squares;
  }
}

// Grid (n_tiles / Tiles, splits). `Rows`: 16, 32, 64 or 128, at least as many as the pass has.
template <int Rows, int Tiles>
__global__ void __launch_bounds__(MZ_GEMM_THREADS) mz_gemm(mz_gemm_args args) {
  if (args.pass->stop) return;
  MZ_SHARED(float, shared, MZ_GEMM_SHARED);
  MZ_SHARED(float, scales, Rows);
  MZ_SHARED(float, scratch, MZ_GEMM_THREADS);
  MZ_SHARED(int, flag, 1);
  static_assert(4 * Tiles * 16 * (Rows + 4) <= MZ_GEMM_SHARED, "the sums of four warps must fit");
  static_assert(MZ_GEMM_WARPS * 8 * 32 * 4 <= MZ_GEMM_SHARED, "the fetched weights must fit");
  const int n_rows = mz_n_rows(&args.pass->plan), warp = threadIdx.x / 32;
  const int worker = blockIdx.y * MZ_GEMM_WARPS + warp, n_workers = args.splits * MZ_GEMM_WARPS;
  float sum[Tiles][Rows / 8][4];
  mz_gemm_multiply<Rows, Tiles>(args.weights + (size_t)blockIdx.x * Tiles * args.k_steps * 32, args.x, args.k_steps,
                                args.k_steps * worker / n_workers, args.k_steps * (worker + 1) / n_workers,
                                (n_rows + 15) / 16, (uint4*)shared + warp * 256, sum);
  mz_gemm_reduce<Rows, Tiles>(sum, shared);
  if (args.splits > 1 && !mz_gemm_join<Rows, Tiles>(args, shared, flag)) return;
  mz_gemm_scales<Rows>(args, n_rows, scales, scratch);
  mz_gemm_finish<Rows, Tiles>(args, n_rows, shared, scales);
}
