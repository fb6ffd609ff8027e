// The C ABI that both libraries export: libmezzotint_cpu always, libmezzotint_cuda where nvcc was found.
//
// Rule: no torch, no C++ type crosses it; pointers are to host memory; errors are return values with a message that
// `mz_last_error` gives to the same thread. One model may have many caches; one run at a time per cache.
#pragma once

#include <stdint.h>

#include "core.h"

#if defined(__GNUC__)
#define MZ_API extern "C" __attribute__((visibility("default")))
#else
#define MZ_API extern "C"
#endif

typedef struct {
  int32_t vocab_size, d_model, n_layers, n_heads, n_kv_heads, d_ff;
  float rope_base;
} mz_shape;

enum mz_precision { MZ_BF16 = 0, MZ_INT8 = 1, MZ_FP8 = 2 };  // of the weights and of what they are multiplied with

typedef struct mz_model mz_model;
typedef struct mz_cache mz_cache;
typedef struct mz_run mz_run;

MZ_API int32_t mz_abi_version(void);
MZ_API const char* mz_last_error(void);  // of this thread; "" if there was none
MZ_API const char* mz_target(void);      // "vnni+bf16", "avx2", "portable", ...; "cuda sm_90", or "" without a usable device
MZ_API int32_t mz_struct_size(int32_t which);  // 0 mz_control, 1 mz_draft, 2 mz_row, 3 mz_shape, 4 mz_canvas, 5 mz_rule

// ---- Models. Tensors are given one by one, named as in the safetensors file ("blocks.0.qkv.weight"), bfloat16 as
// raw 16-bit words, row-major (out, in); they are packed, and nothing given is kept. Instead of "left.weight" and
// "right.weight" there are "left" and "right", (vocab + 1, d_model): what a token adds to the row behind it, or in front
// of it on a canvas; the last row is for no token at all.
MZ_API mz_model* mz_model_create(const mz_shape* shape, int32_t precision, int32_t n_threads);
MZ_API int32_t mz_model_set(mz_model* model, const char* name, const uint16_t* bf16, int64_t n);
MZ_API int32_t mz_model_ready(mz_model* model);  // nonzero and an error if a tensor is missing
MZ_API int64_t mz_model_bytes(const mz_model* model);
MZ_API void mz_model_destroy(mz_model* model);

// ---- Context caches
MZ_API mz_cache* mz_cache_create(mz_model* model, int32_t capacity);
MZ_API void mz_cache_destroy(mz_cache* cache);
// Encode `n` context tokens at positions start, start + 1, ...: their keys and values are written behind the first
// `start` tokens of the cache.
MZ_API int32_t mz_encode(mz_model* model, mz_cache* cache, const int32_t* ids, int32_t start, int32_t n);
// The forward pass alone, for tests and benchmarks: rows behind `start` cached tokens; causal 1: context rows, 0: canvas
// rows. `logits` (n, vocab) float32, or null.
MZ_API int32_t mz_forward(mz_model* model, mz_cache* cache, const int32_t* ids, int32_t start, int32_t n,
                          int32_t causal, float* logits);

// ---- Denoising runs. `flags` (vocab) are the token flags. The run owns copies of what it is given.
// `n_context` tokens of the cache are the context; the rows behind them are overwritten.
MZ_API mz_run* mz_run_start(mz_model* model, mz_cache* cache, int32_t n_context, const mz_control* control,
                            const uint8_t* flags);
// The same canvas (one hole) decoded token by token; `last_id` is the last context token.
MZ_API mz_run* mz_run_start_autoregressive(mz_model* model, mz_cache* cache, int32_t n_context, int32_t last_id,
                                           const mz_control* control, const uint8_t* flags);
// The next draft: 1 with `out` filled, 0 after `timeout_us` without one, 2 when the run has ended and all were read,
// negative on an error.
MZ_API int32_t mz_run_next(mz_run* run, mz_draft* out, int64_t timeout_us);
MZ_API void mz_run_cancel(mz_run* run);   // from any thread; the loop stops before its next forward pass
MZ_API int32_t mz_run_steps(mz_run* run);  // forward passes so far
MZ_API void mz_run_destroy(mz_run* run);   // cancels and waits for the loop to end

// ---- The rules alone, for the tests against the plain-torch twin
MZ_API void mz_test_row_stats(const float* logits, int32_t n_rows, int32_t vocab, const uint8_t* flags,
                              const mz_rule* rules, const int32_t* own, mz_row* out);
MZ_API void mz_test_rules(const mz_control* control, const mz_canvas* canvas, const uint8_t* flags, mz_rule* out);
MZ_API int32_t mz_test_commit(const mz_control* control, mz_canvas* canvas, const uint8_t* flags, const mz_row* rows,
                              int32_t late, mz_draft* out);
MZ_API void mz_test_gumbel(uint64_t seed, int32_t step, int32_t row, int32_t n, float* out);
