// Models: bfloat16 tensors in, packed tiles on the device.
//
// Weights that are given in int8 are widened when they are loaded: here they take and cost what bfloat16 does.

#include <algorithm>
#include <cmath>

#include "engine.h"
#include "kernels/pack.cuh"

namespace {

void expect_matrix(Model& m, const std::string& name, Matrix& matrix, int64_t rows, int columns,
                   bool interleave = false, int padded_to = 16) {
  matrix.rows = (int)((rows + padded_to - 1) / padded_to * padded_to), matrix.columns = columns;
  const size_t n = (size_t)matrix.rows * columns;
  matrix.data = allocate<uint4>(n / 8);
  m.bytes += n * 2;
  Tensor tensor;
  tensor.matrix = &matrix, tensor.rows = rows, tensor.columns = columns, tensor.interleave = interleave;
  m.tensors[name] = tensor;
}

void expect_vector(Model& m, const std::string& name, Device<float>& vector, int n) {
  vector = allocate<float>(n);
  m.bytes += (int64_t)n * 4;
  Tensor tensor;
  tensor.vector = &vector, tensor.columns = n;
  m.tensors[name] = tensor;
}

void expect_table(Model& m, const std::string& name, Device<uint16_t>& table, int64_t rows, int columns) {
  table = allocate<uint16_t>((size_t)rows * columns);
  m.bytes += rows * columns * 2;
  Tensor tensor;
  tensor.table = &table, tensor.rows = rows, tensor.columns = columns;
  m.tensors[name] = tensor;
}

void expect_block(Model& m, int i) {
  const mz_shape& s = m.shape;
  const std::string name = "blocks." + std::to_string(i) + ".";
  Block& b = m.blocks[i];
  expect_vector(m, name + "attn_norm.weight", b.attn_norm, s.d_model);
  expect_matrix(m, name + "qkv.weight", b.qkv, m.n_qkv(), s.d_model);
  if (m.has(MZ_QKV_BIAS)) expect_vector(m, name + "qkv.bias", b.qkv_bias, m.n_qkv());
  if (m.has(MZ_QK_NORM)) {
    expect_vector(m, name + "q_norm.weight", b.q_norm, s.d_head);
    expect_vector(m, name + "k_norm.weight", b.k_norm, s.d_head);
  }
  expect_matrix(m, name + "o.weight", b.o, s.d_model, m.n_queries());
  expect_vector(m, name + "mlp_norm.weight", b.mlp_norm, s.d_model);
  expect_matrix(m, name + "gate_up.weight", b.gate_up, 2 * s.d_ff, s.d_model, true);
  expect_matrix(m, name + "down.weight", b.down, s.d_model, s.d_ff);
}

void check_shape(const mz_shape& s) {
  require(s.vocab_size > 0 && s.d_model > 0 && s.n_layers > 0 && s.n_heads > 0 && s.n_kv_heads > 0 && s.d_ff > 0,
          "a shape with a size below 1");
  require(s.vocab_size <= 1 << 20 && s.d_model <= 1 << 16 && s.d_ff <= 1 << 18 && s.n_layers <= 1024 &&
              s.n_heads <= 1024,
          "a shape too large");
  require(s.n_heads % s.n_kv_heads == 0, "heads that do not divide");
  require(s.d_head == 64 || s.d_head == 128, "on the GPU heads must be 64 or 128 wide");
  require(s.d_model % 16 == 0 && s.d_ff % 16 == 0, "on the GPU d_model and d_ff must be multiples of 16");
  require(s.rope_base > 0 && std::isfinite(s.rope_base), "rope_base must be positive");
  require(s.norm_eps > 0 && std::isfinite(s.norm_eps), "norm_eps must be positive");
  require(s.context_sees > 0 && s.canvas_sees > 0, "rows must see themselves");
  require(s.flags >= 0 && s.flags < 2 * MZ_SHIFT, "flags of a shape that are not known");
}

void upload_frequencies(Model& m) {
  std::vector<float> frequency(m.shape.d_head / 2);
  for (int i = 0; i < m.shape.d_head / 2; ++i)
    frequency[i] = (float)std::pow((double)m.shape.rope_base, (double)(-(float)(2 * i) / (float)m.shape.d_head));
  m.inverse_frequency = allocate<float>(frequency.size());
  check(cudaMemcpy(m.inverse_frequency.get(), frequency.data(), frequency.size() * 4, cudaMemcpyHostToDevice),
        "rotation frequencies");
}

Tensor& find(Model& m, const std::string& name) {
  const auto found = m.tensors.find(name);
  require(found != m.tensors.end(), "no tensor is called " + name);
  return found->second;
}

// From bfloat16 words that are on the device.
void pack(Tensor& t, const Device<uint16_t>& words) {
  const size_t packed = (size_t)t.matrix->rows * t.columns;
  launch(mz_pack_weights, (unsigned)((packed + 255) / 256), 256, nullptr, words.get(), (uint16_t*)t.matrix->data.get(),
         (int)t.rows, t.matrix->rows, (int)t.columns, (int)t.interleave);
  check(cudaGetLastError(), "packing weights");
  check(cudaDeviceSynchronize(), "packing weights");
}

}  // namespace

std::shared_ptr<Model> create_model(const mz_shape& shape, int device, bool takes_int8) {
  auto model = std::make_shared<Model>();
  Model& m = *model;
  m.n_multiprocessors = use_device(device);
  check_shape(shape);
  m.shape = shape, m.device = device, m.takes_int8 = takes_int8;
  m.blocks.resize(shape.n_layers);
  expect_matrix(m, "embed.weight", m.embed, shape.vocab_size, shape.d_model, false, 32);
  if (m.has(MZ_OWN_HEAD)) expect_matrix(m, "head.weight", m.own_head, shape.vocab_size, shape.d_model, false, 32);
  if (m.has(MZ_EXTRAS)) {
    expect_table(m, "left", m.left, (int64_t)shape.vocab_size + 1, shape.d_model);
    expect_table(m, "right", m.right, (int64_t)shape.vocab_size + 1, shape.d_model);
    expect_vector(m, "embed_norm.weight", m.embed_norm, shape.d_model);
    expect_vector(m, "canvas_embed", m.canvas_embed, shape.d_model);
  }
  for (int i = 0; i < shape.n_layers; ++i) expect_block(m, i);
  expect_vector(m, "norm.weight", m.norm, shape.d_model);
  upload_frequencies(m);
  return model;
}

void set_tensor(Model& m, const std::string& name, const uint16_t* bf16, int64_t n) {
  use_device(m.device);
  Tensor& t = find(m, name);
  const int64_t size = t.rows * t.columns;
  require(n == size, name + " has " + std::to_string(n) + " numbers, not " + std::to_string(size));
  int largest = 0;
  for (int64_t i = 0; i < n; ++i) largest = std::max(largest, bf16[i] & 0x7FFF);
  require(largest < 0x7F80, name + " holds numbers that are not finite");
  if (t.matrix) {
    pack(t, uploaded(bf16, n));
  } else if (t.vector) {
    std::vector<float> wide(n);
    std::transform(bf16, bf16 + n, wide.begin(), mz_to_float);
    check(cudaMemcpy(t.vector->get(), wide.data(), n * 4, cudaMemcpyHostToDevice), "copying weights");
  } else {
    check(cudaMemcpy(t.table->get(), bf16, n * 2, cudaMemcpyHostToDevice), "copying weights");
  }
  t.given = true;
}

void set_tensor(Model& m, const std::string& name, const int8_t* q, const float* scales, int64_t rows, int64_t cols) {
  use_device(m.device);
  Tensor& t = find(m, name);
  require(m.takes_int8, "int8 weights are for the precision int8");
  require(t.matrix && !(name == "embed.weight" && m.has(MZ_EXTRAS)), name + " is not stored in int8");
  require(rows == t.rows && cols == t.columns, name + " has another shape");
  require(std::all_of(scales, scales + rows, [](float x) { return std::isfinite(x); }),
          name + " holds numbers that are not finite");
  const size_t n = (size_t)rows * cols;
  const Device<int8_t> values = uploaded(q, n);
  const Device<float> by = uploaded(scales, rows);
  const Device<uint16_t> words = allocate<uint16_t>(n);
  launch(mz_widen_int8, (unsigned)((n + 255) / 256), 256, nullptr, values.get(), by.get(), words.get(), n, (int)cols);
  check(cudaGetLastError(), "widening weights");
  pack(t, words);
  t.given = true;
}

void check_ready(Model& m) {
  if (m.ready) return;
  for (const auto& [name, tensor] : m.tensors) require(tensor.given, name + " is missing");
  m.ready = true;
}
