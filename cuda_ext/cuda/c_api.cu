// The C ABI of the CUDA library: checks what it is given, and turns exceptions into return values.
//
// Rule: it refuses what the CPU library (cpu/c_api.cpp) refuses, in the same words.

#include "engine.h"

// Handles share what they need, so that they may be destroyed in any order.
struct mz_model {
  std::shared_ptr<Model> model;
};
struct mz_cache {
  std::shared_ptr<Cache> cache;
};
struct mz_run {
  std::unique_ptr<Run> run;
};

// Which way the run loops: "while", "replay" or "step".
MZ_API const char* mz_cuda_loop(const mz_run* run);

namespace {

thread_local std::string last_error;

void check_ids(const int32_t* ids, int64_t n, int vocab_size) {
  for (int64_t i = 0; i < n; ++i)
    require(ids[i] >= 0 && ids[i] < vocab_size, "a token id that is not in the vocabulary");
}

Cache& checked_pair(const mz_model* model, const mz_cache* cache) {
  require(model && cache, "a null handle");
  require(model->model == cache->cache->model, "a cache of another model");
  return *cache->cache;
}

void check_rows(const Cache& cache, const Rows& rows) {
  const mz_shape& shape = cache.model->shape;
  const int64_t stop = (int64_t)rows.start + rows.n_context + rows.n_canvas;  // in an int it would overflow
  require(rows.start >= 0 && rows.n_context >= 0 && rows.n_canvas >= 0 && stop <= cache.capacity,
          "rows that do not fit the cache");
  require(rows.decided >= 0 && rows.decided <= rows.n_context, "decided rows are context rows");
  require(!rows.n_canvas || rows.n() <= MZ_MAX_ROWS, "a pass with a canvas has 1 to 128 rows");
  require(!rows.n_canvas || !(shape.flags & MZ_SHIFT) || rows.start + rows.decided,
          "there must be a token in front of the canvas");
  require(rows.n() <= MZ_MAX_ROWS || shape.context_sees <= MZ_MAX_ROWS,
          "a block of more than 128 rows is encoded whole");
}

}  // namespace

void set_last_error(const std::string& message) { last_error = message; }

int32_t mz_abi_version(void) { return MZ_ABI_VERSION; }

const char* mz_last_error(void) { return last_error.c_str(); }

int32_t mz_struct_size(int32_t which) {
  const int32_t sizes[] = {sizeof(mz_control), sizeof(mz_draft), sizeof(mz_row),    sizeof(mz_shape),
                           sizeof(mz_canvas),  sizeof(mz_rule),  sizeof(mz_stream), sizeof(mz_plan)};
  return which >= 0 && which < 8 ? sizes[which] : -1;
}

mz_model* mz_model_create(const mz_shape* shape, int32_t precision, int32_t device, int32_t) {
  return guard((mz_model*)nullptr, [&] {
    require(shape, "a null pointer");
    require(precision == MZ_BF16 || precision == MZ_INT8, "the GPU has the precisions bf16 and int8");
    return new mz_model{create_model(*shape, device, precision == MZ_INT8)};
  });
}

int32_t mz_model_set(mz_model* model, const char* name, const uint16_t* bf16, int64_t n) {
  return guard(-1, [&] {
    require(model && name && bf16, "a null pointer");
    set_tensor(*model->model, name, bf16, n);
    return 0;
  });
}

int32_t mz_model_set_int8(mz_model* model, const char* name, const int8_t* q, const float* scales, int64_t rows,
                          int64_t cols) {
  return guard(-1, [&] {
    require(model && name && q && scales, "a null pointer");
    set_tensor(*model->model, name, q, scales, rows, cols);
    return 0;
  });
}

int32_t mz_model_ready(mz_model* model) {
  return guard(-1, [&] {
    require(model, "a null handle");
    check_ready(*model->model);
    return 0;
  });
}

int64_t mz_model_bytes(const mz_model* model) { return model ? model->model->bytes : 0; }

void mz_model_destroy(mz_model* model) { delete model; }

mz_cache* mz_cache_create(mz_model* model, int32_t capacity) {
  return guard((mz_cache*)nullptr, [&] {
    require(model, "a null handle");
    use_device(model->model->device);
    return new mz_cache{std::make_shared<Cache>(model->model, capacity)};
  });
}

void mz_cache_destroy(mz_cache* cache) { delete cache; }

int32_t mz_encode(mz_model* model, mz_cache* cache, const int32_t* ids, int32_t start, int32_t n) {
  return mz_forward(model, cache, ids, start, n, 0, 0, nullptr);
}

int32_t mz_forward(mz_model* model, mz_cache* cache, const int32_t* ids, int32_t start, int32_t n_context,
                   int32_t n_canvas, int32_t decided, float* logits) {
  return guard(-1, [&] {
    Cache& c = checked_pair(model, cache);
    if (n_context == 0 && n_canvas == 0) return 0;
    require(ids, "a null pointer");
    const Rows rows = {ids, start, n_context, n_canvas, decided};
    check_rows(c, rows);
    check_ids(ids, rows.n(), c.model->shape.vocab_size);
    require(!c.busy, "a run is using this cache");
    check_ready(*c.model);
    use_device(c.model->device);
    forward(c, rows, logits);
    return 0;
  });
}

mz_run* mz_run_start(mz_model* model, mz_cache* cache, int32_t n_context, const mz_control* control,
                     const uint8_t* flags) {
  return guard((mz_run*)nullptr, [&] {
    Cache& c = checked_pair(model, cache);
    require(control && flags, "a null pointer");
    const char* fault = mz_check_control(control, &c.model->shape, n_context, c.capacity);
    if (fault) fail(fault);
    check_ready(*c.model);
    return new mz_run{start_run(cache->cache, n_context, *control, flags)};
  });
}

int32_t mz_run_next(mz_run* run, mz_draft* out, int64_t timeout_us) {
  return guard(-1, [&] {
    require(run && out, "a null pointer");
    return next_draft(*run->run, out, timeout_us);
  });
}

void mz_run_cancel(mz_run* run) {
  if (run) cancel(*run->run);
}

int32_t mz_run_steps(mz_run* run) { return run ? steps(*run->run) : 0; }

int32_t mz_run_destroy(mz_run* run) {
  if (!run) return 0;
  finish(*run->run);
  const int n = steps(*run->run);
  delete run;
  return n;
}

const char* mz_cuda_loop(const mz_run* run) { return run ? loop_name(run->run->step.loop) : ""; }
