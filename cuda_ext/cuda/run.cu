// Runs: copy the request, start the loop, hand out drafts as the device writes them.
//
// Rule: after mz_run_start the host only reads mapped memory. A WHILE loop needs nothing from it; otherwise the next
// steps are launched as drafts are read: two ahead when replaying, which costs at most two idle steps at the end.

#include <time.h>

#include <algorithm>
#include <chrono>

#include "engine.h"

struct mz_run {
  mz_cache* cache = nullptr;
  int place = 0;
  Captured step;
  int n_context = 0, max_steps = 0, launched = 0;
  uint32_t seen = 0;
};

// Which way the run loops: "while", "replay" or "step".
MZ_API const char* mz_cuda_loop(const mz_run* run);

namespace {

using Clock = std::chrono::steady_clock;

uint32_t load(const uint32_t& word) { return __atomic_load_n(&word, __ATOMIC_ACQUIRE); }

int64_t us_since(Clock::time_point start) {
  return std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start).count();
}

void check_control(const mz_cache& cache, int n_context, const mz_control& c, bool token_by_token) {
  const int vocab = cache.model->shape.vocab_size;
  const auto is_token = [&](int id) { return id >= 0 && id < vocab; };
  require(c.n_rows > 0 && c.n_rows <= MZ_MAX_ROWS, "a canvas has 1 to 128 rows");
  require(c.n_holes > 0 && c.n_holes <= MZ_MAX_HOLES, "a canvas has 1 to 8 holes");
  require(!token_by_token || c.n_holes == 1, "token by token only one hole is filled");
  for (int h = 0; h < c.n_holes; ++h)
    require(c.hole_start[h] >= 0 && c.hole_start[h] < c.hole_stop[h] && c.hole_stop[h] <= c.n_rows, "a hole is wrong");
  require(n_context >= (token_by_token ? 1 : 0) && n_context + c.n_rows <= cache.capacity,
          "context and canvas do not fit the cache");
  require(c.max_steps > 0 && c.max_steps <= MZ_MAX_STEPS, "a run has 1 to 256 steps");
  require(is_token(c.mask_id) && is_token(c.end_id), "mask or end outside of the vocabulary");
  for (int row = 0; row < c.n_rows; ++row) require(is_token(c.ids[row]), "token outside of the vocabulary");
}

// Keys and values at one position: decoding token by token writes them anew, and not always to the same bits.
void copy_position(mz_cache& c, int position, bool back) {
  const size_t n_heads = (size_t)c.model->shape.n_layers * c.model->shape.n_kv_heads, width = c.model->d_head * 2;
  for (int i = 0; i < 2; ++i) {
    uint16_t* in_cache = (i ? c.v : c.k).get() + (size_t)position * c.model->d_head;
    uint16_t* kept = c.kept.get() + i * n_heads * c.model->d_head;
    const size_t pitch = width * c.capacity;
    check(back ? cudaMemcpy2DAsync(in_cache, pitch, kept, width, width, n_heads, cudaMemcpyDeviceToDevice, c.stream)
               : cudaMemcpy2DAsync(kept, width, in_cache, pitch, width, n_heads, cudaMemcpyDeviceToDevice, c.stream),
          "keeping a position");
  }
}

void upload_flags(mz_cache& c, const uint8_t* flags) {
  const size_t n = c.model->shape.vocab_size;
  std::copy(flags, flags + n, c.flags_on_host);
  check(cudaMemcpyAsync(c.flags.get(), c.flags_on_host, n, cudaMemcpyHostToDevice, c.stream), "copying token flags");
}

// Launch what may be launched now.
void advance(mz_run& run) {
  mz_cache& c = *run.cache;
  if (load(c.ring->cancel) || load(c.ring->ended)) return;
  if (run.step.loop == Loop::kWhile) {
    if (run.launched == 0) check(cudaGraphLaunch(run.step.exec, c.stream), "launching the loop");
    run.launched = run.max_steps;
    return;
  }
  const int ahead = run.step.loop == Loop::kReplay ? 2 : 1;
  while (run.launched < run.max_steps && run.launched < (int)run.seen + ahead) {
    if (run.step.loop == Loop::kReplay)
      check(cudaGraphLaunch(run.step.exec, c.stream), "launching a step");
    else
      launch_step(c, run.place, 0, false);
    ++run.launched;
  }
}

mz_run* start(mz_cache& c, int n_context, int last_id, bool token_by_token, const mz_control& control,
              const uint8_t* flags) {
  require(!c.running, "the cache is in use by a run");
  check_control(c, n_context, control, token_by_token);
  require(!token_by_token || (last_id >= 0 && last_id < c.model->shape.vocab_size), "token outside of the vocabulary");
  auto run = std::make_unique<mz_run>();
  run->cache = &c, run->n_context = n_context, run->place = token_by_token ? kTokenByToken : bucket_of(control.n_rows);
  run->max_steps = token_by_token ? control.n_rows : control.max_steps;
  run->step = captured_step(c, run->place);
  upload_flags(c, flags);
  c.ring->written = c.ring->ended = c.ring->cancel = 0;
  if (token_by_token) copy_position(c, n_context - 1, false);
  launch_begin(c, control, n_context, last_id, token_by_token);
  advance(*run);
  c.running = true;
  return run.release();
}

// A draft that is there: 1, none: 0, none any more: 2.
int take(mz_run& run, mz_draft* out) {
  const mz_ring& ring = *run.cache->ring;
  const uint32_t ended = load(ring.ended);  // before `written`: what was written last must not be missed
  if (load(ring.written) == run.seen) return ended ? 2 : 0;
  *out = ring.drafts[run.seen++];
  if (!out->done) advance(run);
  return 1;
}

int next(mz_run& run, mz_draft* out, int64_t timeout_us) {
  const auto started = Clock::now();
  for (int64_t waited = 0;; waited = us_since(started)) {
    if (const int taken = take(run, out)) return taken;
    if (waited >= 50) {  // long enough to ask the driver, and to sleep
      const cudaError_t state = cudaStreamQuery(run.cache->stream);
      if (state == cudaErrorNotReady) {
        cudaGetLastError();  // no error: it must not be found by the next launch
      } else {
        check(state, "the denoising loop");  // all that was launched has run
        if (const int taken = take(run, out)) return taken;
        require(load(run.cache->ring->cancel), "the denoising loop stopped without a last draft");
        return 2;
      }
    }
    if (waited >= timeout_us) return 0;
    if (waited >= 50) {
      const timespec nap = {0, 20000};
      nanosleep(&nap, nullptr);
    }
  }
}

}  // namespace

mz_run* mz_run_start(mz_model*, mz_cache* cache, int32_t n_context, const mz_control* control, const uint8_t* flags) {
  return guard((mz_run*)nullptr, [&] { return start(*cache, n_context, 0, false, *control, flags); });
}

mz_run* mz_run_start_autoregressive(mz_model*, mz_cache* cache, int32_t n_context, int32_t last_id,
                                    const mz_control* control, const uint8_t* flags) {
  return guard((mz_run*)nullptr, [&] { return start(*cache, n_context, last_id, true, *control, flags); });
}

int32_t mz_run_next(mz_run* run, mz_draft* out, int64_t timeout_us) {
  return guard(-1, [&] { return next(*run, out, timeout_us); });
}

void mz_run_cancel(mz_run* run) { __atomic_store_n(&run->cache->ring->cancel, 1u, __ATOMIC_RELEASE); }

int32_t mz_run_steps(mz_run* run) { return (int32_t)load(run->cache->ring->written); }

const char* mz_cuda_loop(const mz_run* run) { return loop_name(run->step.loop); }

void mz_run_destroy(mz_run* run) {
  if (!run) return;
  mz_run_cancel(run);
  guard(0, [&] {
    mz_cache& c = *run->cache;
    cudaStreamSynchronize(c.stream);
    if (run->place == kTokenByToken) copy_position(c, run->n_context - 1, true);
    return 0;
  });
  run->cache->running = false;
  delete run;
}
