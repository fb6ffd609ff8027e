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

enum mz_precision { MZ_BF16 = 0, MZ_INT8 = 1, MZ_FP8 = 2 };  // of the weights and of what they are multiplied with

typedef struct mz_model mz_model;
typedef struct mz_cache mz_cache;
typedef struct mz_run mz_run;

MZ_API int32_t mz_abi_version(void);
MZ_API const char* mz_last_error(void);  // of this thread; "" if there was none
MZ_API const char* mz_target(void);      // "vnni+bf16", "avx2", "portable", ...; "cuda sm_90", or "" without a usable device
// 0 mz_control, 1 mz_draft, 2 mz_row, 3 mz_shape, 4 mz_canvas, 5 mz_rule, 6 mz_stream, 7 mz_plan
MZ_API int32_t mz_struct_size(int32_t which);

// ---- Models. Tensors are given one by one, by the names of diffusion/model/tensors.py ("blocks.0.qkv.weight"),
// row-major (out, in); they are packed, and nothing given is kept. A model with MZ_EXTRAS has, instead of "left.weight"
// and "right.weight", "left" and "right", (vocab + 1, d_model): what a token adds to the row behind it, or in front of it
// on a canvas; the last row is for no token at all.
// `device`: which of the library's devices; the CPU library has only 0.
MZ_API mz_model* mz_model_create(const mz_shape* shape, int32_t precision, int32_t device, int32_t n_threads);
MZ_API int32_t mz_model_set(mz_model* model, const char* name, const uint16_t* bf16, int64_t n);  // 16-bit words
// A matrix that is stored in int8, with a scale for every row; used as it is. Only where the precision is MZ_INT8.
MZ_API int32_t mz_model_set_int8(mz_model* model, const char* name, const int8_t* q, const float* scales, int64_t rows,
                                 int64_t cols);
MZ_API int32_t mz_model_ready(mz_model* model);  // nonzero and an error if a tensor is missing
MZ_API int64_t mz_model_bytes(const mz_model* model);
MZ_API void mz_model_destroy(mz_model* model);

// ---- Context caches
MZ_API mz_cache* mz_cache_create(mz_model* model, int32_t capacity);
MZ_API void mz_cache_destroy(mz_cache* cache);
// Encode `n` context tokens at positions start, start + 1, ...: their keys and values are written behind the first
// `start` tokens of the cache.
MZ_API int32_t mz_encode(mz_model* model, mz_cache* cache, const int32_t* ids, int32_t start, int32_t n);
// The forward pass alone: rows of two kinds behind `start` cached tokens, as `Transformer.run` has them
// (diffusion/model/transformer.py). `n_context` rows go on with the context and stay in the cache's next slots;
// `n_canvas` rows follow the cached tokens and the first `decided` of the context rows, see those and one another, and
// borrow the slots behind all of them. With MZ_SHIFT a canvas row is fed the token before its own, and stands one
// position earlier. `logits` (n_context + n_canvas, vocab) float32, or null. More than MZ_MAX_ROWS rows: context alone.
MZ_API int32_t mz_forward(mz_model* model, mz_cache* cache, const int32_t* ids, int32_t start, int32_t n_context,
                          int32_t n_canvas, int32_t decided, float* logits);

// ---- Runs: the threshold loop, or draft and verdict, as `control` says. `flags` (vocab) are the token flags. The run
// owns copies of what it is given. `n_context` tokens of the cache are the context; the rows behind them are overwritten,
// and a verdict run leaves those tokens there that its last draft says (mz_draft.cached).
MZ_API mz_run* mz_run_start(mz_model* model, mz_cache* cache, int32_t n_context, const mz_control* control,
                            const uint8_t* flags);
// The next draft: 1 with `out` filled, 0 after `timeout_us` without one, 2 when the run has ended and all were read,
// negative on an error. The run goes on ahead of its reader.
MZ_API int32_t mz_run_next(mz_run* run, mz_draft* out, int64_t timeout_us);
MZ_API void mz_run_cancel(mz_run* run);    // from any thread; the loop stops before its next forward pass
MZ_API int32_t mz_run_steps(mz_run* run);  // forward passes that ran so far, read or not
// Cancels, waits for the loop to end, and returns how many forward passes ran.
MZ_API int32_t mz_run_destroy(mz_run* run);

// ---- The rules alone, for the tests against the plain-torch twin
MZ_API void mz_test_row_stats(const float* logits, int32_t n_rows, int32_t vocab, const uint8_t* flags,
                              const mz_rule* rules, const int32_t* own, mz_row* out);
MZ_API void mz_test_rules(const mz_control* control, const mz_canvas* canvas, const uint8_t* flags, mz_rule* out);
MZ_API int32_t mz_test_commit(const mz_control* control, mz_canvas* canvas, const uint8_t* flags, const mz_row* rows,
                              int32_t late, mz_draft* out);
MZ_API void mz_test_verdict_start(const mz_control* control, int32_t n_context, mz_canvas* canvas, mz_stream* stream);
MZ_API void mz_test_verdict_plan(const mz_control* control, mz_canvas* canvas, mz_stream* stream, const uint8_t* flags,
                                 mz_plan* out);
MZ_API int32_t mz_test_verdict_commit(const mz_control* control, mz_canvas* canvas, mz_stream* stream,
                                      const uint8_t* flags, const mz_plan* plan, const mz_row* rows, mz_draft* out);
MZ_API void mz_test_gumbel(uint64_t seed, int32_t step, int32_t row, int32_t n, float* out);
