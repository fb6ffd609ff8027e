// The rules alone, run on the device: the tests' hooks of c_api.h, for agreement with the host.

#include "engine.h"

namespace {

__global__ void test_row_stats(const float* logits, int vocab, const uint8_t* flags, const mz_rule* rules,
                               const int32_t* own, mz_row* out) {
  MZ_SHARED(mz_stat, stats, 128);
  const int row = blockIdx.x;
  mz_stat stat = mz_stat_empty();
  for (int id = threadIdx.x; id < vocab; id += 128)
    if (mz_allowed(rules[row], flags[id]))
      stat = mz_stat_add(stat, logits[(size_t)row * vocab + id], id, mz_ends(rules[row], flags[id]), id == own[row]);
  stats[threadIdx.x] = stat;
  __syncthreads();
  if (threadIdx.x > 0) return;
  for (int i = 1; i < 128; ++i) stat = mz_stat_merge(stat, stats[i]);
  out[row] = mz_stat_finish(stat);
}

__global__ void test_rules(const mz_control* control, const mz_canvas* canvas, const uint8_t* flags, mz_rule* out) {
  for (int row = threadIdx.x; row < control->n_rows; row += blockDim.x)
    out[row] = mz_row_rule(control, canvas, flags, row);
}

__global__ void test_commit(const mz_control* control, mz_canvas* canvas, const uint8_t* flags, const mz_row* rows,
                            int late, mz_draft* out) {
  mz_commit(control, canvas, flags, rows, 0, late, out);
}

__global__ void test_verdict_start(const mz_control* control, int n_context, mz_canvas* canvas, mz_stream* stream) {
  mz_stream_start(control, n_context, canvas, stream);
}

__global__ void test_verdict_plan(const mz_control* control, mz_canvas* canvas, mz_stream* stream, const uint8_t* flags,
                                  mz_plan* out) {
  mz_plan_verdict(control, canvas, stream, flags, out);
}

__global__ void test_verdict_commit(const mz_control* control, mz_canvas* canvas, mz_stream* stream,
                                    const uint8_t* flags, const mz_plan* plan, const mz_row* rows, mz_draft* out,
                                    int* done) {
  *done = mz_commit_verdict(control, canvas, stream, flags, plan, rows, out);
}

__global__ void test_gumbel(uint64_t seed, int step, int row, int n, float* out) {
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
    out[i] = mz_gumbel(seed, step, row, i);
}

template <class T>
void download(T* to, const Device<T>& from, size_t n) {
  check(cudaGetLastError(), "a test's kernel");
  check(cudaMemcpy(to, from.get(), n * sizeof(T), cudaMemcpyDeviceToHost), "a test's result");
}

// `flags` are as many as the largest token in use, which the callers do not say.
int flags_needed(const mz_control& c, const mz_canvas& s) {
  int largest = c.mask_id > c.end_id ? c.mask_id : c.end_id;
  for (int row = 0; row < c.n_rows; ++row)
    if (s.ids[row] > largest) largest = s.ids[row];
  return largest + 1;
}

int flags_needed(const mz_control& c, const mz_canvas& s, const mz_stream& t) {
  int n = flags_needed(c, s);
  for (int i = 0; i < t.n_drafted; ++i)
    if (t.drafted[i] >= n) n = t.drafted[i] + 1;
  return n;
}

// And as many as rows would have.
int flags_needed(int n, const mz_row* rows, int n_rows) {
  for (int i = 0; i < n_rows; ++i)
    if (rows[i].best >= n) n = rows[i].best + 1;
  return n;
}

template <class F>
void on_first_device(F f) {
  guard(0, [&] {
    use_device(0);
    f();
    return 0;
  });
}

}  // namespace

void mz_test_row_stats(const float* logits, int32_t n_rows, int32_t vocab, const uint8_t* flags, const mz_rule* rules,
                       const int32_t* own, mz_row* out) {
  on_first_device([&] {
    const auto x = uploaded(logits, (size_t)n_rows * vocab);
    const auto f = uploaded(flags, vocab);
    const auto r = uploaded(rules, n_rows);
    const auto o = uploaded(own, n_rows);
    const auto result = allocate<mz_row>(n_rows);
    launch(test_row_stats, n_rows, 128, nullptr, x.get(), vocab, f.get(), r.get(), o.get(), result.get());
    download(out, result, n_rows);
  });
}

void mz_test_rules(const mz_control* control, const mz_canvas* canvas, const uint8_t* flags, mz_rule* out) {
  on_first_device([&] {
    const auto c = uploaded(control, 1);
    const auto s = uploaded(canvas, 1);
    const auto f = uploaded(flags, flags_needed(*control, *canvas));
    const auto result = allocate<mz_rule>(control->n_rows);
    launch(test_rules, 1, 128, nullptr, c.get(), s.get(), f.get(), result.get());
    download(out, result, control->n_rows);
  });
}

int32_t mz_test_commit(const mz_control* control, mz_canvas* canvas, const uint8_t* flags, const mz_row* rows,
                       int32_t late, mz_draft* out) {
  return guard(-1, [&] {
    use_device(0);
    const int n_flags = flags_needed(flags_needed(*control, *canvas), rows, control->n_rows);
    const auto c = uploaded(control, 1);
    const auto s = uploaded(canvas, 1);
    const auto f = uploaded(flags, n_flags);
    const auto r = uploaded(rows, control->n_rows);
    const auto draft = uploaded(out, 1);
    launch(test_commit, 1, 1, nullptr, c.get(), s.get(), f.get(), r.get(), late, draft.get());
    download(canvas, s, 1);
    download(out, draft, 1);
    return out->done;
  });
}

void mz_test_verdict_start(const mz_control* control, int32_t n_context, mz_canvas* canvas, mz_stream* stream) {
  on_first_device([&] {
    const auto c = uploaded(control, 1);
    const auto s = uploaded(canvas, 1);
    const auto t = uploaded(stream, 1);
    launch(test_verdict_start, 1, 1, nullptr, c.get(), n_context, s.get(), t.get());
    download(canvas, s, 1);
    download(stream, t, 1);
  });
}

void mz_test_verdict_plan(const mz_control* control, mz_canvas* canvas, mz_stream* stream, const uint8_t* flags,
                          mz_plan* out) {
  on_first_device([&] {
    const auto c = uploaded(control, 1);
    const auto s = uploaded(canvas, 1);
    const auto t = uploaded(stream, 1);
    const auto f = uploaded(flags, flags_needed(*control, *canvas, *stream));
    const auto plan = uploaded(out, 1);
    launch(test_verdict_plan, 1, 1, nullptr, c.get(), s.get(), t.get(), f.get(), plan.get());
    download(canvas, s, 1);
    download(stream, t, 1);
    download(out, plan, 1);
  });
}

int32_t mz_test_verdict_commit(const mz_control* control, mz_canvas* canvas, mz_stream* stream, const uint8_t* flags,
                               const mz_plan* plan, const mz_row* rows, mz_draft* out) {
  return guard(-1, [&] {
    use_device(0);
    const int n_flags = flags_needed(flags_needed(*control, *canvas, *stream), rows, plan->n_wanted);
    const auto c = uploaded(control, 1);
    const auto s = uploaded(canvas, 1);
    const auto t = uploaded(stream, 1);
    const auto f = uploaded(flags, n_flags);
    const auto p = uploaded(plan, 1);
    const auto r = uploaded(rows, plan->n_wanted);
    const auto draft = uploaded(out, 1);
    const auto done = allocate<int>(1);
    launch(test_verdict_commit, 1, 1, nullptr, c.get(), s.get(), t.get(), f.get(), p.get(), r.get(), draft.get(),
           done.get());
    int result = 0;
    download(canvas, s, 1);
    download(stream, t, 1);
    download(out, draft, 1);
    download(&result, done, 1);
    return result;
  });
}

void mz_test_gumbel(uint64_t seed, int32_t step, int32_t row, int32_t n, float* out) {
  on_first_device([&] {
    const auto result = allocate<float>(n);
    launch(test_gumbel, (n + 255) / 256, 256, nullptr, seed, step, row, n, result.get());
    download(out, result, n);
  });
}
