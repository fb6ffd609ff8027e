// The CUDA library with its kernels emulated on the CPU, and each kernel alone, for tests/test_cuda_*.py.
//
//     g++ -std=c++17 -O1 -fPIC -shared -DMZ_EMULATED -Icuda_ext/emu -Icuda_ext/include -Icuda_ext ...

#include "cuda/c_api.cu"
#include "cuda/cache.cu"
#include "cuda/device.cu"
#include "cuda/graph.cu"
#include "cuda/hooks.cu"
#include "cuda/measure.cu"
#include "cuda/model.cu"
#include "cuda/run.cu"
#include "cuda/step.cu"

namespace {

// Rows of two kinds behind `start` tokens.
mz_pass pass_of(int start, int n_context, int n_canvas, int decided) {
  mz_pass pass = {};
  pass.plan.start = start, pass.plan.n_context = n_context, pass.plan.n_canvas = n_canvas, pass.plan.decided = decided;
  return pass;
}

Device<uint16_t> packed_weights(const uint16_t* given, int n, int k, bool interleave) {
  const int rows = (n + 31) / 32 * 32;
  Device<uint16_t> out = allocate<uint16_t>((size_t)rows * k);
  launch(mz_pack_weights, (rows * k + 255) / 256, 256, nullptr, given, out.get(), n, rows, k, (int)interleave);
  return out;
}

Device<uint16_t> packed_rows(const uint16_t* given, int rows, int k) {
  Device<uint16_t> out = allocate<uint16_t>((size_t)MZ_MAX_ROWS * k);
  memset(out.get(), 0xFF, (size_t)MZ_MAX_ROWS * k * 2);  // rows that are not there must not matter
  for (int row = 0; row < rows; ++row)
    for (int i = 0; i < k; ++i) out[mz_packed_row(row, i, k / 16)] = given[(size_t)row * k + i];
  return out;
}

void unpack_rows(const Device<uint16_t>& packed, int rows, int k, uint16_t* out) {
  for (int row = 0; row < rows; ++row)
    for (int i = 0; i < k; ++i) out[(size_t)row * k + i] = packed[mz_packed_row(row, i, k / 16)];
}

}  // namespace

MZ_API void emu_descending(int32_t descending) { emu::descending = descending != 0; }

// out (rows, n) float32 for MZ_STORE and MZ_RESIDUAL, `packed` (rows, n or n / 2) for the others.
MZ_API void emu_gemm(const uint16_t* x, const uint16_t* w, int32_t rows, int32_t n, int32_t k, int32_t bucket,
                     int32_t tiles, int32_t splits, int32_t epilogue, const float* sums, int32_t n_sums,
                     const float* gain, float* out, uint16_t* packed, float* out_sums) {
  const mz_pass pass = pass_of(0, 0, rows, 0);
  const auto weights = packed_weights(w, n, k, epilogue == MZ_GATED);
  const auto given = packed_rows(x, rows, k);
  const int width = epilogue == MZ_GATED ? n / 2 : n;
  auto result = allocate<uint16_t>((size_t)MZ_MAX_ROWS * width);
  const auto partial = allocate<float>((size_t)n * splits * MZ_MAX_ROWS);
  const auto counters = allocate<int>(n / 16);
  mz_gemm_args a = {};
  a.pass = &pass, a.weights = (const uint4*)weights.get(), a.x = (const uint4*)given.get();
  a.k_steps = k / 16, a.n_tiles = n / 16, a.splits = splits, a.partial = partial.get(), a.counters = counters.get();
  a.sums = sums, a.n_sums = n_sums, a.norm_eps = 1e-6f, a.epilogue = epilogue;
  a.out = out, a.packed = result.get(), a.gain = gain;
  a.out_sums = out_sums;
  const dim3 grid(n / 16 / tiles, splits);
  const auto run = [&](void (*kernel)(mz_gemm_args)) { launch(kernel, grid, MZ_GEMM_THREADS, nullptr, a); };
  if (bucket == 16) run(tiles == 2 ? mz_gemm<16, 2> : mz_gemm<16, 1>);
  if (bucket == 32) run(tiles == 2 ? mz_gemm<32, 2> : mz_gemm<32, 1>);
  if (bucket == 64) run(tiles == 2 ? mz_gemm<64, 2> : mz_gemm<64, 1>);
  if (bucket == 128) run(mz_gemm<128, 1>);
  if (epilogue != MZ_STORE) unpack_rows(result, rows, width, packed);
}

// `rows` = context rows, canvas rows, how many of the first are decided.
MZ_API void emu_rope(const float* qkv, const float* bias, const float* q_gain, const float* k_gain,
                     const float* frequency, int32_t n_heads, int32_t n_kv_heads, int32_t d_head, int32_t capacity,
                     int32_t shift, int32_t start, const int32_t* rows, uint16_t* q, uint16_t* k, uint16_t* v) {
  const mz_pass pass = pass_of(start, rows[0], rows[1], rows[2]);
  const mz_rope_args a = {&pass, qkv, bias, q_gain, k_gain, frequency, n_heads, n_kv_heads, d_head, capacity, shift,
                          1e-6f, q, k, v};
  launch(mz_rope, dim3(rows[0] + rows[1] + 1, (n_heads + 2 * n_kv_heads + 3) / 4), 128, nullptr, a);
}

// out (rows, n_heads * d_head). `sees`: blocks of context rows, of canvas rows.
MZ_API void emu_attention(const uint16_t* q, const uint16_t* k, const uint16_t* v, int32_t n_heads, int32_t n_kv_heads,
                          int32_t d_head, int32_t capacity, int32_t start, const int32_t* kinds, const int32_t* sees,
                          int32_t splits, uint16_t* out) {
  const mz_pass pass = pass_of(start, kinds[0], kinds[1], kinds[2]);
  const int rows = kinds[0] + kinds[1];
  const int tiles = (n_heads / n_kv_heads * rows + 63) / 64 + 1, n = n_kv_heads * tiles;  // one tile with nothing to do
  const auto partial = allocate<float>((size_t)n * splits * 64 * d_head);
  const auto norms = allocate<float2>((size_t)n * splits * 64);
  const auto counters = allocate<int>(n);
  const auto result = allocate<uint16_t>((size_t)MZ_MAX_ROWS * n_heads * d_head);
  const mz_attention_args a = {&pass, q, k, v, n_heads, n_kv_heads, capacity, sees[0], sees[1], tiles, partial.get(),
                               norms.get(), counters.get(), result.get()};
  launch(d_head == 64 ? mz_attention<64> : mz_attention<128>, dim3(tiles, n_kv_heads, splits), 128, nullptr, a);
  unpack_rows(result, rows, n_heads * d_head, out);
}

// Statistics of the rows that a step wants, from hidden rows x (n_active, d); others keep what `out` held.
MZ_API void emu_head(const float* x, const float* gain, const uint16_t* embedding, int32_t vocab, int32_t d,
                     const mz_control* control, const mz_canvas* canvas, const uint8_t* flags, int32_t bucket,
                     int32_t n_blocks, mz_row* out) {
  const auto weights = packed_weights(embedding, vocab, d, false);
  const auto wanted = allocate<uint16_t>((size_t)MZ_MAX_ROWS * d);
  const auto parts = allocate<mz_stat>((size_t)n_blocks * MZ_MAX_ROWS);
  auto loop = std::make_unique<mz_loop>();
  loop->control = *control, loop->canvas = *canvas;
  mz_pass pass = {};
  mz_plan_step(control, canvas, flags, 0, &pass.plan);
  launch(mz_head_rows, bucket, 128, nullptr, &pass, x, gain, d, 1e-6f, wanted.get());
  const mz_head_args a = {&pass, loop.get(), flags, (const uint4*)weights.get(), (const uint4*)wanted.get(), d / 16,
                          vocab, parts.get()};
  const auto run = [&](void (*kernel)(mz_head_args)) { launch(kernel, n_blocks, MZ_GEMM_THREADS, nullptr, a); };
  if (bucket == 16) run(mz_head_stats<16, 2>);
  if (bucket == 32) run(mz_head_stats<32, 2>);
  if (bucket == 64) run(mz_head_stats<64, 2>);
  if (bucket == 128) run(mz_head_stats<128, 1>);
  launch(mz_head_merge, bucket, 128, nullptr, &pass, loop.get(), parts.get(), n_blocks);
  for (int i = 0; i < pass.plan.n_wanted; ++i) out[pass.plan.at[i]] = loop->found[i];
}

// One threshold step behind its pass. `rows`: of every active canvas row. `words`: in cancel; out written, passes,
// ended, condition, stop. `plan`: of the next pass.
MZ_API void emu_commit(const mz_control* control, mz_canvas* canvas, const uint8_t* flags, const mz_row* rows,
                       int32_t n_context, int64_t elapsed_us, int32_t* words, mz_draft* draft, mz_plan* plan) {
  static mz_ring ring;
  ring = mz_ring{};
  ring.cancel = words[0];
  mz_pass pass = {};
  mz_plan_step(control, canvas, flags, n_context, &pass.plan);
  auto loop = std::make_unique<mz_loop>();
  loop->control = *control, loop->canvas = *canvas, loop->started_ns = 5000, loop->drafts = draft;
  for (int i = 0; i < pass.plan.n_wanted; ++i) loop->found[i] = rows[pass.plan.at[i]];
  mz_emulated_ns = 5000 + 1000 * elapsed_us, mz_emulated_condition = 99;
  const mz_commit_args a = {&pass, loop.get(), flags, &ring, 0, 1};
  launch(mz_threshold_step, 1, MZ_COMMIT_THREADS, nullptr, a);
  *canvas = loop->canvas, *plan = pass.plan;
  const int32_t result[] = {(int32_t)ring.written, (int32_t)ring.passes, (int32_t)ring.ended,
                            (int32_t)mz_emulated_condition, pass.stop};
  std::copy(result, result + 5, words);
}

// The same on the host.
MZ_API int32_t emu_host_commit(const mz_control* control, mz_canvas* canvas, const uint8_t* flags, const mz_row* rows,
                               int32_t n_context, int32_t late, mz_draft* draft, mz_plan* plan) {
  mz_row found[MZ_MAX_ROWS], all[MZ_MAX_ROWS];
  mz_plan_step(control, canvas, flags, n_context, plan);
  for (int i = 0; i < plan->n_wanted; ++i) found[i] = rows[plan->at[i]];
  mz_spread(control, plan, found, all);
  *draft = mz_draft{};
  const int done = mz_commit(control, canvas, flags, all, n_context, late, draft);
  if (!done) mz_plan_step(control, canvas, flags, n_context, plan);
  return done;
}

// Time that passes whenever a kernel asks for it.
MZ_API void emu_tick_us(int64_t us) { mz_emulated_tick = us * 1000; }

// The device that was chosen last.
MZ_API int32_t emu_device(void) { return emulated_device; }
