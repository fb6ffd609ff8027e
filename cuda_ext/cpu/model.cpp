// Loads a model tensor by tensor.
#include "model.h"

#include <algorithm>
#include <cmath>

namespace mezzotint {
namespace {

void check(bool ok, const std::string& text) {
  if (!ok) throw Error{text};
}

mz_shape checked(const mz_shape& s) {
  check(s.vocab_size > 0 && s.d_model > 0 && s.n_layers > 0 && s.n_heads > 0 && s.n_kv_heads > 0 && s.d_ff > 0,
        "a shape with a size below 1");
  check(s.n_heads % s.n_kv_heads == 0, "heads that do not divide");
  check(s.d_head > 0 && s.d_head % 2 == 0, "the width of a head must be even");
  check(s.d_model <= SCRATCH && s.d_ff <= SCRATCH && s.n_layers <= 1024 && s.n_heads <= 1024 && s.d_head <= 1024 &&
            s.n_heads * s.d_head <= SCRATCH && s.vocab_size <= 1 << 20,
        "a shape too large");
  check(s.rope_base > 0 && std::isfinite(s.rope_base), "rope_base must be positive");
  check(s.norm_eps > 0 && std::isfinite(s.norm_eps), "norm_eps must be positive");
  check(s.context_sees > 0 && s.canvas_sees > 0, "rows must see themselves");
  check(s.flags >= 0 && s.flags < 2 * MZ_SHIFT, "flags of a shape that are not known");
  return s;
}

void check_finite(const std::string& name, const uint16_t* bf16, int64_t n) {
  int16_t largest = 0;
  for (int64_t i = 0; i < n; ++i) largest = std::max<int16_t>(largest, (int16_t)(bf16[i] & 0x7FFF));
  check(largest < 0x7F80, name + " holds numbers that are not finite");
}

}  // namespace

Model::Model(const mz_shape& shape, bool int8, int n_threads)
    : shape_(checked(shape)), int8_(int8), kernels_(*mz_pick_isa().kernels), blocks_(shape.n_layers),
      meeting_([this](const std::vector<Asked*>& together) { run(together); }), pool_(n_threads) {
  const int d = shape.d_model, vocab = shape.vocab_size;
  add_matrix("embed.weight", embed_, vocab, d);
  if (has(MZ_OWN_HEAD)) add_matrix("head.weight", head_, vocab, d);
  if (has(MZ_EXTRAS)) {
    slots_["embed.weight"].set = [this, d, vocab](const uint16_t* bf16) {
      table_ = Buffer<uint16_t>((int64_t)vocab * d);
      std::copy_n(bf16, table_.size(), table_.data());
    };
    add_table("left", left_, (int64_t)(vocab + 1) * d);
    add_table("right", right_, (int64_t)(vocab + 1) * d);
    add_gain("embed_norm.weight", embed_norm_, d);
    add_gain("canvas_embed", canvas_embed_, d);
  }
  add_gain("norm.weight", norm_, d);
  for (int layer = 0; layer < shape.n_layers; ++layer) add_block(layer);
  place_matrices();
  make_workspace();
}

// One piece of memory for all of them, in the order in which a pass reads them.
void Model::place_matrices() {
  std::vector<Matrix*> matrices;
  for (Block& block : blocks_)
    for (Matrix* matrix : {&block.qkv, &block.o, &block.gate_up, &block.down}) matrices.push_back(matrix);
  matrices.push_back(&embed_);
  if (has(MZ_OWN_HEAD)) matrices.push_back(&head_);
  int64_t n_bytes = 0;
  for (const Matrix* matrix : matrices) n_bytes += round_up(matrix->panel_bytes(), 64);
  panels_ = in_large_pages(n_bytes);
  uint8_t* at = panels_.data();
  for (Matrix* matrix : matrices) {
    matrix->place(at);
    at += round_up(matrix->panel_bytes(), 64);
  }
}

void Model::add_block(int layer) {
  const int d = shape_.d_model, dh = shape_.d_head, n_q = shape_.n_heads * dh, ff = shape_.d_ff;
  const int n_qkv = n_q + 2 * shape_.n_kv_heads * dh;
  Block& block = blocks_[layer];
  const std::string prefix = "blocks." + std::to_string(layer) + ".";
  add_gain(prefix + "attn_norm.weight", block.attn_norm, d);
  add_gain(prefix + "mlp_norm.weight", block.mlp_norm, d);
  if (has(MZ_QK_NORM)) {
    add_gain(prefix + "q_norm.weight", block.q_norm, dh);
    add_gain(prefix + "k_norm.weight", block.k_norm, dh);
  }
  if (has(MZ_QKV_BIAS)) add_gain(prefix + "qkv.bias", block.qkv_bias, n_qkv);
  add_matrix(prefix + "qkv.weight", block.qkv, n_qkv, d);
  add_matrix(prefix + "o.weight", block.o, d, n_q);
  add_matrix(prefix + "gate_up.weight", block.gate_up, 2 * ff, d);
  add_matrix(prefix + "down.weight", block.down, d, ff);
}

void Model::make_workspace() {
  const int d = shape_.d_model, n_q = shape_.n_heads * shape_.d_head;
  const int n_qkv = n_q + 2 * shape_.n_kv_heads * shape_.d_head;
  const int64_t n = MZ_MAX_ROWS, widest = round_up(std::max(n_qkv, 2 * shape_.d_ff), MZ_PANEL);
  const int64_t deepest = round_up(std::max({d, shape_.d_ff, n_q}), 4);
  work_.x = Buffer<float>(n * round_up(d, MZ_PANEL));
  work_.wide = Buffer<float>(n * widest);
  work_.attended = Buffer<float>(n * n_q);
  (int8_ ? void(work_.bytes = Buffer<uint8_t>(n * deepest)) : void(work_.words = Buffer<uint16_t>(n * deepest)));
  work_.scale = Buffer<float>(n);
  work_.q = Buffer<int16_t>(n * n_q);
  work_.q_scale = Buffer<float>(n * shape_.n_heads);
  for (int thread = 0; thread < pool_.size(); ++thread) {
    work_.scores.emplace_back(SCRATCH);
    work_.p.emplace_back(SCRATCH);
    work_.mixed.emplace_back(ATTENDED_AT_ONCE * round_up(shape_.d_head, MZ_PANEL));
  }
  work_.stats.resize(pool_.size());
  for (std::vector<mz_stat>& stats : work_.stats) stats.reserve(MZ_MAX_ROWS);  // no thread of a pass allocates
}

void Model::add_gain(const std::string& name, Buffer<float>& gain, int n) {
  slots_[name] = {nullptr, n, [&gain, n](const uint16_t* bf16) {
                    gain = Buffer<float>(n);
                    for (int i = 0; i < n; ++i) gain[i] = widen(bf16[i]);
                  }};
}

void Model::add_table(const std::string& name, Buffer<uint16_t>& table, int64_t n) {
  slots_[name] = {nullptr, n, [&table, n](const uint16_t* bf16) {
                    table = Buffer<uint16_t>(n);
                    std::copy_n(bf16, n, table.data());
                  }};
}

void Model::add_matrix(const std::string& name, Matrix& matrix, int n, int k) {
  matrix = Matrix(n, k, int8_, kernels_.bias);
  slots_[name] = {&matrix, (int64_t)n * k, nullptr};
}

Model::Slot& Model::slot(const std::string& name) {
  const auto found = slots_.find(name);
  check(found != slots_.end(), "no tensor is called " + name);
  return found->second;
}

void Model::set(const std::string& name, const uint16_t* bf16, int64_t n) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Slot& to = slot(name);
  check(n == to.n, name + " has " + std::to_string(n) + " numbers, not " + std::to_string(to.n));
  check_finite(name, bf16, n);
  if (to.matrix) to.matrix->pack(bf16, pool_);
  if (to.set) to.set(bf16);
  to.is_set = true;
}

void Model::set(const std::string& name, const int8_t* q, const float* scales, int64_t rows, int64_t cols) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Slot& to = slot(name);
  check(int8_, "int8 weights are for the precision int8");
  check(to.matrix && !to.set, name + " is not stored in int8");
  check(rows == to.matrix->n() && cols == to.matrix->k(), name + " has another shape");
  for (int64_t row = 0; row < rows; ++row)
    check(std::isfinite(scales[row]), name + " holds numbers that are not finite");
  to.matrix->pack(q, scales, pool_);
  to.is_set = true;
}

void Model::check_ready() {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (const auto& [name, slot] : slots_) check(slot.is_set, name + " is missing");
  ready_ = true;
}

bool Model::forward(const Cache& cache, const Rows& rows, Wanted* wanted, const std::atomic<bool>* cancelled) {
  if (!ready_) throw Error{"the model is not ready"};
  Asked mine{&cache, rows, wanted, cancelled};
  meeting_.ask(mine);
  return !mine.stopped;
}

int64_t Model::bytes() const {
  int64_t n = embed_.bytes() + (has(MZ_OWN_HEAD) ? head_.bytes() : 0) + table_.bytes() + left_.bytes() + right_.bytes();
  for (const Block& block : blocks_)
    for (const Matrix* matrix : {&block.qkv, &block.o, &block.gate_up, &block.down}) n += matrix->bytes();
  return n;
}

void Model::embedding(int32_t id, float* out) const {
  if (has(MZ_EXTRAS)) return kernels_.from_bf16(table_.data() + (int64_t)id * shape_.d_model, shape_.d_model, out);
  embed_.row(id, out);
}

}  // namespace mezzotint
