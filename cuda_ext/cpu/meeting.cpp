// Who runs what when several threads ask for a forward pass.
#include "meeting.h"

#include <algorithm>
#include <chrono>

namespace mezzotint {
namespace {

constexpr std::chrono::microseconds GATHER{300};  // a loop decides what to do with a pass within some of them
constexpr size_t USUAL = 64;                      // passes that wait: more allocate

}  // namespace

Meeting::Meeting(std::function<void(const std::vector<Asked*>&)> run) : run_(std::move(run)) {
  waiting_.reserve(USUAL);
  running_.reserve(MZ_MAX_ROWS);
}

void Meeting::enter() {
  const std::lock_guard<std::mutex> lock(mutex_);
  ++members_;
}

void Meeting::leave() {
  const std::lock_guard<std::mutex> lock(mutex_);
  --members_;
  changed_.notify_all();
}

void Meeting::ask(Asked& mine) {
  std::unique_lock<std::mutex> lock(mutex_);
  waiting_.push_back(&mine);
  changed_.notify_all();
  while (!mine.done) runs_ ? changed_.wait(lock) : lead(lock);
  if (mine.error) std::rethrow_exception(mine.error);
}

// Runs what waits; the lock is open meanwhile.
void Meeting::lead(std::unique_lock<std::mutex>& lock) {
  runs_ = true;
  changed_.wait_for(lock, GATHER, [this] { return waiting_.size() >= members_; });
  take_first();
  std::exception_ptr error;
  if (!running_.empty()) {
    lock.unlock();
    try {
      run_(running_);
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
  }
  for (Asked* asked : running_) {
    asked->error = error;
    asked->done = true;
  }
  runs_ = false;
  changed_.notify_all();
}

// Moves as many as fit into a pass from those that wait to those that run.
void Meeting::take_first() {
  running_.clear();
  size_t n = 0;
  for (int rows = 0; n < waiting_.size(); ++n) {
    Asked& asked = *waiting_[n];
    if (asked.is_cancelled()) {
      asked.stopped = asked.done = true;
      continue;
    }
    rows += asked.rows.n();
    const auto same_cache = [&](const Asked* other) { return other->cache == asked.cache; };
    if (rows > MZ_MAX_ROWS || std::any_of(running_.begin(), running_.end(), same_cache)) break;
    running_.push_back(&asked);
  }
  waiting_.erase(waiting_.begin(), waiting_.begin() + (std::ptrdiff_t)n);
}

}  // namespace mezzotint
