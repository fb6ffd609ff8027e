// Models: bfloat16 tensors in, packed tiles on the device.

#include <cmath>

#include "engine.h"
#include "kernels/pack.cuh"

namespace {

void expect_matrix(mz_model& m, const std::string& name, Matrix& matrix, int rows, int columns, bool interleave = false,
                   int padded_to = 16) {
  matrix.rows = (rows + padded_to - 1) / padded_to * padded_to, matrix.columns = columns;
  const size_t n = (size_t)matrix.rows * columns;
  matrix.data = allocate<uint4>(n / 8);
  m.bytes += n * 2;
  Tensor tensor;
  tensor.matrix = &matrix, tensor.rows = rows, tensor.columns = columns, tensor.interleave = interleave;
  m.tensors[name] = tensor;
}

void expect_vector(mz_model& m, const std::string& name, Device<float>& vector, int n) {
  vector = allocate<float>(n);
  m.bytes += n * 4;
  Tensor tensor;
  tensor.vector = &vector, tensor.columns = n;
  m.tensors[name] = tensor;
}

void expect_table(mz_model& m, const std::string& name, Device<uint16_t>& table, int rows, int columns) {
  table = allocate<uint16_t>((size_t)rows * columns);
  m.bytes += (int64_t)rows * columns * 2;
  Tensor tensor;
  tensor.table = &table, tensor.rows = rows, tensor.columns = columns;
  m.tensors[name] = tensor;
}

void expect_block(mz_model& m, int i) {
  const mz_shape& s = m.shape;
  const std::string name = "blocks." + std::to_string(i) + ".";
  Block& b = m.blocks[i];
  expect_vector(m, name + "attn_norm.weight", b.attn_norm, s.d_model);
  expect_matrix(m, name + "qkv.weight", b.qkv, (s.n_heads + 2 * s.n_kv_heads) * m.d_head, s.d_model);
  expect_vector(m, name + "q_norm.weight", b.q_norm, m.d_head);
  expect_vector(m, name + "k_norm.weight", b.k_norm, m.d_head);
  expect_matrix(m, name + "o.weight", b.o, s.d_model, s.d_model);
  expect_vector(m, name + "mlp_norm.weight", b.mlp_norm, s.d_model);
  expect_matrix(m, name + "gate_up.weight", b.gate_up, 2 * s.d_ff, s.d_model, true);
  expect_matrix(m, name + "down.weight", b.down, s.d_model, s.d_ff);
}

void check_shape(const mz_shape& s) {
  require(s.vocab_size > 0 && s.n_layers > 0 && s.n_heads > 0 && s.n_kv_heads > 0 && s.d_ff > 0, "empty shape");
  require(s.d_model % 64 == 0 && s.d_ff % 16 == 0, "d_model must be a multiple of 64, d_ff of 16");
  require(s.n_heads % s.n_kv_heads == 0, "n_heads must be a multiple of n_kv_heads");
  require(s.d_model == s.n_heads * 64 || s.d_model == s.n_heads * 128, "heads must be 64 or 128 wide");
}

std::unique_ptr<mz_model> create(const mz_shape& shape) {
  check_shape(shape);
  auto model = std::make_unique<mz_model>();
  mz_model& m = *model;
  m.shape = shape, m.d_head = shape.d_model / shape.n_heads;
  m.blocks.resize(shape.n_layers);
  expect_matrix(m, "embed.weight", m.embed, shape.vocab_size, shape.d_model, false, 32);
  expect_table(m, "left", m.left, shape.vocab_size + 1, shape.d_model);
  expect_table(m, "right", m.right, shape.vocab_size + 1, shape.d_model);
  expect_vector(m, "embed_norm.weight", m.embed_norm, shape.d_model);
  expect_vector(m, "canvas_embed", m.canvas_embed, shape.d_model);
  for (int i = 0; i < shape.n_layers; ++i) expect_block(m, i);
  expect_vector(m, "norm.weight", m.norm, shape.d_model);
  std::vector<float> frequency(m.d_head / 2);
  for (int i = 0; i < m.d_head / 2; ++i) frequency[i] = powf(shape.rope_base, -2.0f * i / m.d_head);
  m.inverse_frequency = allocate<float>(frequency.size());
  check(cudaMemcpy(m.inverse_frequency.get(), frequency.data(), frequency.size() * 4, cudaMemcpyHostToDevice),
        "rotation frequencies");
  return model;
}

void set_matrix(Tensor& t, const uint16_t* bf16, int64_t n) {
  Device<uint16_t> given = allocate<uint16_t>(n);
  check(cudaMemcpy(given.get(), bf16, n * 2, cudaMemcpyHostToDevice), "copying weights");
  const size_t packed = (size_t)t.matrix->rows * t.columns;
  launch(mz_pack_weights, (unsigned)((packed + 255) / 256), 256, nullptr, given.get(), (uint16_t*)t.matrix->data.get(),
         t.rows, t.matrix->rows, t.columns, t.interleave);
  check(cudaGetLastError(), "packing weights");
  check(cudaDeviceSynchronize(), "packing weights");
}

void set_vector(Tensor& t, const uint16_t* bf16, int64_t n) {
  std::vector<float> wide(n);
  for (int64_t i = 0; i < n; ++i) wide[i] = mz_to_float(bf16[i]);
  check(cudaMemcpy(t.vector->get(), wide.data(), n * 4, cudaMemcpyHostToDevice), "copying weights");
}

void set(Tensor& t, const uint16_t* bf16, int64_t n) {
  if (t.matrix) return set_matrix(t, bf16, n);
  if (t.vector) return set_vector(t, bf16, n);
  check(cudaMemcpy(t.table->get(), bf16, n * 2, cudaMemcpyHostToDevice), "copying weights");
}

}  // namespace

mz_model* mz_model_create(const mz_shape* shape, int32_t precision, int32_t) {
  return guard((mz_model*)nullptr, [&] {
    require(precision == MZ_BF16, "not built: on the GPU weights are bfloat16, 8-bit weights are for later");
    return create(*shape).release();
  });
}

int32_t mz_model_set(mz_model* model, const char* name, const uint16_t* bf16, int64_t n) {
  return guard(-1, [&] {
    const auto found = model->tensors.find(name);
    require(found != model->tensors.end(), std::string("unknown tensor ") + name);
    Tensor& t = found->second;
    require(n == (int64_t)t.rows * t.columns, std::string(name) + " has the wrong size");
    set(t, bf16, n);
    t.given = true;
    return 0;
  });
}

int32_t mz_model_ready(mz_model* model) {
  return guard(-1, [&] {
    for (const auto& [name, tensor] : model->tensors) require(tensor.given, "missing tensor " + name);
    return 0;
  });
}

int64_t mz_model_bytes(const mz_model* model) { return model->bytes; }

void mz_model_destroy(mz_model* model) { delete model; }
