// The loops: denoising as in diffusion/denoise.py, draft and verdict as in diffusion/verdict.py.
#include "loop.h"

#include <algorithm>
#include <cstring>

namespace mezzotint {
namespace {

constexpr int64_t LONGEST_WAIT_US = 1000000000000;  // more would overflow the clock's nanoseconds

}  // namespace

Run::Run(std::shared_ptr<Model> model, std::shared_ptr<Cache> cache, int n_context, const mz_control& control,
         const uint8_t* flags)
    : model_(std::move(model)), cache_(std::move(cache)), n_context_(n_context), control_(control),
      flags_(flags, flags + model_->shape().vocab_size) {
  slots_.resize(control.verdict ? control.n_rows + 1 : control.max_steps);  // a pass decides a row, the deadline none
  wanted_.plan = &plan_;
  wanted_.flags = flags_.data();
  wanted_.temperature = control.temperature;
  wanted_.seed = control.seed;
  wanted_.stats.reserve(MZ_MAX_ROWS);
  if (cache_->busy.exchange(true)) throw Error{"another run is using this cache"};
  try {
    thread_ = std::thread([this] { loop(); });
  } catch (...) {
    cache_->busy = false;
    throw;
  }
}

Run::~Run() { finish(); }

void Run::finish() {
  cancel();
  if (thread_.joinable()) thread_.join();
}

int Run::next(mz_draft* out, int64_t timeout_us) {
  std::unique_lock<std::mutex> lock(mutex_);
  const std::chrono::microseconds wait(std::clamp<int64_t>(timeout_us, 0, LONGEST_WAIT_US));
  changed_.wait_for(lock, wait, [this] { return read_ < written_ || ended_; });
  if (read_ < written_) {
    std::memcpy(out, &slots_[read_++], sizeof *out);
    return 1;
  }
  if (!error_.empty()) throw Error{error_};
  return ended_ ? 2 : 0;
}

void Run::loop() {
  std::string error;
  model_->enter();
  try {
    control_.verdict ? judge() : denoise();
  } catch (const Error& caught) {
    error = caught.text;
  } catch (const std::exception& caught) {
    error = caught.what();
  }
  model_->leave();
  cache_->busy = false;
  const std::lock_guard<std::mutex> lock(mutex_);
  error_ = std::move(error);
  ended_ = true;
  changed_.notify_all();
}

void Run::publish() {
  const std::lock_guard<std::mutex> lock(mutex_);
  ++written_;
  changed_.notify_all();
}

bool Run::is_late() const {
  const auto passed = std::chrono::steady_clock::now() - started_;
  const int64_t passed_us = std::chrono::duration_cast<std::chrono::microseconds>(passed).count();
  return control_.deadline_us >= 0 && passed_us >= control_.deadline_us;
}

// The planned forward pass, counted; statistics of the rows that the plan wants. False if cancelled.
bool Run::predict(int step) {
  wanted_.step = step;
  const Rows rows = {plan_.ids, plan_.start, plan_.n_context, plan_.n_canvas, plan_.decided};
  if (!model_->forward(*cache_, rows, plan_.n_wanted ? &wanted_ : nullptr, &cancelled_)) return false;
  for (int i = 0; i < plan_.n_wanted; ++i) found_[i] = mz_stat_finish(wanted_.stats[i]);
  steps_.fetch_add(1, std::memory_order_relaxed);
  return true;
}

void Run::denoise() {
  mz_row rows[MZ_MAX_ROWS];
  mz_canvas_start(&control_, &canvas_);
  for (bool done = false; !done && !cancelled_.load(std::memory_order_relaxed);) {
    const bool late = is_late();
    mz_plan_step(&control_, &canvas_, flags_.data(), n_context_, &plan_);
    if (!predict(canvas_.step + 1)) return;
    mz_spread(&control_, &plan_, found_, rows);
    done = mz_commit(&control_, &canvas_, flags_.data(), rows, n_context_, late, &slot());
    publish();
  }
}

void Run::judge() {
  mz_stream_start(&control_, n_context_, &canvas_, &stream_);
  for (bool done = false; !done && !cancelled_.load(std::memory_order_relaxed);) {
    if (is_late()) {
      mz_draft_stream(&control_, &canvas_, &stream_, true, &slot());
      return publish();
    }
    mz_plan_verdict(&control_, &canvas_, &stream_, flags_.data(), &plan_);
    if (!predict(0)) return;
    done = mz_commit_verdict(&control_, &canvas_, &stream_, flags_.data(), &plan_, found_, &slot());
    if (plan_.n_wanted) publish();
  }
}

}  // namespace mezzotint
