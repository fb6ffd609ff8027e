// The forward pass: what each thread does of it, phase by phase, a barrier between two.
//
// Rule: products are split by columns, everything else by rows; attention by key heads and blocks of rows.
#include <algorithm>
#include <cmath>

#include "model.h"

namespace mezzotint {
namespace {

struct Range {
  int first, last;
};

Range share(int n, int thread, int n_threads) {
  return {(int)((int64_t)n * thread / n_threads), (int)((int64_t)n * (thread + 1) / n_threads)};
}

// Panels for a thread: by fours, as the tiles take them, where that comes out even.
Range share_panels(int n, int thread, int n_threads) {
  const int fours = n / 4;
  if (n % 4 || (fours % n_threads && fours < 8 * n_threads)) return share(n, thread, n_threads);
  const Range range = share(fours, thread, n_threads);
  return {4 * range.first, 4 * range.last};
}

}  // namespace

class Pass {
 public:
  Pass(Model& model, const Cache& cache, const int32_t* ids, int start, int n, bool causal, Wanted* wanted,
       const std::atomic<bool>* cancelled)
      : m_(model), k_(model.kernels_), w_(model.work_), cache_(cache), ids_(ids), start_(start), n_(n),
        causal_(causal), wanted_(wanted), cancelled_(cancelled), d_(model.shape_.d_model), ff_(model.shape_.d_ff),
        dh_(model.d_head()), n_heads_(model.shape_.n_heads), n_kv_(model.shape_.n_kv_heads),
        group_(n_heads_ / n_kv_), n_threads_(model.pool_.size()) {}

  void run(int t);
  bool stopped() const { return stopped_; }

 private:
  template <class F>
  void each_row(int t, F f) {
    const Range range = share(n_, t, n_threads_);
    for (int row = range.first; row < range.last; ++row) f(row);
    m_.pool_.barrier();
  }
  float* x(int row) const { return w_.x.data() + (int64_t)row * d_; }
  float* wide(int row, int width) const { return w_.wide.data() + (int64_t)row * width; }
  void look_up(int t, int row);
  void add_row(int t, const Buffer<uint16_t>& table, int id, int row);
  void take(int at, const float* values, int k);
  void take_normed(int t, int at, int row, const Buffer<float>& gain);
  void multiply(const Matrix& matrix, int n_rows, Range panels, float* out, int64_t ldo, int add);
  void product(int t, const Matrix& matrix, float* out, int64_t ldo, int add);
  void split_heads(int t, int layer, int row);
  void attend(int t, int layer);
  void attend_block(int t, int layer, int head, Range rows);
  void predict(int t);
  void block_of_logits(int t, float* logits, int64_t ldo, Range columns);

  Model& m_;
  const mz_kernels& k_;
  Model::Workspace& w_;
  const Cache& cache_;
  const int32_t* ids_;
  const int start_, n_;
  const bool causal_;
  Wanted* wanted_;
  const std::atomic<bool>* cancelled_;
  const int d_, ff_, dh_, n_heads_, n_kv_, group_, n_threads_;
  bool stopped_ = false;  // thread 0 writes it in front of a barrier
};

void Pass::run(int t) {
  const int n_qkv = (n_heads_ + 2 * n_kv_) * dh_, n_gate_up = m_.shape_.d_ff * 2;
  const int ld_gate_up = (int)round_up(n_gate_up, MZ_PANEL);
  for (int layer = 0; layer < m_.shape_.n_layers; ++layer) {
    const Block& block = m_.blocks_[layer];
    if (t == 0 && cancelled_ && cancelled_->load(std::memory_order_relaxed)) stopped_ = true;
    each_row(t, [&](int row) {
      if (layer == 0) look_up(t, row);
      take_normed(t, row, row, block.attn_norm);
    });
    if (stopped_) return;
    product(t, block.qkv, w_.wide.data(), n_qkv, 0);
    each_row(t, [&](int row) { split_heads(t, layer, row); });
    if (!wanted_ && layer + 1 == m_.shape_.n_layers) return;  // all keys and values are written
    attend(t, layer);
    each_row(t, [&](int row) { take(row, w_.attended.data() + (int64_t)row * d_, d_); });
    product(t, block.o, w_.x.data(), d_, 1);
    each_row(t, [&](int row) { take_normed(t, row, row, block.mlp_norm); });
    product(t, block.gate_up, w_.wide.data(), ld_gate_up, 0);
    each_row(t, [&](int row) {
      const float* gate = wide(row, ld_gate_up);
      k_.silu_mul(gate, gate + ff_, ff_, w_.scores[t].data());
      take(row, w_.scores[t].data(), ff_);
    });
    product(t, block.down, w_.x.data(), d_, 1);
  }
  predict(t);
}

// Token, left neighbour and, on the canvas, right neighbour; behind the last token there is none.
void Pass::look_up(int t, int row) {
  const int none = m_.shape_.vocab_size;
  k_.from_bf16(m_.table_.data() + (int64_t)ids_[row] * d_, d_, x(row));
  k_.rms_norm(x(row), m_.embed_norm_.data(), d_, x(row));
  add_row(t, m_.left_, row ? ids_[row - 1] : start_ ? cache_.id(start_ - 1) : none, row);
  if (causal_) return cache_.put_id(start_ + row, ids_[row]);
  k_.add(m_.canvas_embed_.data(), d_, x(row));
  add_row(t, m_.right_, row + 1 < n_ ? ids_[row + 1] : none, row);
}

void Pass::add_row(int t, const Buffer<uint16_t>& table, int id, int row) {
  float* wide_row = w_.scores[t].data();
  k_.from_bf16(table.data() + (int64_t)id * d_, d_, wide_row);
  k_.add(wide_row, d_, x(row));
}

// Makes `values` row `at` of the input of the next product.
void Pass::take(int at, const float* values, int k) {
  if (m_.int8_) {
    k_.quantise(values, k, w_.bytes.data() + at * round_up(k, 4), &w_.scale[at]);
  } else {
    uint16_t* out = w_.words.data() + at * round_up(k, 2);
    k_.to_bf16(values, k, out);
    if (k % 2) out[k] = 0;
  }
}

void Pass::take_normed(int t, int at, int row, const Buffer<float>& gain) {
  float* normed = w_.scores[t].data();
  k_.rms_norm(x(row), gain.data(), d_, normed);
  take(at, normed, d_);
}

void Pass::multiply(const Matrix& matrix, int n_rows, Range panels, float* out, int64_t ldo, int add) {
  if (m_.int8_) {
    const mz_int8 w = matrix.int8();
    k_.gemm_int8(w_.bytes.data(), w_.scale.data(), n_rows, &w, panels.first, panels.last, out, ldo, add);
  } else {
    const mz_bf16 w = matrix.bf16();
    k_.gemm_bf16(w_.words.data(), w.k, n_rows, &w, panels.first, panels.last, out, ldo, add);
  }
}

void Pass::product(int t, const Matrix& matrix, float* out, int64_t ldo, int add) {
  const Range panels = share_panels(matrix.n_panels(), t, n_threads_);
  multiply(matrix, n_, panels, out + (int64_t)panels.first * MZ_PANEL, ldo, add);
  m_.pool_.barrier();
}

// Queries to the workspace, keys and values into the cache: normed, rotated, in bf16.
void Pass::split_heads(int t, int layer, int row) {
  const Block& block = m_.blocks_[layer];
  const int position = start_ + row;
  const float* from = wide(row, (n_heads_ + 2 * n_kv_) * dh_);
  float* normed = w_.scores[t].data();
  uint16_t* word = w_.p[t].data();
  for (int head = 0; head < n_heads_ + n_kv_; ++head, from += dh_) {
    const bool is_q = head < n_heads_;
    const int64_t folded = (int64_t)(head / group_) * n_ * group_ + row * group_ + head % group_;
    k_.rms_norm(from, (is_q ? block.q_norm : block.k_norm).data(), dh_, normed);
    k_.rotate(normed, cache_.cos(position), cache_.sin(position), dh_ / 2, is_q ? w_.q.data() + folded * dh_ : word);
    if (!is_q) cache_.put_key(layer, head - n_heads_, position, word);
  }
  for (int head = 0; head < n_kv_; ++head, from += dh_) {
    k_.to_bf16(from, dh_, word);
    cache_.put_value(layer, head, position, word);
  }
}

void Pass::attend(int t, int layer) {
  const int n_folded = n_ * group_, most = SCRATCH / (int)round_up(start_ + n_, MZ_PANEL);
  const int by_memory = (n_folded + most - 1) / most, by_threads = (n_threads_ + n_kv_ - 1) / n_kv_;
  const int n_blocks = std::min(n_folded, std::max(by_memory, by_threads));
  const Range items = share(n_kv_ * n_blocks, t, n_threads_);
  for (int item = items.first; item < items.last; ++item)
    attend_block(t, layer, item / n_blocks, share(n_folded, item % n_blocks, n_blocks));
  m_.pool_.barrier();
}

// Attention of some rows of a key head; the query heads of its group are so many more rows.
void Pass::attend_block(int t, int layer, int head, Range rows) {
  const int n_rows = rows.last - rows.first;
  const int n_keys = causal_ ? start_ + (rows.last - 1) / group_ + 1 : start_ + n_;
  const int n_padded = (int)round_up(n_keys, MZ_PANEL);
  const uint16_t* q = w_.q.data() + ((int64_t)head * n_ * group_ + rows.first) * dh_;
  float *scores = w_.scores[t].data(), *mixed = w_.mixed[t].data();
  uint16_t* p = w_.p[t].data();
  const mz_bf16 keys = {cache_.keys(layer, head), (int64_t)dh_ * MZ_PANEL, dh_};
  const mz_bf16 values = {cache_.values(layer, head), cache_.value_stride(), (int)round_up(n_keys, 2)};
  k_.gemm_bf16(q, dh_, n_rows, &keys, 0, n_padded / MZ_PANEL, scores, n_padded, 0);
  const float by = 1.0f / std::sqrt((float)dh_);
  for (int i = 0; i < n_rows; ++i) {
    const int n_seen = causal_ ? start_ + (rows.first + i) / group_ + 1 : n_keys;
    const float sum = k_.softmax(scores + (int64_t)i * n_padded, by, n_seen, n_padded, p + (int64_t)i * n_padded);
    scores[(int64_t)i * n_padded] = sum;  // the scores of the row are used up
  }
  k_.gemm_bf16(p, n_padded, n_rows, &values, 0, dh_ / MZ_PANEL, mixed, dh_, 0);
  for (int i = 0; i < n_rows; ++i) {
    const int row = (rows.first + i) / group_, of_group = (rows.first + i) % group_;
    float* out = w_.attended.data() + (int64_t)row * d_ + (head * group_ + of_group) * dh_;
    k_.scale(mixed + (int64_t)i * dh_, 1.0f / scores[(int64_t)i * n_padded], dh_, out);
  }
}

// Logits of the wanted rows, block by block, and what is made of them.
void Pass::predict(int t) {
  const int n_rows = wanted_->logits ? n_ : (int)wanted_->rows.size();
  const Range mine = share(n_rows, t, n_threads_);
  for (int i = mine.first; i < mine.last; ++i)
    take_normed(t, i, wanted_->logits ? i : wanted_->rows[i], m_.norm_);
  m_.pool_.barrier();
  w_.stats[t].assign(n_rows, mz_stat_empty());
  if (!n_rows) return;
  const Range panels = share_panels(m_.head_.n_panels(), t, n_threads_);
  const int most = std::max(4, SCRATCH / 2 / n_rows / MZ_PANEL / 4 * 4);
  for (int panel = panels.first; panel < panels.last; panel += most) {
    const Range block = {panel, std::min(panel + most, panels.last)};
    const int64_t ldo = (int64_t)(block.last - block.first) * MZ_PANEL;
    float* logits = w_.scores[t].data();
    multiply(m_.head_, n_rows, block, logits, ldo, 0);
    block_of_logits(t, logits, ldo, {panel * MZ_PANEL, std::min(block.last * MZ_PANEL, m_.shape_.vocab_size)});
  }
}

void Pass::block_of_logits(int t, float* logits, int64_t ldo, Range columns) {
  const int n = columns.last - columns.first;
  if (wanted_->logits) {
    for (int i = 0; i < n_; ++i)
      std::copy_n(logits + i * ldo, n, wanted_->logits + (int64_t)i * m_.shape_.vocab_size + columns.first);
    return;
  }
  for (size_t i = 0; i < wanted_->rows.size(); ++i) {
    float* row = logits + i * ldo;
    if (wanted_->temperature > 0)  // Gumbel-max: sampling by argmax, a function of the seed alone
      for (int j = 0; j < n; ++j)
        row[j] = row[j] / wanted_->temperature +
                 mz_gumbel(wanted_->seed, wanted_->step, wanted_->rows[i], columns.first + j);
    mz_stat& stat = w_.stats[t][i];
    stat = k_.stats(stat, row, wanted_->flags + columns.first, n, columns.first, wanted_->rules[i], wanted_->own[i]);
  }
}

bool Model::forward(const Cache& cache, const int32_t* ids, int start, int n, bool causal, Wanted* wanted,
                    const std::atomic<bool>* cancelled) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!ready_) throw Error{"the model is not ready"};
  Pass pass(*this, cache, ids, start, n, causal, wanted, cancelled);
  pool_.run([&pass](int thread) { pass.run(thread); });
  if (pass.stopped()) return false;
  if (wanted && !wanted->logits) {
    wanted->stats.assign(wanted->rows.size(), mz_stat_empty());
    for (const std::vector<mz_stat>& part : work_.stats)
      for (size_t i = 0; i < part.size(); ++i) wanted->stats[i] = mz_stat_merge(wanted->stats[i], part[i]);
  }
  return true;
}

}  // namespace mezzotint
