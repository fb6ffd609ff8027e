// Caches: keys and values of a context with the workspace of one run, and the forward pass alone.

#include <algorithm>

#include "engine.h"
#include "kernels/attention.cuh"
#include "kernels/gemm.cuh"

namespace {

void allocate_workspace(mz_cache& c) {
  const mz_shape& s = c.model->shape;
  const size_t rows = MZ_MAX_ROWS, d = s.d_model, width = (size_t)(s.n_heads + 2 * s.n_kv_heads) * c.model->d_head;
  const size_t n_blocks = 2 * n_multiprocessors();
  const size_t widest = std::max({d, width, (size_t)2 * s.d_ff, (size_t)c.model->embed.rows});
  c.x = allocate<float>(rows * d), c.qkv = allocate<float>(rows * width), c.sums = allocate<float>(rows * (d / 16));
  c.normed = allocate<uint16_t>(rows * d), c.q = allocate<uint16_t>(rows * d);
  c.attended = allocate<uint16_t>(rows * d), c.listed = allocate<uint16_t>(rows * d);
  c.gated = allocate<uint16_t>(rows * s.d_ff);
  c.gemm_partial = allocate<float>(n_blocks * 16 * rows), c.gemm_counters = allocate<int>(widest / 16);
  c.attention_partial = allocate<float>(n_blocks * MZ_ATTENTION_ROWS * c.model->d_head);
  c.attention_norm = allocate<float2>(n_blocks * MZ_ATTENTION_ROWS);
  c.attention_counters = allocate<int>(s.n_heads * rows / MZ_ATTENTION_ROWS + s.n_kv_heads);
  c.stat_parts = allocate<mz_stat>(n_blocks * rows);
  c.pass = allocate<mz_pass>(1), c.loop = allocate<mz_loop>(1), c.flags = allocate<uint8_t>(s.vocab_size);
}

void destroy(mz_cache* c) {
  if (c->stream) cudaStreamSynchronize(c->stream);
  drop_graphs(*c);
  if (c->stream) cudaStreamDestroy(c->stream);
  if (c->ring) cudaFreeHost(c->ring);
  if (c->flags_on_host) cudaFreeHost(c->flags_on_host);
  delete c;
}

std::unique_ptr<mz_cache, void (*)(mz_cache*)> create(mz_model* model, int capacity) {
  require(capacity > 0, "a cache needs a capacity");
  std::unique_ptr<mz_cache, void (*)(mz_cache*)> c(new mz_cache, destroy);
  c->model = model, c->capacity = capacity;
  const size_t n_heads = (size_t)model->shape.n_layers * model->shape.n_kv_heads, n = n_heads * model->d_head;
  check(cudaStreamCreateWithFlags(&c->stream, cudaStreamNonBlocking), "a stream");
  c->ids = allocate<int32_t>(capacity);
  c->k = allocate<uint16_t>(n * capacity), c->v = allocate<uint16_t>(n * capacity), c->kept = allocate<uint16_t>(2 * n);
  allocate_workspace(*c);
  check(cudaHostAlloc((void**)&c->ring, sizeof(mz_ring), cudaHostAllocMapped), "memory for drafts");
  check(cudaHostAlloc((void**)&c->flags_on_host, model->shape.vocab_size, cudaHostAllocMapped), "memory for flags");
  check(cudaHostGetDevicePointer((void**)&c->ring_on_device, c->ring, 0), "memory for drafts");
  check(cudaDeviceSynchronize(), "clearing a cache");  // cleared on another stream
  return c;
}

void forward(mz_cache& c, const int32_t* ids, int start, int n, int causal, float* logits) {
  const int vocab = c.model->shape.vocab_size;
  require(start >= 0 && n >= 0 && start + n <= c.capacity, "the rows do not fit the cache");
  require(causal || n <= MZ_MAX_ROWS, "too many canvas rows");
  require(!c.running, "the cache is in use by a run");
  for (int i = 0; i < n; ++i) require(ids[i] >= 0 && ids[i] < vocab, "token outside of the vocabulary");
  const size_t pitch = (size_t)c.model->embed.rows * 4;
  Device<float> on_device;
  if (logits) on_device = allocate<float>(pitch / 4 * MZ_MAX_ROWS);
  if (logits) check(cudaDeviceSynchronize(), "memory for logits");
  for (int done = 0; done < n; done += MZ_MAX_ROWS) {
    const int rows = std::min(n - done, MZ_MAX_ROWS), bucket = bucket_of(rows);
    mz_pass pass = {};
    pass.start = start + done, pass.n_rows = rows, pass.causal = causal;
    std::copy(ids + done, ids + done + rows, pass.ids);
    launch_pass(c, pass);
    launch_forward(c, bucket, causal && !logits);
    if (!logits) continue;
    launch_logits(c, bucket, on_device.get());
    check(cudaMemcpy2DAsync(logits + (size_t)done * vocab, (size_t)vocab * 4, on_device.get(), pitch, (size_t)vocab * 4,
                            rows, cudaMemcpyDeviceToHost, c.stream),
          "copying logits");
  }
  if (logits) check(cudaStreamSynchronize(c.stream), "the forward pass");
}

}  // namespace

mz_cache* mz_cache_create(mz_model* model, int32_t capacity) {
  return guard((mz_cache*)nullptr, [&] { return create(model, capacity).release(); });
}

void mz_cache_destroy(mz_cache* cache) {
  if (cache) destroy(cache);
}

// Returns before the device has finished: whatever comes next on this cache waits for it.
int32_t mz_encode(mz_model*, mz_cache* cache, const int32_t* ids, int32_t start, int32_t n) {
  return guard(-1, [&] {
    forward(*cache, ids, start, n, 1, nullptr);
    return 0;
  });
}

int32_t mz_forward(mz_model*, mz_cache* cache, const int32_t* ids, int32_t start, int32_t n, int32_t causal,
                   float* logits) {
  return guard(-1, [&] {
    forward(*cache, ids, start, n, causal, logits);
    check(cudaStreamSynchronize(cache->stream), "the forward pass");
    return 0;
  });
}
