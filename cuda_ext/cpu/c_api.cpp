// The C ABI of the CPU library: checks what it is given, and turns exceptions into return values.
#include "mezzotint/c_api.h"

#include <algorithm>
#include <exception>
#include <memory>
#include <string>

#include "loop.h"

using namespace mezzotint;

// Handles share what they need, so that they may be destroyed in any order.
struct mz_model {
  std::shared_ptr<Model> model;
};
struct mz_cache {
  std::shared_ptr<Model> model;
  std::shared_ptr<Cache> cache;
};
struct mz_run {
  Run run;
};

namespace {

thread_local std::string last_error;

void check(bool ok, const char* text) {
  if (!ok) throw Error{text};
}

// What `work` returns, or `failed` with a message for mz_last_error.
template <class T, class F>
T guarded(T failed, F work) {
  try {
    last_error.clear();
    try {
      return work();
    } catch (const Error& error) {
      last_error = error.text;
    } catch (const std::exception& error) {
      last_error = error.what();
    }
  } catch (...) {  // no memory for the message
  }
  return failed;
}

void check_ids(const int32_t* ids, int n, int vocab_size) {
  for (int i = 0; i < n; ++i) check(ids[i] >= 0 && ids[i] < vocab_size, "a token id that is not in the vocabulary");
}

void check_pair(const mz_model* model, const mz_cache* cache) {
  check(model && cache, "a null handle");
  check(model->model == cache->model, "a cache of another model");
}

void check_rows(const mz_shape& shape, const mz_cache* cache, const Rows& rows) {
  const int64_t n = (int64_t)rows.n_context + rows.n_canvas;  // rows.n() would overflow
  check(rows.start >= 0 && rows.n_context >= 0 && rows.n_canvas >= 0 && n > 0 &&
            rows.start + n <= cache->cache->capacity(),
        "rows that do not fit the cache");
  check(rows.decided >= 0 && rows.decided <= rows.n_context, "decided rows are context rows");
  check(!rows.n_canvas || rows.n() <= MZ_MAX_ROWS, "a pass with a canvas has 1 to 128 rows");
  check(!rows.n_canvas || !(shape.flags & MZ_SHIFT) || rows.start + rows.decided,
        "there must be a token in front of the canvas");
  check(rows.n() <= MZ_MAX_ROWS || shape.context_sees <= MZ_MAX_ROWS, "a block of more than 128 rows is encoded whole");
}

// How many of the `left` rows from `start` on a pass takes: all, or whole blocks.
int piece(int start, int left, int block) {
  if (left <= MZ_MAX_ROWS) return left;
  return (start + MZ_MAX_ROWS) / block * block - start;
}

// In pieces, where there are more rows than a forward pass takes.
void forward(const mz_model& model, const Cache& cache, const Rows& rows, float* logits) {
  const mz_shape& shape = model.model->shape();
  for (int done = 0, n = 0; done < rows.n(); done += n) {
    n = piece(rows.start + done, rows.n() - done, shape.context_sees);
    const bool whole = n == rows.n();
    Wanted wanted;
    wanted.logits = logits ? logits + (int64_t)done * shape.vocab_size : nullptr;
    const Rows part = whole ? rows : Rows{rows.ids + done, rows.start + done, n, 0, 0};
    model.model->forward(cache, part, logits ? &wanted : nullptr, nullptr);
  }
}

}  // namespace

int32_t mz_abi_version(void) { return MZ_ABI_VERSION; }
const char* mz_last_error(void) { return last_error.c_str(); }
const char* mz_target(void) { return mz_pick_isa().name; }

int32_t mz_struct_size(int32_t which) {
  const int32_t sizes[] = {sizeof(mz_control), sizeof(mz_draft),  sizeof(mz_row),
                           sizeof(mz_shape),   sizeof(mz_canvas), sizeof(mz_rule),
                           sizeof(mz_stream),  sizeof(mz_plan)};
  return which >= 0 && which < 8 ? sizes[which] : -1;
}

mz_model* mz_model_create(const mz_shape* shape, int32_t precision, int32_t device, int32_t n_threads) {
  return guarded<mz_model*>(nullptr, [&] {
    check(shape, "a null pointer");
    check(precision == MZ_INT8 || precision == MZ_BF16, "the CPU has the precisions bf16 and int8");
    check(device == 0, "the CPU is one device: cpu");
    check(n_threads > 0 && n_threads <= 256, "1 to 256 threads");
    return new mz_model{std::make_shared<Model>(*shape, precision == MZ_INT8, n_threads)};
  });
}

int32_t mz_model_set(mz_model* model, const char* name, const uint16_t* bf16, int64_t n) {
  return guarded(-1, [&] {
    check(model && name && bf16, "a null pointer");
    model->model->set(name, bf16, n);
    return 0;
  });
}

int32_t mz_model_set_int8(mz_model* model, const char* name, const int8_t* q, const float* scales, int64_t rows,
                          int64_t cols) {
  return guarded(-1, [&] {
    check(model && name && q && scales, "a null pointer");
    model->model->set(name, q, scales, rows, cols);
    return 0;
  });
}

int32_t mz_model_ready(mz_model* model) {
  return guarded(-1, [&] {
    check(model, "a null handle");
    model->model->check_ready();
    return 0;
  });
}

int64_t mz_model_bytes(const mz_model* model) { return model ? model->model->bytes() : 0; }
void mz_model_destroy(mz_model* model) { delete model; }

mz_cache* mz_cache_create(mz_model* model, int32_t capacity) {
  return guarded<mz_cache*>(nullptr, [&] {
    check(model, "a null handle");
    return new mz_cache{model->model, std::make_shared<Cache>(model->model->shape(), capacity)};
  });
}

void mz_cache_destroy(mz_cache* cache) { delete cache; }

int32_t mz_encode(mz_model* model, mz_cache* cache, const int32_t* ids, int32_t start, int32_t n) {
  return mz_forward(model, cache, ids, start, n, 0, 0, nullptr);
}

int32_t mz_forward(mz_model* model, mz_cache* cache, const int32_t* ids, int32_t start, int32_t n_context,
                   int32_t n_canvas, int32_t decided, float* logits) {
  return guarded(-1, [&] {
    check_pair(model, cache);
    if (n_context == 0 && n_canvas == 0) return 0;
    check(ids, "a null pointer");
    const Rows rows = {ids, start, n_context, n_canvas, decided};
    check_rows(model->model->shape(), cache, rows);
    check_ids(ids, rows.n(), model->model->shape().vocab_size);
    check(!cache->cache->busy, "a run is using this cache");
    forward(*model, *cache->cache, rows, logits);
    return 0;
  });
}

mz_run* mz_run_start(mz_model* model, mz_cache* cache, int32_t n_context, const mz_control* control,
                     const uint8_t* flags) {
  return guarded<mz_run*>(nullptr, [&] {
    check_pair(model, cache);
    check(control && flags, "a null pointer");
    const char* fault = mz_check_control(control, &model->model->shape(), n_context, cache->cache->capacity());
    if (fault) throw Error{fault};
    model->model->check_ready();
    return new mz_run{{model->model, cache->cache, n_context, *control, flags}};
  });
}

int32_t mz_run_next(mz_run* run, mz_draft* out, int64_t timeout_us) {
  return guarded(-1, [&] {
    check(run && out, "a null pointer");
    return run->run.next(out, timeout_us);
  });
}

void mz_run_cancel(mz_run* run) {
  if (run) run->run.cancel();
}

int32_t mz_run_steps(mz_run* run) { return run ? run->run.steps() : 0; }

int32_t mz_run_destroy(mz_run* run) {
  if (!run) return 0;
  run->run.finish();
  const int steps = run->run.steps();
  delete run;
  return steps;
}

void mz_test_row_stats(const float* logits, int32_t n_rows, int32_t vocab, const uint8_t* flags, const mz_rule* rules,
                       const int32_t* own, mz_row* out) {
  const mz_kernels& kernels = *mz_pick_isa().kernels;
  for (int row = 0; row < n_rows; ++row)
    out[row] = mz_stat_finish(kernels.stats(mz_stat_empty(), logits + (int64_t)row * vocab, flags, vocab, 0,
                                            rules[row], own[row]));
}

void mz_test_rules(const mz_control* control, const mz_canvas* canvas, const uint8_t* flags, mz_rule* out) {
  for (int row = 0; row < control->n_rows; ++row) out[row] = mz_row_rule(control, canvas, flags, row);
}

int32_t mz_test_commit(const mz_control* control, mz_canvas* canvas, const uint8_t* flags, const mz_row* rows,
                       int32_t late, mz_draft* out) {
  return mz_commit(control, canvas, flags, rows, 0, late, out);
}

void mz_test_verdict_start(const mz_control* control, int32_t n_context, mz_canvas* canvas, mz_stream* stream) {
  mz_stream_start(control, n_context, canvas, stream);
}

void mz_test_verdict_plan(const mz_control* control, mz_canvas* canvas, mz_stream* stream, const uint8_t* flags,
                          mz_plan* out) {
  mz_plan_verdict(control, canvas, stream, flags, out);
}

int32_t mz_test_verdict_commit(const mz_control* control, mz_canvas* canvas, mz_stream* stream, const uint8_t* flags,
                               const mz_plan* plan, const mz_row* rows, mz_draft* out) {
  return mz_commit_verdict(control, canvas, stream, flags, plan, rows, out);
}

void mz_test_gumbel(uint64_t seed, int32_t step, int32_t row, int32_t n, float* out) {
  for (int token = 0; token < n; ++token) out[token] = 0;
  mz_pick_isa().kernels->add_noise(out, n, 0, 1, seed, step, row);
}
