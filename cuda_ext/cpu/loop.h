// One run: the loop on a thread of its own, its drafts in slots that are there from the start.
//
// Rule: a draft is never dropped, and nothing is allocated once the loop runs. The loop looks for cancellation before
// every forward pass and between two layers of one. What it does with a pass is decided in core.h.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "model.h"

namespace mezzotint {

class Run {
 public:
  Run(std::shared_ptr<Model> model, std::shared_ptr<Cache> cache, int n_context, const mz_control& control,
      const uint8_t* flags);
  ~Run();
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  // As mz_run_next; an Error if the loop failed.
  int next(mz_draft* out, int64_t timeout_us);
  void cancel() { cancelled_.store(true, std::memory_order_relaxed); }
  void finish();  // cancels, and waits for the loop to end
  int steps() const { return steps_.load(std::memory_order_relaxed); }

 private:
  void loop();
  void denoise();
  void judge();
  bool is_late() const;
  bool predict(int step);
  mz_draft& slot() { return slots_[written_]; }
  void publish();

  const std::shared_ptr<Model> model_;
  const std::shared_ptr<Cache> cache_;
  const int n_context_;
  const mz_control control_;
  const std::vector<uint8_t> flags_;
  const std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();

  mz_canvas canvas_;
  mz_stream stream_;
  mz_plan plan_;
  mz_row found_[MZ_MAX_ROWS];  // of the plan's wanted rows
  Wanted wanted_;

  std::atomic<bool> cancelled_{false};
  std::atomic<int> steps_{0};
  std::vector<mz_draft> slots_;
  std::mutex mutex_;  // over what follows
  std::condition_variable changed_;
  size_t written_ = 0, read_ = 0;
  bool ended_ = false;
  std::string error_;
  std::thread thread_;
};

}  // namespace mezzotint
