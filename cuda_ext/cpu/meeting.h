// Forward passes that several threads ask for at the same time, run as one by one of them.
//
// Rule: who comes while nothing runs takes all that wait, in the order in which they came and as many rows as a pass has;
// it waits a moment for loops that are between two passes. What was cancelled by then is not run.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "cache.h"
#include "mezzotint/c_api.h"

namespace mezzotint {

// What goes wrong because of what the caller gave.
struct Error {
  std::string text;
};

// Rows behind `start` cached tokens: context rows, then canvas rows that follow the first `decided` of these.
struct Rows {
  const int32_t* ids;
  int start, n_context, n_canvas, decided;
  int n() const { return n_context + n_canvas; }
  int stop() const { return start + n(); }  // of the slots
};

// What is wanted of the rows of a forward pass: nothing, logits of all of them, or the statistics of some.
struct Wanted {
  float* logits = nullptr;         // (n, vocab)
  const mz_plan* plan = nullptr;   // whose rows are wanted
  std::vector<mz_stat> stats;      // of these, out
  const uint8_t* flags = nullptr;  // (vocab)
  float temperature = 0;
  uint64_t seed = 0;
  int step = 0;
};

// One thread's forward pass, and what came of it.
struct Asked {
  const Cache* cache;
  Rows rows;
  Wanted* wanted;
  const std::atomic<bool>* cancelled;
  bool done = false, stopped = false;
  std::exception_ptr error = nullptr;
  bool is_cancelled() const { return cancelled && cancelled->load(std::memory_order_relaxed); }
};

class Meeting {
 public:
  explicit Meeting(std::function<void(const std::vector<Asked*>&)> run);

  void ask(Asked& mine);  // returns when it is done
  void enter();
  void leave();

 private:
  void lead(std::unique_lock<std::mutex>& lock);
  void take_first();

  const std::function<void(const std::vector<Asked*>&)> run_;
  std::mutex mutex_;  // over what follows
  std::condition_variable changed_;
  std::vector<Asked*> waiting_, running_;
  size_t members_ = 0;  // loops that will ask
  bool runs_ = false;
};

}  // namespace mezzotint
