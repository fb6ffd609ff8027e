// The thread pool: a counter that everyone waits for, for jobs and for barriers alike.
#include "pool.h"

#include <system_error>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace mezzotint {
namespace {

constexpr int SPINS = 10000;  // of 20 to 50 ns each: waking a sleeping thread costs more than most waits

inline void pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("isb");
#endif
}

// Waits while `counter` is `old`.
void wait_for_change(const std::atomic<int>& counter, int old) {
  for (int spin = 0; spin < SPINS; ++spin) {
    if (counter.load(std::memory_order_acquire) != old) return;
    pause();
  }
  while (counter.load(std::memory_order_acquire) == old) counter.wait(old, std::memory_order_acquire);
}

void advance(std::atomic<int>& counter) {
  counter.fetch_add(1, std::memory_order_acq_rel);
  counter.notify_all();
}

}  // namespace

Pool::Pool(int n_threads) {
  try {
    for (int thread = 1; thread < n_threads; ++thread) workers_.emplace_back([this, thread] { serve(thread); });
  } catch (const std::system_error&) {  // the system gives no more threads: those that there are will do
  }
}

Pool::~Pool() {
  stopping_ = true;
  advance(job_);
  for (std::thread& worker : workers_) worker.join();
}

void Pool::run(const std::function<void(int)>& work) {
  work_ = &work;
  advance(job_);
  work(0);
  barrier();  // `work` may go once everyone has left it
}

void Pool::barrier() {
  const int phase = phase_.load(std::memory_order_relaxed);  // nobody moves it on before this thread has arrived
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == size()) {
    arrived_.store(0, std::memory_order_relaxed);
    advance(phase_);
  } else {
    wait_for_change(phase_, phase);
  }
}

void Pool::serve(int thread) {
  for (int seen = 0;;) {
    wait_for_change(job_, seen);
    ++seen;
    if (stopping_) return;
    (*work_)(thread);
    barrier();
  }
}

}  // namespace mezzotint
