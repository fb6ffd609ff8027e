// Caches: keys and values of a context with the workspace of one run, and the forward pass alone.

#include <algorithm>

#include "engine.h"
#include "kernels/attention.cuh"
#include "kernels/gemm.cuh"

namespace {

void allocate_workspace(Cache& c) {
  const Model& m = *c.model;
  const mz_shape& s = m.shape;
  const size_t rows = MZ_MAX_ROWS, d = s.d_model, width = m.n_qkv(), n_q = m.n_queries();
  const size_t n_blocks = 2 * m.n_multiprocessors;
  const size_t widest = std::max({d, width, (size_t)2 * s.d_ff, (size_t)m.embed.rows});
  c.x = allocate<float>(rows * d), c.qkv = allocate<float>(rows * width), c.sums = allocate<float>(rows * (d / 16));
  c.normed = allocate<uint16_t>(rows * d), c.q = allocate<uint16_t>(rows * n_q);
  c.attended = allocate<uint16_t>(rows * n_q), c.wanted = allocate<uint16_t>(rows * d);
  c.gated = allocate<uint16_t>(rows * s.d_ff);
  c.gemm_partial = allocate<float>(n_blocks * 16 * rows), c.gemm_counters = allocate<int>(widest / 16);
  c.attention_partial = allocate<float>(n_blocks * MZ_ATTENTION_ROWS * s.d_head);
  c.attention_norm = allocate<float2>(n_blocks * MZ_ATTENTION_ROWS);
  c.attention_counters = allocate<int>(s.n_heads * rows / MZ_ATTENTION_ROWS + s.n_kv_heads);
  c.stat_parts = allocate<mz_stat>(n_blocks * rows);
  c.pass = allocate<mz_pass>(1), c.loop = allocate<mz_loop>(1), c.flags = allocate<uint8_t>(s.vocab_size);
}

// How many of the `left` rows from `start` on a pass takes: all, or whole blocks.
int piece(int start, int64_t left, int block) {
  if (left <= MZ_MAX_ROWS) return (int)left;
  return (start + MZ_MAX_ROWS) / block * block - start;
}

// Up to MZ_MAX_ROWS rows.
void one_pass(Cache& c, const Rows& rows, float* logits, const Device<float>& on_device) {
  const int n = (int)rows.n(), bucket = bucket_of(n), vocab = c.model->shape.vocab_size;
  launch_pass(c, rows);
  launch_forward(c, bucket, !logits);
  if (!logits) return;
  launch_logits(c, bucket, on_device.get());
  const size_t pitch = (size_t)c.model->head().rows * 4, width = (size_t)vocab * 4;
  check(cudaMemcpy2DAsync(logits, width, on_device.get(), pitch, width, n, cudaMemcpyDeviceToHost, c.stream),
        "copying logits");
}

}  // namespace

Cache::Cache(std::shared_ptr<Model> of, int capacity) : model(std::move(of)), capacity(capacity) {
  require(capacity > 0 && capacity <= kMaxCapacity, "a cache holds 1 to 1048576 rows");
  const size_t n = (size_t)model->shape.n_layers * model->shape.n_kv_heads * model->shape.d_head;
  ids = allocate<int32_t>(capacity);
  k = allocate<uint16_t>(n * capacity), v = allocate<uint16_t>(n * capacity);
  allocate_workspace(*this);
  ring = allocate_pinned<mz_ring>(1), ring_on_device = on_device(ring);
  flags_on_host = allocate_pinned<uint8_t>(model->shape.vocab_size);
  check(cudaDeviceSynchronize(), "clearing a cache");  // which another stream does
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "a stream");  // last: nothing frees it before
}

Cache::~Cache() {
  cudaSetDevice(model->device);
  cudaStreamSynchronize(stream);
  drop_graphs(*this);
  cudaStreamDestroy(stream);
}

void forward(Cache& c, const Rows& rows, float* logits) {
  const int vocab = c.model->shape.vocab_size, block = c.model->shape.context_sees;
  Device<float> on_device;
  if (logits) {
    on_device = allocate<float>((size_t)c.model->head().rows * MZ_MAX_ROWS);
    check(cudaDeviceSynchronize(), "memory for logits");
  }
  for (int64_t done = 0, n = 0; done < rows.n(); done += n) {
    const int start = rows.start + (int)done;
    n = piece(start, rows.n() - done, block);
    const Rows part = n == rows.n() ? rows : Rows{rows.ids + done, start, (int)n, 0, 0};
    one_pass(c, part, logits ? logits + done * vocab : nullptr, on_device);
  }
  check(cudaStreamSynchronize(c.stream), "the forward pass");
}
