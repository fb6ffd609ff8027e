// Runs: copy the request, start the loop, hand out drafts as the device writes them.
//
// Rule: after the start the host only reads mapped memory. A WHILE loop needs nothing from it; else the next passes
// are launched while drafts are waited for: two ahead when replaying, which costs at most two idle ones at the end.

#include <time.h>

#include <algorithm>
#include <chrono>

#include "engine.h"

namespace {

using Clock = std::chrono::steady_clock;

uint32_t load(const uint32_t& word) { return __atomic_load_n(&word, __ATOMIC_ACQUIRE); }

int64_t us_since(Clock::time_point start) {
  return std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start).count();
}

void upload_flags(Cache& c, const uint8_t* flags) {
  const size_t n = c.model->shape.vocab_size;
  std::copy(flags, flags + n, c.flags_on_host.get());
  check(cudaMemcpyAsync(c.flags.get(), c.flags_on_host.get(), n, cudaMemcpyHostToDevice, c.stream),
        "copying token flags");
}

void make_room_for(Cache& c, int n_drafts) {
  if (n_drafts <= c.n_drafts) return;
  c.n_drafts = 0;
  c.drafts = allocate_pinned<mz_draft>(n_drafts);
  c.n_drafts = n_drafts;
}

// Most rows that a pass of the verdict loop has: pending tokens are one, or fixed text behind it.
int most_rows(const mz_control& c) {
  if (!c.verdict) return c.n_rows;
  int n_fixed = 0;
  for (int row = 0; row < c.n_rows; ++row) n_fixed += c.fixed[row] != 0;
  return std::min(n_fixed + 1 + c.judge_rows + c.canvas_rows, MZ_MAX_ROWS);
}

// A pass decides a row at least, but where fixed text fills it.
int most_passes(const mz_control& c) { return c.verdict ? c.n_rows + MZ_MAX_HOLES + 1 : c.max_steps; }

// Launch what may be launched now.
void advance(Run& run) {
  Cache& c = *run.cache;
  if (load(c.ring[0].cancel) || load(c.ring[0].ended)) return;
  if (run.step.loop == Loop::kWhile) {
    if (run.launched == 0) check(cudaGraphLaunch(run.step.exec, c.stream), "launching the loop");
    run.launched = run.max_passes;
    return;
  }
  const int ahead = run.step.loop == Loop::kReplay ? 2 : 1, limit = std::min(run.max_passes, steps(run) + ahead);
  while (run.launched < limit) {
    if (run.step.loop == Loop::kReplay)
      check(cudaGraphLaunch(run.step.exec, c.stream), "launching a step");
    else
      launch_step(c, run.place, 0, false);
    ++run.launched;
  }
}

// A draft that is there: 1, none: 0, none any more: 2.
int take(Run& run, mz_draft* out) {
  const mz_ring& ring = run.cache->ring[0];
  const uint32_t ended = load(ring.ended);  // before `written`: what was written last must not be missed
  if (load(ring.written) == run.seen) return ended ? 2 : 0;
  *out = run.cache->drafts[run.seen++];
  return 1;
}

// The device has nothing to do: what is left is another draft, another pass, or the end of a cancelled run.
int take_from_idle(Run& run, mz_draft* out) {
  if (const int taken = take(run, out)) return taken;
  if (load(run.cache->ring[0].cancel)) return 2;
  require(steps(run) >= run.launched && run.launched < run.max_passes, "the loop stopped without a last draft");
  return 0;
}

}  // namespace

std::unique_ptr<Run> start_run(const std::shared_ptr<Cache>& cache, int n_context, const mz_control& control,
                               const uint8_t* flags) {
  Cache& c = *cache;
  const auto asked = Clock::now();
  use_device(c.model->device);
  require(!c.busy.exchange(true), "another run is using this cache");
  const auto release = [](Run* run) { run->cache->busy = false; };
  const Place place = {bucket_of(most_rows(control)), control.verdict != 0};
  auto run = std::make_unique<Run>();
  run->cache = cache, run->place = place, run->max_passes = most_passes(control);
  std::unique_ptr<Run, decltype(release)> until_started(run.get(), release);
  run->step = captured_step(c, place);
  make_room_for(c, control.verdict ? control.n_rows + 1 : control.max_steps);  // the deadline's draft has no pass
  upload_flags(c, flags);
  c.ring[0] = mz_ring{};
  launch_begin(c, control, n_context, (int)us_since(asked));  // a first run builds its graph: milliseconds
  advance(*run);
  until_started.release();
  return run;
}

int next_draft(Run& run, mz_draft* out, int64_t timeout_us) {
  use_device(run.cache->model->device);
  const auto started = Clock::now();
  for (int64_t waited = 0;; waited = us_since(started)) {
    advance(run);
    if (const int taken = take(run, out)) return taken;
    if (waited >= 50) {  // long enough to ask the driver, and to sleep
      const cudaError_t state = cudaStreamQuery(run.cache->stream);
      if (state == cudaErrorNotReady) {
        cudaGetLastError();  // no error: it must not be found by the next launch
      } else {
        check(state, "the loop");
        if (const int taken = take_from_idle(run, out)) return taken;
      }
    }
    if (waited >= timeout_us) return 0;
    if (waited >= 50) {
      const timespec nap = {0, 20000};
      nanosleep(&nap, nullptr);
    }
  }
}

void cancel(Run& run) { __atomic_store_n(&run.cache->ring[0].cancel, 1u, __ATOMIC_RELEASE); }

int steps(const Run& run) { return (int)load(run.cache->ring[0].passes); }

void finish(Run& run) {
  cancel(run);
  cudaSetDevice(run.cache->model->device);
  cudaStreamSynchronize(run.cache->stream);
  run.cache->busy = false;
}
