// The model: packed weights, and the forward pass over rows of two kinds.
//
// Rule: a forward pass is one job of the thread pool; one at a time, whoever asks, and what several ask for at the same
// time is one pass (meeting.h). What it computes is defined by `cuda_ext/twin.py`.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "cache.h"
#include "matrix.h"
#include "meeting.h"
#include "mezzotint/c_api.h"
#include "pool.h"

namespace mezzotint {

constexpr int SCRATCH = 1 << 16;  // numbers per thread: a block of scores or of logits that stays in L2
constexpr int ATTENDED_AT_ONCE = 24;  // query rows, at most: their scores in L2, the keys of a tile in L1

struct Block {
  Buffer<float> attn_norm, q_norm, k_norm, mlp_norm, qkv_bias;  // those that the model has
  Matrix qkv, o, gate_up, down;
};

class Model {
 public:
  Model(const mz_shape& shape, bool int8, int n_threads);

  void set(const std::string& name, const uint16_t* bf16, int64_t n);
  void set(const std::string& name, const int8_t* q, const float* scales, int64_t rows, int64_t cols);
  void check_ready();  // throws an Error that names what is missing
  int64_t bytes() const;
  const mz_shape& shape() const { return shape_; }
  bool has(mz_shape_flag flag) const { return shape_.flags & flag; }

  // Up to MZ_MAX_ROWS rows. False if `cancelled` was set meanwhile.
  bool forward(const Cache& cache, const Rows& rows, Wanted* wanted, const std::atomic<bool>* cancelled);
  // Of a loop: passes of others wait a moment for its next one.
  void enter() { meeting_.enter(); }
  void leave() { meeting_.leave(); }

 private:
  friend class Pass;
  struct Slot {  // where a tensor goes: a matrix, or what `set` does with n numbers
    Matrix* matrix;
    int64_t n;
    std::function<void(const uint16_t*)> set;
    bool is_set = false;
  };
  void add_gain(const std::string& name, Buffer<float>& gain, int n);
  void add_table(const std::string& name, Buffer<uint16_t>& table, int64_t n);
  void add_matrix(const std::string& name, Matrix& matrix, int n, int k);
  void add_block(int layer);
  void run(const std::vector<Asked*>& together);
  void place_matrices();
  void make_workspace();
  Slot& slot(const std::string& name);
  // The token embeddings: the same numbers as in a tied head, so that a large vocabulary is there once. Models with
  // extras have a table of their own: their few tokens stay as exact as they were given.
  const Matrix& head() const { return has(MZ_OWN_HEAD) ? head_ : embed_; }
  void embedding(int32_t id, float* out) const;

  mz_shape shape_;
  bool int8_;
  const mz_kernels& kernels_;
  std::unordered_map<std::string, Slot> slots_;
  std::atomic<bool> ready_{false};

  Buffer<uint8_t> panels_;  // of all matrices
  Matrix embed_, head_;
  Buffer<uint16_t> table_;         // embeddings of a model with extras
  Buffer<uint16_t> left_, right_;  // what a neighbour adds to a row, for every token and for none
  Buffer<float> embed_norm_, canvas_embed_, norm_;
  std::vector<Block> blocks_;

  Meeting meeting_;
  std::mutex mutex_;  // over the pool and the workspace
  Pool pool_;
  struct Workspace {
    Buffer<float> x, wide, attended;           // residual stream; what a product gives; attention output
    Buffer<uint8_t> bytes;                     // input of a product, int8
    Buffer<uint16_t> words;                    // the same, bf16
    Buffer<float> scale;                       // of int8 rows
    Buffer<int16_t> q;                         // (key head, row, head of its group, d_head)
    Buffer<float> q_scale;                     // (key head, row, head of its group)
    std::vector<Buffer<float>> scores, mixed;  // per thread
    std::vector<Buffer<int16_t>> p;            // per thread
    std::vector<std::vector<mz_stat>> stats;   // per thread and wanted row
  } work_;
};

}  // namespace mezzotint
