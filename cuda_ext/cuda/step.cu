// The launches of one forward pass and of one step. Every kernel of the loop is launched from here.

#include <algorithm>

#include "engine.h"
#include "kernels/attention.cuh"
#include "kernels/commit.cuh"
#include "kernels/embed.cuh"
#include "kernels/head.cuh"
#include "kernels/rope.cuh"

namespace {

constexpr int kEmbedThreads = 256, kRopeThreads = 128, kMaxSplits = 16;
constexpr int kEverything = 1 << 30;  // as a block of rows: more rows than there can be

// Twice as many rows of W per block halve the traffic of x; worth it once there are blocks to spare.
int tiles_per_block(const Model& m, int n_tiles, int rows) {
  return rows <= 64 && n_tiles % 2 == 0 && n_tiles >= 8 * m.n_multiprocessors ? 2 : 1;
}

// Enough blocks for all multiprocessors, and at least 8 steps of K for each warp.
int gemm_splits(const Model& m, int n_tiles, int k_steps) {
  const int wanted = std::min(m.n_multiprocessors / n_tiles, k_steps / (8 * MZ_GEMM_WARPS));
  return std::max(1, std::min(wanted, 8));
}

void launch_embed(Cache& c, int rows) {
  const Model& m = *c.model;
  mz_embed_args a = {};
  a.pass = c.pass.get(), a.embedding = (const uint16_t*)m.embed.data.get();
  a.d_model = m.shape.d_model, a.shift = m.has(MZ_SHIFT), a.context_ids = c.ids.get();
  a.next_gain = m.blocks[0].attn_norm.get(), a.x = c.x.get(), a.packed = c.normed.get(), a.sums = c.sums.get();
  a.embed_gain = m.embed_norm.get(), a.canvas = m.canvas_embed.get(), a.left = m.left.get(), a.right = m.right.get();
  a.none = m.shape.vocab_size, a.norm_eps = m.shape.norm_eps;
  launch(mz_embed, rows, kEmbedThreads, c.stream, a);
  check(cudaGetLastError(), "launching the embedding");
}

void launch_gemm(Cache& c, int rows, const Matrix& w, const void* x, const float* sums, int n_sums,
                 mz_epilogue epilogue, float* out, uint16_t* packed, const float* gain) {
  mz_gemm_args a = {};
  a.pass = c.pass.get();
  a.weights = w.data.get(), a.x = (const uint4*)x, a.k_steps = w.k_steps(), a.n_tiles = w.n_tiles();
  a.sums = sums, a.n_sums = n_sums, a.norm_eps = c.model->shape.norm_eps;
  a.epilogue = epilogue, a.out = out, a.packed = packed, a.gain = gain, a.out_sums = c.sums.get();
  const int tiles = tiles_per_block(*c.model, a.n_tiles, rows);
  a.splits = tiles == 1 ? gemm_splits(*c.model, a.n_tiles, a.k_steps) : 1;
  a.partial = c.gemm_partial.get(), a.counters = c.gemm_counters.get();
  const dim3 grid(a.n_tiles / tiles, a.splits);
  switch (rows * 4 + tiles) {
    case 16 * 4 + 1: launch(mz_gemm<16, 1>, grid, MZ_GEMM_THREADS, c.stream, a); break;
    case 16 * 4 + 2: launch(mz_gemm<16, 2>, grid, MZ_GEMM_THREADS, c.stream, a); break;
    case 32 * 4 + 1: launch(mz_gemm<32, 1>, grid, MZ_GEMM_THREADS, c.stream, a); break;
    case 32 * 4 + 2: launch(mz_gemm<32, 2>, grid, MZ_GEMM_THREADS, c.stream, a); break;
    case 64 * 4 + 1: launch(mz_gemm<64, 1>, grid, MZ_GEMM_THREADS, c.stream, a); break;
    case 64 * 4 + 2: launch(mz_gemm<64, 2>, grid, MZ_GEMM_THREADS, c.stream, a); break;
    default: launch(mz_gemm<128, 1>, grid, MZ_GEMM_THREADS, c.stream, a);
  }
  check(cudaGetLastError(), "launching a product");
}

void launch_rope(Cache& c, int rows, const Block& b, size_t layer_offset) {
  const mz_shape& s = c.model->shape;
  mz_rope_args a = {};
  a.pass = c.pass.get(), a.qkv = c.qkv.get(), a.bias = b.qkv_bias.get();
  a.q_gain = b.q_norm.get(), a.k_gain = b.k_norm.get(), a.inverse_frequency = c.model->inverse_frequency.get();
  a.n_heads = s.n_heads, a.n_kv_heads = s.n_kv_heads, a.d_head = s.d_head, a.capacity = c.capacity;
  a.shift = c.model->has(MZ_SHIFT), a.norm_eps = s.norm_eps;
  a.q = c.q.get(), a.k = c.k.get() + layer_offset, a.v = c.v.get() + layer_offset;
  const int n_heads = s.n_heads + 2 * s.n_kv_heads, per_block = kRopeThreads / 32;
  launch(mz_rope, dim3(rows, (n_heads + per_block - 1) / per_block), kRopeThreads, c.stream, a);
  check(cudaGetLastError(), "launching the rotation");
}

void launch_attention(Cache& c, int rows, size_t layer_offset) {
  const mz_shape& s = c.model->shape;
  mz_attention_args a = {};
  a.pass = c.pass.get(), a.q = c.q.get(), a.k = c.k.get() + layer_offset, a.v = c.v.get() + layer_offset;
  a.n_heads = s.n_heads, a.n_kv_heads = s.n_kv_heads, a.capacity = c.capacity;
  a.context_sees = std::min(s.context_sees, kEverything), a.canvas_sees = std::min(s.canvas_sees, kEverything);
  a.max_tiles = (s.n_heads / s.n_kv_heads * rows + MZ_ATTENTION_ROWS - 1) / MZ_ATTENTION_ROWS;
  a.partial = c.attention_partial.get(), a.partial_norm = c.attention_norm.get();
  a.counters = c.attention_counters.get(), a.out = c.attended.get();
  const int n_tiles = a.max_tiles * s.n_kv_heads;
  const int n_blocks = 2 * c.model->n_multiprocessors / n_tiles;
  const int splits = std::max(1, std::min({n_blocks, (c.capacity + 127) / 128, kMaxSplits}));
  const dim3 grid(a.max_tiles, s.n_kv_heads, splits);
  if (s.d_head == 64)
    launch(mz_attention<64>, grid, MZ_ATTENTION_THREADS, c.stream, a);
  else
    launch(mz_attention<128>, grid, MZ_ATTENTION_THREADS, c.stream, a);
  check(cudaGetLastError(), "launching attention");
}

// Final norm and packing of the wanted rows, for the product with the head.
void launch_wanted(Cache& c, int rows) {
  const Model& m = *c.model;
  launch(mz_head_rows, rows, 128, c.stream, c.pass.get(), c.x.get(), m.norm.get(), m.shape.d_model, m.shape.norm_eps,
         c.wanted.get());
}

void launch_head(Cache& c, int rows) {
  mz_head_args a = {};
  const Matrix& w = c.model->head();
  launch_wanted(c, rows);
  a.pass = c.pass.get(), a.loop = c.loop.get(), a.flags = c.flags.get(), a.weights = w.data.get();
  a.x = (const uint4*)c.wanted.get(), a.k_steps = w.k_steps(), a.vocab = c.model->shape.vocab_size;
  a.parts = c.stat_parts.get();
  const int n_blocks = std::min(w.n_tiles() / (rows == 128 ? 1 : 2), 2 * c.model->n_multiprocessors);
  switch (rows) {
    case 16: launch(mz_head_stats<16, 2>, n_blocks, MZ_GEMM_THREADS, c.stream, a); break;
    case 32: launch(mz_head_stats<32, 2>, n_blocks, MZ_GEMM_THREADS, c.stream, a); break;
    case 64: launch(mz_head_stats<64, 2>, n_blocks, MZ_GEMM_THREADS, c.stream, a); break;
    default: launch(mz_head_stats<128, 1>, n_blocks, MZ_GEMM_THREADS, c.stream, a);
  }
  launch(mz_head_merge, rows, 128, c.stream, c.pass.get(), c.loop.get(), c.stat_parts.get(), n_blocks);
  check(cudaGetLastError(), "launching the statistics");
}

mz_commit_args commit_args(Cache& c) {
  mz_commit_args a = {};
  a.pass = c.pass.get(), a.loop = c.loop.get(), a.flags = c.flags.get(), a.ring = c.ring_on_device;
  return a;
}

}  // namespace

bool kernels_load() {
  cudaFuncAttributes unused;
  return cudaFuncGetAttributes(&unused, mz_embed) == cudaSuccess;
}

int bucket_of(int n_rows) {
  int bucket = 0;
  while (kRowBuckets[bucket] < n_rows) ++bucket;
  return bucket;
}

void launch_forward(Cache& c, int bucket, bool keys_only) {
  const Model& m = *c.model;
  const int rows = kRowBuckets[bucket], n_tiles = m.shape.d_model / 16, n_layers = m.shape.n_layers;
  const size_t layer_size = (size_t)m.shape.n_kv_heads * c.capacity * m.shape.d_head;
  launch_embed(c, rows);
  int n_sums = 1;
  const int n_parts = n_tiles / tiles_per_block(m, n_tiles, rows);
  for (int layer = 0; layer < n_layers; ++layer) {
    const Block& b = m.blocks[layer];
    const bool last = layer + 1 == n_layers;
    const float* next_gain = (last ? m.norm : m.blocks[layer + 1].attn_norm).get();
    launch_gemm(c, rows, b.qkv, c.normed.get(), c.sums.get(), n_sums, MZ_STORE, c.qkv.get(), nullptr, nullptr);
    launch_rope(c, rows, b, layer * layer_size);
    if (last && keys_only) return;
    launch_attention(c, rows, layer * layer_size);
    launch_gemm(c, rows, b.o, c.attended.get(), nullptr, 0, MZ_RESIDUAL, c.x.get(), c.normed.get(), b.mlp_norm.get());
    n_sums = n_parts;
    launch_gemm(c, rows, b.gate_up, c.normed.get(), c.sums.get(), n_sums, MZ_GATED, nullptr, c.gated.get(), nullptr);
    launch_gemm(c, rows, b.down, c.gated.get(), nullptr, 0, MZ_RESIDUAL, c.x.get(), c.normed.get(), next_gain);
  }
}

void launch_logits(Cache& c, int bucket, float* logits) {
  const int rows = kRowBuckets[bucket];
  launch_wanted(c, rows);
  launch_gemm(c, rows, c.model->head(), c.wanted.get(), nullptr, 0, MZ_STORE, logits, nullptr, nullptr);
}

void launch_pass(Cache& c, const Rows& rows) {
  mz_given_rows given = {0, rows.start, rows.n_context, rows.n_canvas, rows.decided, {}};
  std::copy(rows.ids, rows.ids + rows.n(), given.ids);
  launch(mz_set_pass, 1, MZ_MAX_ROWS, c.stream, c.pass.get(), given);
  check(cudaGetLastError(), "launching a pass");
}

void launch_stop(Cache& c) {
  mz_given_rows given = {};
  given.stop = 1;
  launch(mz_set_pass, 1, MZ_MAX_ROWS, c.stream, c.pass.get(), given);
  check(cudaGetLastError(), "launching a pass");
}

void launch_begin(Cache& c, const mz_control& control, int n_context, int spent_us) {
  const mz_request request = {control, n_context, spent_us, on_device(c.drafts)};
  launch(mz_begin, 1, MZ_COMMIT_THREADS, c.stream, commit_args(c), request);
  check(cudaGetLastError(), "launching the first kernel");
}

void launch_step(Cache& c, Place place, cudaGraphConditionalHandle handle, bool conditional) {
  launch_forward(c, place.bucket, false);
  launch_head(c, place.rows());
  mz_commit_args a = commit_args(c);
  a.handle = handle, a.conditional = conditional;
  launch(place.verdict ? mz_verdict_step : mz_threshold_step, 1, MZ_COMMIT_THREADS, c.stream, a);
  check(cudaGetLastError(), "launching the decision");
}
