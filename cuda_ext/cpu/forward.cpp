// The forward pass: what each thread does of it, phase by phase, a barrier between two.
//
// Rule: products are split by columns, attention by query heads, everything else by rows. Rows of several callers are so
// many more rows: what each comes to does not depend on the others, for only attention looks at other rows, its own.
#include <algorithm>
#include <cmath>

#include "model.h"

namespace mezzotint {
namespace {

struct Range {
  int first, last;
  int n() const { return last - first; }
};

Range share(int n, int thread, int n_threads) {
  return {(int)((int64_t)n * thread / n_threads), (int)((int64_t)n * (thread + 1) / n_threads)};
}

// Panels for a thread: in pairs, as the tiles take them, where that comes out even.
Range share_panels(int n, int thread, int n_threads) {
  const int pairs = n / 2;
  if (n % 2 || (pairs % n_threads && pairs < 8 * n_threads)) return share(n, thread, n_threads);
  const Range range = share(pairs, thread, n_threads);
  return {2 * range.first, 2 * range.last};
}

// Queries and keys are integers up to this: no sum of d_head products overflows.
int key_most(int d_head) {
  return std::min(32767, (int)std::sqrt(2147483647.0 / std::min(d_head, MZ_MIX_PART)));
}

}  // namespace

class Pass {
 public:
  Pass(Model& model, const std::vector<Asked*>& together)
      : m_(model), s_(model.shape_), k_(model.kernels_), w_(model.work_), d_(s_.d_model),
        ldx_((int)round_up(d_, MZ_PANEL)), ff_(s_.d_ff), dh_(s_.d_head), n_q_(s_.n_heads * dh_),
        n_qkv_(n_q_ + 2 * s_.n_kv_heads * dh_), ld_qkv_((int)round_up(n_qkv_, MZ_PANEL)),
        group_(s_.n_heads / s_.n_kv_heads), n_threads_(model.pool_.size()), key_most_(key_most(dh_)),
        to_exponent_(1.44269504f / std::sqrt((float)dh_)) {
    for (Asked* asked : together) add(*asked);
  }

  void run(int t);
  void merge();
  bool stopped() const { return stopped_; }

 private:
  template <class F>
  void each_row(int t, F f) {
    const Range range = share(n_, t, n_threads_);
    for (int row = range.first; row < range.last; ++row) f(row);
    m_.pool_.barrier();
  }
  float* x(int row) const { return w_.x.data() + (int64_t)row * ldx_; }
  float* wide(int row, int width) const { return w_.wide.data() + (int64_t)row * width; }
  // The rows of one caller.
  struct Part {
    Asked* asked;
    int first;         // its first row
    int first_wanted;  // and the first of those that it wants
    const Cache& cache() const { return *asked->cache; }
    const Rows& rows() const { return asked->rows; }
    int last() const { return first + rows().n(); }
  };
  struct Wish {
    const Part* part;
    int index;  // of those that the part wants
    int row;
  };
  void add(Asked& asked);
  bool all_cancelled() const;
  const Part& part_of(int row) const { return parts_[part_of_[row]]; }
  int none() const { return s_.vocab_size; }
  int32_t before_rows(const Part& p) const { return p.rows().start ? p.cache().id(p.rows().start - 1) : none(); }
  int32_t before_canvas(const Part& p) const {
    return p.rows().decided ? p.rows().ids[p.rows().decided - 1] : before_rows(p);
  }
  int32_t fed(const Part& part, int canvas_row) const;
  int position(const Part& part, int at) const;
  mz_seen seen(const Part& part, int at) const;
  void look_up(int t, int row);
  void add_neighbours(int t, const Part& part, int row);
  void add_row(int t, const Buffer<uint16_t>& table, int id, int row);
  void take(int at, const float* values, int k);
  void take_normed(int t, int at, int row, const Buffer<float>& gain);
  void multiply(const Matrix& matrix, int n_rows, Range panels, float* out, int64_t ldo, int add);
  void product(int t, const Matrix& matrix, float* out, int64_t ldo, int add);
  void split_heads(int t, int layer, int row);
  void attend(int t, int layer);
  void attend_block(int t, int layer, int head, const Part& part, Range rows);
  void predict(int t);
  void block_of_logits(int t, float* logits, int64_t ldo, Range columns);

  Model& m_;
  const mz_shape& s_;
  const mz_kernels& k_;
  Model::Workspace& w_;
  int n_parts_ = 0, n_ = 0, n_wanted_ = 0;
  Part parts_[MZ_MAX_ROWS];
  uint8_t part_of_[MZ_MAX_ROWS];  // of every row
  Wish wished_[MZ_MAX_ROWS];
  const int d_, ldx_, ff_, dh_, n_q_, n_qkv_, ld_qkv_, group_, n_threads_, key_most_;
  const float to_exponent_;  // from a query's product with a key to the exponent of 2
  bool stopped_ = false;  // thread 0 writes it in front of a barrier
};

void Pass::add(Asked& asked) {
  Part& part = parts_[n_parts_] = {&asked, n_, n_wanted_};
  const Wanted* wanted = asked.wanted;
  std::fill_n(part_of_ + n_, part.rows().n(), (uint8_t)n_parts_++);
  n_ = part.last();
  const int n = !wanted ? 0 : wanted->plan ? wanted->plan->n_wanted : part.rows().n();
  for (int i = 0; i < n; ++i) wished_[n_wanted_++] = {&part, i, part.first + (wanted->plan ? wanted->plan->wanted[i] : i)};
}

// Whether nobody wants the rest of the pass.
bool Pass::all_cancelled() const {
  return std::all_of(parts_, parts_ + n_parts_, [](const Part& part) { return part.asked->is_cancelled(); });
}

void Pass::run(int t) {
  const int ld_gate_up = (int)round_up(2 * ff_, MZ_PANEL);
  for (int layer = 0; layer < s_.n_layers; ++layer) {
    const Block& block = m_.blocks_[layer];
    if (t == 0 && all_cancelled()) stopped_ = true;
    each_row(t, [&](int row) {
      if (layer == 0) look_up(t, row);
      take_normed(t, row, row, block.attn_norm);
    });
    if (stopped_) return;
    product(t, block.qkv, w_.wide.data(), ld_qkv_, 0);
    each_row(t, [&](int row) { split_heads(t, layer, row); });
    if (!n_wanted_ && layer + 1 == s_.n_layers) return;  // all keys and values are written
    attend(t, layer);
    each_row(t, [&](int row) { take(row, w_.attended.data() + (int64_t)row * n_q_, n_q_); });
    product(t, block.o, w_.x.data(), ldx_, 1);
    each_row(t, [&](int row) { take_normed(t, row, row, block.mlp_norm); });
    product(t, block.gate_up, w_.wide.data(), ld_gate_up, 0);
    each_row(t, [&](int row) {
      const float* gate = wide(row, ld_gate_up);
      k_.silu_mul(gate, gate + ff_, ff_, w_.scores[t].data());
      take(row, w_.scores[t].data(), ff_);
    });
    product(t, block.down, w_.x.data(), ldx_, 1);
  }
  predict(t);
}

// The token that a canvas row is given: its own, or where the model shifts that of the row before.
int32_t Pass::fed(const Part& part, int canvas_row) const {
  const int32_t* canvas = part.rows().ids + part.rows().n_context;
  if (!m_.has(MZ_SHIFT)) return canvas[canvas_row];
  return canvas_row ? canvas[canvas_row - 1] : before_canvas(part);
}

int Pass::position(const Part& part, int at) const {
  const Rows& rows = part.rows();
  if (at < rows.n_context) return rows.start + at;
  return rows.start + rows.decided + (at - rows.n_context) - m_.has(MZ_SHIFT);
}

// Context rows see what is in front of them, and their block; canvas rows the decided tokens, and blocks of the canvas.
mz_seen Pass::seen(const Part& part, int at) const {
  const Rows& rows = part.rows();
  const int first = rows.start + rows.n_context;
  const auto block_end = [](int at, int64_t block, int most) { return (int)std::min<int64_t>((at / block + 1) * block, most); };
  if (at < rows.n_context) {
    const int stop = block_end(rows.start + at, s_.context_sees, first);
    return {stop, stop, stop};
  }
  return {rows.start + rows.decided, first, first + block_end(at - rows.n_context, s_.canvas_sees, rows.n_canvas)};
}

void Pass::look_up(int t, int row) {
  const Part& part = part_of(row);
  const int at = row - part.first;
  const bool of_context = at < part.rows().n_context;
  const int32_t id = of_context ? part.rows().ids[at] : fed(part, at - part.rows().n_context);
  if (of_context) part.cache().put_id(part.rows().start + at, id);
  m_.embedding(id, x(row));
  if (m_.has(MZ_EXTRAS)) add_neighbours(t, part, row);
}

// Left neighbour and, on the canvas, right neighbour; behind the last token there is none.
void Pass::add_neighbours(int t, const Part& part, int row) {
  const int of_part = row - part.first, at = of_part - part.rows().n_context;  // `at`: on the canvas
  k_.rms_norm(x(row), m_.embed_norm_.data(), s_.norm_eps, d_, x(row));
  if (at < 0) return add_row(t, m_.left_, of_part ? part.rows().ids[of_part - 1] : before_rows(part), row);
  add_row(t, m_.left_, at ? fed(part, at - 1) : before_canvas(part), row);
  k_.add(m_.canvas_embed_.data(), d_, x(row));
  add_row(t, m_.right_, at + 1 < part.rows().n_canvas ? fed(part, at + 1) : none(), row);
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
  k_.rms_norm(x(row), gain.data(), s_.norm_eps, d_, normed);
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

// Queries to the workspace, keys and values into the cache, in int16: with their bias, normed, rotated.
void Pass::split_heads(int t, int layer, int row) {
  const Block& block = m_.blocks_[layer];
  const Part& p = part_of(row);
  const Cache& cache = p.cache();
  const int at = position(p, row - p.first), slot = p.rows().start + row - p.first;
  float *from = wide(row, ld_qkv_), *normed = w_.scores[t].data(), *rotated = normed + dh_, scale;
  int16_t* part = w_.p[t].data();
  if (m_.has(MZ_QKV_BIAS)) k_.add(block.qkv_bias.data(), n_qkv_, from);
  for (int head = 0; head < s_.n_heads + s_.n_kv_heads; ++head, from += dh_) {
    const bool is_q = head < s_.n_heads;
    const float* given = from;
    if (m_.has(MZ_QK_NORM)) {
      k_.rms_norm(from, (is_q ? block.q_norm : block.k_norm).data(), s_.norm_eps, dh_, normed);
      given = normed;
    }
    k_.rotate(given, cache.cos(at), cache.sin(at), dh_ / 2, rotated);
    if (is_q) {
      const int64_t folded = (int64_t)(head / group_) * n_ * group_ + row * group_ + head % group_;
      k_.quantise16(rotated, dh_, key_most_, w_.q.data() + folded * dh_, &scale);
      w_.q_scale[folded] = scale * to_exponent_;
    } else {
      k_.quantise16(rotated, dh_, key_most_, part, &scale);
      cache.put_key(layer, head - s_.n_heads, slot, part, scale);
    }
  }
  for (int head = 0; head < s_.n_kv_heads; ++head, from += dh_) {
    k_.quantise16(from, dh_, MZ_VALUE_MOST, part, &scale);
    cache.put_value(layer, head, slot, part, scale);
  }
}

// The rows of a key head's group are so many more rows: all of them, head by head, are shared out evenly.
void Pass::attend(int t, int layer) {
  const int n_folded = n_ * group_;
  const Range mine = share(s_.n_kv_heads * n_folded, t, n_threads_);
  for (int first = mine.first; first < mine.last;) {
    const int head = first / n_folded, at = first - head * n_folded;
    const Part& part = part_of(at / group_);
    const int last = std::min(mine.last, head * n_folded + part.last() * group_);
    const int most = std::min(ATTENDED_AT_ONCE, SCRATCH / (int)round_up(part.rows().stop(), MZ_PANEL));
    const int n_blocks = (last - first + most - 1) / most;
    for (int i = 0; i < n_blocks; ++i) {
      const Range block = share(last - first, i, n_blocks);
      attend_block(t, layer, head, part, {at + block.first, at + block.last});
    }
    first = last;
  }
  m_.pool_.barrier();
}

// Attention of some rows of a key head.
void Pass::attend_block(int t, int layer, int head, const Part& part, Range rows) {
  const Cache& cache = part.cache();
  const auto seen_by = [&](int folded_row) { return seen(part, folded_row / group_ - part.first); };
  int n_keys = 0;
  for (int i = rows.first; i < rows.last; ++i) n_keys = std::max(n_keys, (int)seen_by(i).stop);
  const int n_padded = (int)round_up(n_keys, MZ_PANEL), wide_head = (int)round_up(dh_, MZ_PANEL);
  const int64_t folded = (int64_t)head * n_ * group_ + rows.first;
  float *scores = w_.scores[t].data(), *mixed = w_.mixed[t].data(), worth[ATTENDED_AT_ONCE];
  int16_t* p = w_.p[t].data();
  const mz_int16 keys = {cache.keys(layer, head), (int64_t)dh_ * MZ_PANEL, dh_, cache.key_scales(layer, head)};
  const mz_int16 values = {cache.values(layer, head), cache.value_stride(), (int)round_up(n_keys, 2), nullptr};
  k_.gemm_int16(w_.q.data() + folded * dh_, dh_, w_.q_scale.data() + folded, rows.n(), &keys, 0, n_padded / MZ_PANEL,
                scores, n_padded);
  for (int i = 0; i < rows.n(); ++i)
    worth[i] = k_.softmax(scores + (int64_t)i * n_padded, seen_by(rows.first + i), n_padded,
                          cache.value_scales(layer, head), p + (int64_t)i * n_padded);
  k_.gemm_int16(p, n_padded, worth, rows.n(), &values, 0, wide_head / MZ_PANEL, mixed, wide_head);
  for (int i = 0; i < rows.n(); ++i) {
    const int row = (rows.first + i) / group_, of_group = (rows.first + i) % group_;
    std::copy_n(mixed + (int64_t)i * wide_head, dh_, w_.attended.data() + (int64_t)row * n_q_ + (head * group_ + of_group) * dh_);
  }
}

// Logits of the wanted rows, block by block, and what is made of them.
void Pass::predict(int t) {
  const int n_rows = n_wanted_;
  const Range mine = share(n_rows, t, n_threads_);
  for (int i = mine.first; i < mine.last; ++i) take_normed(t, i, wished_[i].row, m_.norm_);
  m_.pool_.barrier();
  w_.stats[t].assign(n_rows, mz_stat_empty());
  if (!n_rows) return;
  const Range panels = share_panels(m_.head().n_panels(), t, n_threads_);
  const int most = std::max(4, SCRATCH / 2 / n_rows / MZ_PANEL / 4 * 4);
  for (int panel = panels.first; panel < panels.last; panel += most) {
    const Range block = {panel, std::min(panel + most, panels.last)};
    const int64_t ldo = (int64_t)block.n() * MZ_PANEL;
    float* logits = w_.scores[t].data();
    multiply(m_.head(), n_rows, block, logits, ldo, 0);
    block_of_logits(t, logits, ldo, {panel * MZ_PANEL, std::min(block.last * MZ_PANEL, s_.vocab_size)});
  }
}

void Pass::block_of_logits(int t, float* logits, int64_t ldo, Range columns) {
  for (int i = 0; i < n_wanted_; ++i) {
    const Wish& wish = wished_[i];
    const Wanted& wanted = *wish.part->asked->wanted;
    const mz_plan* plan = wanted.plan;
    float* row = logits + i * ldo;
    if (!plan) {
      std::copy_n(row, columns.n(), wanted.logits + (int64_t)wish.index * s_.vocab_size + columns.first);
      continue;
    }
    if (wanted.temperature > 0)  // Gumbel-max: sampling by argmax, a function of the seed alone
      k_.add_noise(row, columns.n(), columns.first, wanted.temperature, wanted.seed, wanted.step, plan->at[wish.index]);
    mz_stat& stat = w_.stats[t][i];
    stat = k_.stats(stat, row, wanted.flags + columns.first, columns.n(), columns.first, plan->rule[wish.index],
                    plan->own[wish.index]);
  }
}

// What all threads found of the wanted rows, to those who wanted them.
void Pass::merge() {
  for (int n = 0; n < n_parts_; ++n) {
    Wanted* wanted = parts_[n].asked->wanted;
    if (!wanted || !wanted->plan) continue;
    wanted->stats.assign(wanted->plan->n_wanted, mz_stat_empty());
    for (const std::vector<mz_stat>& found : w_.stats)
      for (size_t i = 0; i < wanted->stats.size(); ++i)
        wanted->stats[i] = mz_stat_merge(wanted->stats[i], found[parts_[n].first_wanted + i]);
  }
}

// All of them as one pass.
void Model::run(const std::vector<Asked*>& together) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Pass pass(*this, together);
  pool_.run([&pass](int thread) { pass.run(thread); });
  if (!pass.stopped()) return pass.merge();
  for (Asked* asked : together) asked->stopped = true;
}

}  // namespace mezzotint
