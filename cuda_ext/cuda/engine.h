// What the files of the CUDA library share: memory, errors, the model, the cache with its workspace, runs.
#pragma once

#include <cuda_runtime.h>

#include <atomic>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/state.cuh"
#include "mezzotint/c_api.h"

// ---- Errors: exceptions inside, messages at the border (c_api.cu)

void check(cudaError_t code, const char* what);
[[noreturn]] void fail(const std::string& message);
inline void require(bool condition, const char* message) {
  if (!condition) fail(message);
}
inline void require(bool condition, const std::string& message) { require(condition, message.c_str()); }
void set_last_error(const std::string& message);

// The value of `f`, or `failed` with the message kept for mz_last_error.
template <class F, class T>
T guard(T failed, F f) {
  try {
    set_last_error("");
    return f();
  } catch (const std::exception& error) {
    set_last_error(error.what());
    return failed;
  }
}

// Makes a device this thread's; its number of multiprocessors. An error without such a device, or if it is not usable.
int use_device(int device);

// ---- Memory

struct DeviceFree {
  void operator()(void* memory) const { cudaFree(memory); }
};
template <class T>
using Device = std::unique_ptr<T[], DeviceFree>;

// `n` zeroed elements of device memory.
template <class T>
Device<T> allocate(size_t n) {
  const size_t bytes = (n ? n : 1) * sizeof(T);
  void* memory = nullptr;
  check(cudaMalloc(&memory, bytes), "device memory");
  Device<T> out((T*)memory);
  check(cudaMemset(memory, 0, bytes), "clearing device memory");
  return out;
}

template <class T>
Device<T> uploaded(const T* from, size_t n) {
  Device<T> out = allocate<T>(n);
  check(cudaMemcpy(out.get(), from, n * sizeof(T), cudaMemcpyHostToDevice), "copying to the device");
  return out;
}

struct PinnedFree {
  void operator()(void* memory) const { cudaFreeHost(memory); }
};
template <class T>
using Pinned = std::unique_ptr<T[], PinnedFree>;  // host memory that the device reads and writes, too

template <class T>
Pinned<T> allocate_pinned(size_t n) {
  void* memory = nullptr;
  check(cudaHostAlloc(&memory, n * sizeof(T), cudaHostAllocMapped), "memory shared with the device");
  return Pinned<T>((T*)memory);
}

template <class T>
T* on_device(const Pinned<T>& memory) {
  T* out = nullptr;
  check(cudaHostGetDevicePointer((void**)&out, memory.get(), 0), "memory shared with the device");
  return out;
}

// ---- Model

// A weight matrix in packed tiles.
struct Matrix {
  Device<uint4> data;
  int rows = 0, columns = 0;  // as packed
  int n_tiles() const { return rows / 16; }
  int k_steps() const { return columns / 16; }
};

struct Block {
  Matrix qkv, o, gate_up, down;
  Device<float> attn_norm, q_norm, k_norm, mlp_norm, qkv_bias;  // those that the model has
};

// A tensor as it is given, and where it goes: a matrix, a vector or a table that stays as it is.
struct Tensor {
  Matrix* matrix = nullptr;
  Device<float>* vector = nullptr;
  Device<uint16_t>* table = nullptr;
  int64_t rows = 1, columns = 0;
  bool interleave = false, given = false;
};

struct Model {
  mz_shape shape = {};
  int device = 0, n_multiprocessors = 0;
  bool takes_int8 = false;  // weights may be given in int8; they are kept in bfloat16 all the same
  Matrix embed, own_head;   // padded to 32 rows
  Device<uint16_t> left, right;  // what a neighbour adds to a row: for every token, and where there is none
  Device<float> embed_norm, canvas_embed, norm, inverse_frequency;
  std::vector<Block> blocks;
  std::map<std::string, Tensor> tensors;
  bool ready = false;  // all of them were given
  int64_t bytes = 0;
  bool has(mz_shape_flag flag) const { return shape.flags & flag; }
  const Matrix& head() const { return has(MZ_OWN_HEAD) ? own_head : embed; }
  int n_queries() const { return shape.n_heads * shape.d_head; }
  int n_qkv() const { return n_queries() + 2 * shape.n_kv_heads * shape.d_head; }
};

std::shared_ptr<Model> create_model(const mz_shape& shape, int device, bool takes_int8);
void set_tensor(Model& model, const std::string& name, const uint16_t* bf16, int64_t n);
void set_tensor(Model& model, const std::string& name, const int8_t* q, const float* scales, int64_t rows,
                int64_t cols);
void check_ready(Model& model);  // an error that names what is missing

// ---- Cache: keys and values, and everything that one run at a time works in

enum class Loop { kNone, kWhile, kReplay, kStep };

struct Captured {
  Loop loop = Loop::kNone;  // kNone: not built yet
  std::string asked;        // by the environment, when it was built
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
};

constexpr int kRowBuckets[] = {16, 32, 64, 128};
constexpr int kMaxCapacity = 1 << 20;  // tokens of a cache

int bucket_of(int n_rows);  // index into kRowBuckets

// Which step it is: how many rows, and what decides behind the forward pass.
struct Place {
  int bucket;
  bool verdict;
  int rows() const { return kRowBuckets[bucket]; }
  int index() const { return bucket + 4 * verdict; }
};

struct Cache {
  explicit Cache(std::shared_ptr<Model> of, int capacity);
  ~Cache();
  Cache(const Cache&) = delete;
  Cache& operator=(const Cache&) = delete;

  const std::shared_ptr<Model> model;
  const int capacity;
  std::atomic<bool> busy{false};  // a run is using it
  cudaStream_t stream = nullptr;
  Device<uint16_t> k, v;          // (layers, n_kv_heads, capacity, d_head)
  Device<int32_t> ids;            // (capacity): of the context tokens
  Device<float> x, qkv;           // (128, d_model), (128, heads * d_head)
  Device<uint16_t> normed, q, attended, gated, wanted;  // all but q packed rows
  Device<float> sums;             // of squares, in parts
  Device<float> gemm_partial, attention_partial;
  Device<float2> attention_norm;
  Device<int> gemm_counters, attention_counters;
  Device<mz_stat> stat_parts;
  Device<mz_pass> pass;
  Device<mz_loop> loop;
  Device<uint8_t> flags;
  Pinned<uint8_t> flags_on_host;  // so that copying them waits for nothing
  Pinned<mz_ring> ring;
  mz_ring* ring_on_device = nullptr;  // asked for once: not while a stream is captured
  Pinned<mz_draft> drafts;        // as many as a run had, at most
  int n_drafts = 0;
  Captured captured[8];
};

// Rows behind `start` cached tokens: context rows, then canvas rows that follow the first `decided` of these.
struct Rows {
  const int32_t* ids;
  int start, n_context, n_canvas, decided;
  int64_t n() const { return (int64_t)n_context + n_canvas; }
};

// Waits for the device. Logits go to the host, (rows, vocab), unless null.
void forward(Cache& cache, const Rows& rows, float* logits);

// ---- Runs, run.cu

struct Run {
  std::shared_ptr<Cache> cache;
  Place place;
  Captured step;
  int max_passes, launched = 0;
  uint32_t seen = 0;  // drafts that were read
};

std::unique_ptr<Run> start_run(const std::shared_ptr<Cache>& cache, int n_context, const mz_control& control,
                               const uint8_t* flags);
int next_draft(Run& run, mz_draft* out, int64_t timeout_us);  // as mz_run_next
void cancel(Run& run);
int steps(const Run& run);
void finish(Run& run);  // cancels and waits

// ---- Launches. The emulator has a function of this name and shape for compilers without launch syntax.

#ifndef MZ_EMULATED
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, unsigned n_threads, cudaStream_t stream, Arguments... arguments) {
  kernel<<<grid, n_threads, 0, stream>>>(arguments...);
}
#endif

// From step.cu; all are asynchronous on the cache's stream.

bool kernels_load();  // whether this thread's device can run what was compiled
void launch_forward(Cache& cache, int bucket, bool keys_only);
void launch_logits(Cache& cache, int bucket, float* logits);  // (rows, padded vocab)
void launch_pass(Cache& cache, const Rows& rows);             // the rows of the next forward pass
void launch_stop(Cache& cache);                               // the next passes do nothing
void launch_begin(Cache& cache, const mz_control& control, int n_context, int spent_us);
void launch_step(Cache& cache, Place place, cudaGraphConditionalHandle handle, bool conditional);  // pass and decision

// ---- Graphs, graph.cu

const Captured& captured_step(Cache& cache, Place place);
const char* loop_name(Loop loop);
void drop_graphs(Cache& cache);
