// What the files of the CUDA library share: memory, errors, the model, and the cache with its workspace.
#pragma once

#include <cuda_runtime.h>

#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/state.cuh"
#include "mezzotint/c_api.h"

// ---- Errors: exceptions inside, messages at the border

void check(cudaError_t code, const char* what);
void require(bool condition, const std::string& message);
void set_last_error(const std::string& message);
void use_device();  // error without a usable device

// The value of `f`, or `failed` with the message kept for mz_last_error.
template <class F, class T>
T guard(T failed, F f) {
  try {
    use_device();
    return f();
  } catch (const std::exception& error) {
    set_last_error(error.what());
    return failed;
  }
}

int n_multiprocessors();

// ---- Memory

struct DeviceFree {
  void operator()(void* memory) const { cudaFree(memory); }
};
template <class T>
using Device = std::unique_ptr<T[], DeviceFree>;

// `n` zeroed elements of device memory.
template <class T>
Device<T> allocate(size_t n) {
  void* memory = nullptr;
  check(cudaMalloc(&memory, n * sizeof(T)), "device memory");
  Device<T> out((T*)memory);
  check(cudaMemset(memory, 0, n * sizeof(T)), "clearing device memory");
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
  Device<float> attn_norm, q_norm, k_norm, mlp_norm;
};

// A tensor as it is given, and where it goes: a matrix, a vector or a table that stays as it is.
struct Tensor {
  Matrix* matrix = nullptr;
  Device<float>* vector = nullptr;
  Device<uint16_t>* table = nullptr;
  int rows = 1, columns = 0;
  bool interleave = false, given = false;
};

struct mz_model {
  mz_shape shape = {};
  int d_head = 0;
  Matrix embed;  // padded to 32 rows
  Device<uint16_t> left, right;  // what a neighbour adds to a row: for every token, and where there is none
  Device<float> embed_norm, canvas_embed, norm, inverse_frequency;
  std::vector<Block> blocks;
  std::map<std::string, Tensor> tensors;
  int64_t bytes = 0;
};

// ---- Cache: keys and values, and everything that one run at a time works in

enum class Loop { kNone, kWhile, kReplay, kStep };

struct Captured {
  Loop loop = Loop::kNone;  // kNone: not built yet
  std::string asked;        // by the environment, when it was built
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
};

constexpr int kRowBuckets[] = {16, 32, 64, 128};
constexpr int kTokenByToken = 4;  // place of that step's graph, behind those of the buckets

struct mz_cache {
  mz_model* model = nullptr;
  int capacity = 0;
  bool running = false;
  cudaStream_t stream = nullptr;
  Device<uint16_t> k, v;          // (layers, n_kv_heads, capacity, d_head)
  Device<int32_t> ids;            // (capacity): of the context tokens
  Device<uint16_t> kept;          // keys and values of one position
  Device<float> x, qkv;           // (128, d_model), (128, heads * d_head)
  Device<uint16_t> normed, q, attended, gated, listed;  // all but q packed rows
  Device<float> sums;             // of squares, in parts
  Device<float> gemm_partial, attention_partial;
  Device<float2> attention_norm;
  Device<int> gemm_counters, attention_counters;
  Device<mz_stat> stat_parts;
  Device<mz_pass> pass;
  Device<mz_loop> loop;
  Device<uint8_t> flags;
  uint8_t* flags_on_host = nullptr;  // pinned, so that copying them waits for nothing
  mz_ring* ring = nullptr;           // pinned host memory, and where the device sees it
  mz_ring* ring_on_device = nullptr;
  Captured captured[5];
};

int bucket_of(int n_rows);  // index into kRowBuckets

// ---- Launches. The emulator has a function of this name and shape for compilers without launch syntax.

#ifndef MZ_EMULATED
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, unsigned n_threads, cudaStream_t stream, Arguments... arguments) {
  kernel<<<grid, n_threads, 0, stream>>>(arguments...);
}
#endif

// From step.cu; all are asynchronous on the cache's stream.

bool kernels_load();  // whether this device can run what was compiled
void launch_forward(mz_cache& cache, int bucket, bool keys_only);
void launch_logits(mz_cache& cache, int bucket, float* logits);  // (rows, padded vocab)
void launch_pass(mz_cache& cache, const mz_pass& pass);
void launch_begin(mz_cache& cache, const mz_control& control, int n_context, int last_id, bool token_by_token);
// Forward pass, statistics, decision; `place` as in mz_cache::captured.
void launch_step(mz_cache& cache, int place, cudaGraphConditionalHandle handle, bool conditional);

// ---- Graphs, graph.cu

const Captured& captured_step(mz_cache& cache, int place);
const char* loop_name(Loop loop);
void drop_graphs(mz_cache& cache);
