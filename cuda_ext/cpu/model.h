// The model: packed weights, context caches, and the forward pass over one canvas or one piece of context.
//
// Rule: a forward pass is one job of the thread pool; one at a time, whoever asks. What it computes is defined by
// `cuda_ext/twin.py`.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "matrix.h"
#include "mezzotint/c_api.h"
#include "pool.h"

namespace mezzotint {

constexpr int MAX_CAPACITY = 1 << 16;  // rows of a cache
constexpr int SCRATCH = 1 << 16;       // numbers per thread: a block of scores or of logits that stays in L2

// What goes wrong because of what the caller gave.
struct Error {
  std::string text;
};

struct Block {
  Buffer<float> attn_norm, q_norm, k_norm, mlp_norm;
  Matrix qkv, o, gate_up, down;
};

// Keys and values in bf16 panels: per layer and key head, keys as columns ([d/2][16 keys][2] each 16), values as rows
// ([rows/2][16 dims][2] each 16 dims), so that attention is two matrix products like all others.
class Cache {
 public:
  Cache(const mz_shape& shape, int capacity);

  int capacity() const { return capacity_; }
  uint16_t* keys(int layer, int head) const { return keys_.data() + (layer * n_heads_ + head) * head_size_; }
  uint16_t* values(int layer, int head) const { return values_.data() + (layer * n_heads_ + head) * head_size_; }
  int64_t value_stride() const { return (int64_t)rows_ * MZ_PANEL; }
  const float* cos(int position) const { return cos_.data() + (int64_t)position * d_head_ / 2; }
  const float* sin(int position) const { return sin_.data() + (int64_t)position * d_head_ / 2; }
  int32_t id(int position) const { return ids_[position]; }
  void put_id(int position, int32_t id) const { ids_.data()[position] = id; }
  void put_key(int layer, int head, int row, const uint16_t* key) const;
  void put_value(int layer, int head, int row, const uint16_t* value) const;

  std::atomic<bool> busy{false};  // a run is writing to it

 private:
  int capacity_, rows_, n_heads_, d_head_;  // rows_: capacity in whole panels
  int64_t head_size_;
  Buffer<uint16_t> keys_, values_;
  Buffer<int32_t> ids_;  // of the context tokens
  Buffer<float> cos_, sin_;
};

// What is wanted of the rows of a forward pass: nothing, logits of all of them, or statistics of some.
struct Wanted {
  float* logits = nullptr;            // (n, vocab)
  std::vector<int> rows;              // for the statistics, with an entry of each of these three
  std::vector<mz_rule> rules;
  std::vector<int32_t> own;           // the token that the row holds
  std::vector<mz_stat> stats;         // out
  const uint8_t* flags = nullptr;     // (vocab)
  float temperature = 0;
  uint64_t seed = 0;
  int step = 0;
};

class Model {
 public:
  Model(const mz_shape& shape, bool int8, int n_threads);

  void set(const std::string& name, const uint16_t* bf16, int64_t n);
  void check_ready();  // throws an Error that names what is missing
  int64_t bytes() const;
  const mz_shape& shape() const { return shape_; }
  const mz_kernels& kernels() const { return kernels_; }
  int d_head() const { return shape_.d_model / shape_.n_heads; }

  // Up to MZ_MAX_ROWS rows behind `start` rows of the cache. False if `cancelled` was set meanwhile.
  bool forward(const Cache& cache, const int32_t* ids, int start, int n, bool causal, Wanted* wanted,
               const std::atomic<bool>* cancelled);

 private:
  friend class Pass;
  using Setter = std::function<void(const uint16_t*)>;
  struct Slot {
    int64_t n;
    Setter set;
    bool is_set = false;
  };
  void add_gain(const std::string& name, Buffer<float>& gain, int n);
  void add_table(const std::string& name, Buffer<uint16_t>& table, int n);
  void add_matrix(const std::string& name, Matrix& matrix, int n, int k);

  mz_shape shape_;
  bool int8_;
  const mz_kernels& kernels_;
  std::unordered_map<std::string, Slot> slots_;
  bool ready_ = false;

  Buffer<uint16_t> table_;         // token embeddings
  Matrix head_;                    // the same, packed
  Buffer<uint16_t> left_, right_;  // what a neighbour adds to a row, for every token and for none
  Buffer<float> embed_norm_, canvas_embed_, norm_;
  std::vector<Block> blocks_;

  std::mutex mutex_;  // over the pool and the workspace
  Pool pool_;
  struct Workspace {
    Buffer<float> x, wide, attended;           // residual stream; what a product gives; attention output
    Buffer<uint8_t> bytes;                     // input of a product, int8
    Buffer<uint16_t> words;                    // the same, bf16
    Buffer<float> scale;                       // of int8 rows
    Buffer<uint16_t> q;                        // (key head, row, head of its group, d_head)
    std::vector<Buffer<float>> scores, mixed;  // per thread
    std::vector<Buffer<uint16_t>> p;           // per thread
    std::vector<std::vector<mz_stat>> stats;   // per thread and wanted row
  } work_;
};

}  // namespace mezzotint
