// The C ABI of the CPU library: checks what it is given, and turns exceptions into return values.
#include "mezzotint/c_api.h"

#include <cmath>
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

void check_rows(const mz_model* model, const mz_cache* cache, int64_t start, int64_t n) {
  check(model && cache, "a null handle");
  check(model->model == cache->model, "a cache of another model");
  check(start >= 0 && n > 0 && start + n <= cache->cache->capacity(), "rows that do not fit the cache");
}

void check_control(const mz_control& c, int vocab_size) {
  check(c.n_rows > 0 && c.n_rows <= MZ_MAX_ROWS, "a canvas has 1 to 128 rows");
  check(c.n_holes > 0 && c.n_holes <= MZ_MAX_HOLES, "a canvas has 1 to 8 holes");
  for (int h = 0, last = 0; h < c.n_holes; last = c.hole_stop[h++])
    check(c.hole_start[h] >= last && c.hole_stop[h] > c.hole_start[h] && c.hole_stop[h] <= c.n_rows,
          "holes must be ascending rows of the canvas");
  check_ids(c.ids, c.n_rows, vocab_size);
  check_ids(&c.mask_id, 1, vocab_size);
  check_ids(&c.end_id, 1, vocab_size);
  check(c.max_steps > 0 && c.max_steps <= 4096, "max_steps must be 1 to 4096");
  check(c.max_revisions >= 0, "max_revisions must not be negative");
  check(std::isfinite(c.threshold) && std::isfinite(c.revise_below), "thresholds must be finite");
  check(std::isfinite(c.temperature) && c.temperature >= 0, "the temperature must not be negative");
  check(std::isfinite(c.stop_below), "stop_below must be finite");
}

mz_run* start_run(mz_model* model, mz_cache* cache, int32_t n_context, int32_t last_id, const mz_control* control,
                  const uint8_t* flags) {
  check(control && flags, "a null pointer");
  check(control->n_rows > 0, "a canvas has 1 to 128 rows");
  check_rows(model, cache, n_context, control->n_rows);
  check_control(*control, model->model->shape().vocab_size);
  model->model->check_ready();
  return new mz_run{{model->model, cache->cache, n_context, *control, flags, last_id}};
}

// In pieces, where there are more rows than a forward pass takes.
void forward(const mz_model& model, const Cache& cache, const int32_t* ids, int start, int n, bool causal,
             float* logits) {
  for (int done = 0; done < n; done += MZ_MAX_ROWS) {
    Wanted wanted;
    wanted.logits = logits ? logits + (int64_t)done * model.model->shape().vocab_size : nullptr;
    model.model->forward(cache, ids + done, start + done, std::min(n - done, MZ_MAX_ROWS), causal,
                         logits || !causal ? &wanted : nullptr, nullptr);
  }
}

}  // namespace

int32_t mz_abi_version(void) { return MZ_ABI_VERSION; }
const char* mz_last_error(void) { return last_error.c_str(); }
const char* mz_target(void) { return mz_pick_isa().name; }

int32_t mz_struct_size(int32_t which) {
  const int32_t sizes[] = {sizeof(mz_control), sizeof(mz_draft),  sizeof(mz_row),
                           sizeof(mz_shape),   sizeof(mz_canvas), sizeof(mz_rule)};
  return which >= 0 && which < 6 ? sizes[which] : -1;
}

mz_model* mz_model_create(const mz_shape* shape, int32_t precision, int32_t n_threads) {
  return guarded<mz_model*>(nullptr, [&] {
    check(shape, "a null pointer");
    check(precision == MZ_INT8 || precision == MZ_BF16, "the CPU has the precisions bf16 and int8");
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
  return mz_forward(model, cache, ids, start, n, 1, nullptr);
}

int32_t mz_forward(mz_model* model, mz_cache* cache, const int32_t* ids, int32_t start, int32_t n, int32_t causal,
                   float* logits) {
  return guarded(-1, [&] {
    if (n == 0) return 0;
    check(ids, "a null pointer");
    check_rows(model, cache, start, n);
    check(causal || n <= MZ_MAX_ROWS, "a canvas has 1 to 128 rows");
    check_ids(ids, n, model->model->shape().vocab_size);
    check(!cache->cache->busy, "a run is using this cache");
    forward(*model, *cache->cache, ids, start, n, causal, logits);
    return 0;
  });
}

mz_run* mz_run_start(mz_model* model, mz_cache* cache, int32_t n_context, const mz_control* control,
                     const uint8_t* flags) {
  return guarded<mz_run*>(nullptr, [&] { return start_run(model, cache, n_context, -1, control, flags); });
}

mz_run* mz_run_start_autoregressive(mz_model* model, mz_cache* cache, int32_t n_context, int32_t last_id,
                                    const mz_control* control, const uint8_t* flags) {
  return guarded<mz_run*>(nullptr, [&] {
    check(control && control->n_holes == 1, "autoregressive decoding fills one hole");
    check(n_context > 0, "autoregressive decoding needs a context");
    check(model, "a null handle");
    check_ids(&last_id, 1, model->model->shape().vocab_size);
    return start_run(model, cache, n_context, last_id, control, flags);
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
void mz_run_destroy(mz_run* run) { delete run; }

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
  return mz_commit(control, canvas, flags, rows, late, out);
}

void mz_test_gumbel(uint64_t seed, int32_t step, int32_t row, int32_t n, float* out) {
  for (int token = 0; token < n; ++token) out[token] = mz_gumbel(seed, step, row, token);
}
