// Threads that run one function together, with barriers in it.
//
// Rule: a waiting thread spins for some hundred microseconds and then sleeps; between two forward passes that follow
// each other nobody goes to sleep, between two completions nobody runs.
//
//   Pool pool(4); pool.run([&](int thread) { ...; pool.barrier(); ... });
#pragma once

#include <atomic>
#include <functional>
#include <thread>
#include <vector>

namespace mezzotint {

class Pool {
 public:
  explicit Pool(int n_threads);  // the caller of `run` is one of them
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int size() const { return (int)workers_.size() + 1; }
  void run(const std::function<void(int thread)>& work);  // one caller at a time; `work` must not throw
  void barrier();                                         // all threads, inside `run`

 private:
  void serve(int thread);

  std::vector<std::thread> workers_;
  const std::function<void(int)>* work_ = nullptr;
  bool stopping_ = false;
  alignas(64) std::atomic<int> job_{0};      // counts up with every run
  alignas(64) std::atomic<int> arrived_{0};  // at the barrier
  alignas(64) std::atomic<int> phase_{0};    // counts up with every barrier
};

}  // namespace mezzotint
