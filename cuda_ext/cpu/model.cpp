// Loads a model tensor by tensor, and keeps keys and values.
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
  check(s.d_model % s.n_heads == 0 && s.n_heads % s.n_kv_heads == 0, "heads that do not divide");
  check(s.d_model / s.n_heads % MZ_PANEL == 0, "the width of a head must be a multiple of 16");
  check(s.d_model <= 1 << 16 && s.d_ff <= 1 << 16 && s.n_layers <= 1024 && s.n_heads <= 1024, "a shape too large");
  check(s.rope_base > 0 && std::isfinite(s.rope_base), "rope_base must be positive");
  return s;
}

}  // namespace

Cache::Cache(const mz_shape& shape, int capacity)
    : capacity_(capacity), n_heads_(shape.n_kv_heads), d_head_(shape.d_model / shape.n_heads) {
  check(capacity > 0 && capacity <= MAX_CAPACITY, "a cache holds 1 to 65536 rows");
  rows_ = (int)round_up(capacity, MZ_PANEL);
  head_size_ = (int64_t)rows_ * d_head_;
  keys_ = Buffer<uint16_t>(head_size_ * n_heads_ * shape.n_layers);
  values_ = Buffer<uint16_t>(head_size_ * n_heads_ * shape.n_layers);
  ids_ = Buffer<int32_t>(capacity);
  const int half = d_head_ / 2;
  cos_ = Buffer<float>((int64_t)capacity * half);
  sin_ = Buffer<float>((int64_t)capacity * half);
  for (int i = 0; i < half; ++i) {
    const float frequency = (float)std::pow((double)shape.rope_base, (double)(-(float)(2 * i) / (float)d_head_));
    for (int position = 0; position < capacity; ++position) {
      const float angle = (float)position * frequency;
      cos_[(int64_t)position * half + i] = std::cos(angle);
      sin_[(int64_t)position * half + i] = std::sin(angle);
    }
  }
}

void Cache::put_key(int layer, int head, int row, const uint16_t* key) const {
  uint16_t* at = keys(layer, head) + (int64_t)(row / MZ_PANEL) * MZ_PANEL * d_head_ + row % MZ_PANEL * 2;
  for (int i = 0; i < d_head_; i += 2) at[i * MZ_PANEL] = key[i], at[i * MZ_PANEL + 1] = key[i + 1];
}

void Cache::put_value(int layer, int head, int row, const uint16_t* value) const {
  uint16_t* at = values(layer, head) + row / 2 * 32 + row % 2;
  for (int i = 0; i < d_head_; ++i) at[i / MZ_PANEL * value_stride() + i % MZ_PANEL * 2] = value[i];
}

Model::Model(const mz_shape& shape, bool int8, int n_threads)
    : shape_(checked(shape)), int8_(int8), kernels_(*mz_pick_isa().kernels), blocks_(shape.n_layers), pool_(n_threads) {
  const int d = shape.d_model, dh = d_head(), ff = shape.d_ff, vocab = shape.vocab_size;
  const int n_qkv = (shape.n_heads + 2 * shape.n_kv_heads) * dh;
  head_ = Matrix(vocab, d, int8_, kernels_.bias);
  slots_["embed.weight"] = {(int64_t)vocab * d, [this](const uint16_t* bf16) {
                              table_ = Buffer<uint16_t>((int64_t)shape_.vocab_size * shape_.d_model);
                              std::copy_n(bf16, table_.size(), table_.data());
                              head_.pack(bf16);
                            }};
  add_table("left", left_, (vocab + 1) * d);
  add_table("right", right_, (vocab + 1) * d);
  add_gain("embed_norm.weight", embed_norm_, d);
  add_gain("canvas_embed", canvas_embed_, d);
  add_gain("norm.weight", norm_, d);
  for (int layer = 0; layer < shape.n_layers; ++layer) {
    Block& block = blocks_[layer];
    const std::string prefix = "blocks." + std::to_string(layer) + ".";
    add_gain(prefix + "attn_norm.weight", block.attn_norm, d);
    add_gain(prefix + "q_norm.weight", block.q_norm, dh);
    add_gain(prefix + "k_norm.weight", block.k_norm, dh);
    add_gain(prefix + "mlp_norm.weight", block.mlp_norm, d);
    add_matrix(prefix + "qkv.weight", block.qkv, n_qkv, d);
    add_matrix(prefix + "o.weight", block.o, d, d);
    add_matrix(prefix + "gate_up.weight", block.gate_up, 2 * ff, d);
    add_matrix(prefix + "down.weight", block.down, d, ff);
  }
  const int64_t n = MZ_MAX_ROWS, widest = round_up(std::max(n_qkv, 2 * ff), MZ_PANEL);
  const int64_t deepest = round_up(std::max(d, ff), 4);
  work_.x = Buffer<float>(n * d);
  work_.wide = Buffer<float>(n * widest);
  work_.attended = Buffer<float>(n * d);
  (int8_ ? void(work_.bytes = Buffer<uint8_t>(n * deepest)) : void(work_.words = Buffer<uint16_t>(n * deepest)));
  work_.scale = Buffer<float>(n);
  work_.q = Buffer<uint16_t>(n * d);
  for (int thread = 0; thread < pool_.size(); ++thread) {
    work_.scores.emplace_back(SCRATCH);
    work_.p.emplace_back(SCRATCH);
    work_.mixed.emplace_back(n * shape.n_heads / shape.n_kv_heads * dh);
  }
  work_.stats.resize(pool_.size());
  for (std::vector<mz_stat>& stats : work_.stats) stats.reserve(MZ_MAX_ROWS);  // no thread of a pass allocates
}

void Model::add_gain(const std::string& name, Buffer<float>& gain, int n) {
  slots_[name] = {n, [&gain, n](const uint16_t* bf16) {
                    gain = Buffer<float>(n);
                    for (int i = 0; i < n; ++i) gain[i] = widen(bf16[i]);
                  }};
}

void Model::add_table(const std::string& name, Buffer<uint16_t>& table, int n) {
  slots_[name] = {n, [&table, n](const uint16_t* bf16) {
                    table = Buffer<uint16_t>(n);
                    std::copy_n(bf16, n, table.data());
                  }};
}

void Model::add_matrix(const std::string& name, Matrix& matrix, int n, int k) {
  matrix = Matrix(n, k, int8_, kernels_.bias);
  slots_[name] = {(int64_t)n * k, [&matrix](const uint16_t* bf16) { matrix.pack(bf16); }};
}

void Model::set(const std::string& name, const uint16_t* bf16, int64_t n) {
  const auto found = slots_.find(name);
  check(found != slots_.end(), "no tensor is called " + name);
  Slot& slot = found->second;
  check(n == slot.n, name + " has " + std::to_string(n) + " numbers, not " + std::to_string(slot.n));
  const std::lock_guard<std::mutex> lock(mutex_);
  slot.set(bf16);
  slot.is_set = true;
}

void Model::check_ready() {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (const auto& [name, slot] : slots_) check(slot.is_set, name + " is missing");
  ready_ = true;
}

int64_t Model::bytes() const {
  int64_t n = table_.bytes() + head_.bytes() + left_.bytes() + right_.bytes();
  for (const Block& block : blocks_)
    for (const Matrix* matrix : {&block.qkv, &block.o, &block.gate_up, &block.down}) n += matrix->bytes();
  return n;
}

}  // namespace mezzotint
