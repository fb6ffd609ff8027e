// The loops: denoising as in diffusion/denoise.py, token by token as in diffusion/autoregress.py.
#include "loop.h"

#include <cstring>

namespace mezzotint {

Run::Run(std::shared_ptr<Model> model, std::shared_ptr<Cache> cache, int n_context, const mz_control& control,
         const uint8_t* flags, int last_id)
    : model_(std::move(model)), cache_(std::move(cache)), n_context_(n_context), control_(control),
      flags_(flags, flags + model_->shape().vocab_size) {
  slots_.resize(last_id < 0 ? control.max_steps : control.n_rows);
  wanted_.flags = flags_.data();
  wanted_.rows.reserve(MZ_MAX_ROWS), wanted_.rules.reserve(MZ_MAX_ROWS);
  wanted_.own.reserve(MZ_MAX_ROWS), wanted_.stats.reserve(MZ_MAX_ROWS);
  mz_canvas_start(&control_, &canvas_);
  if (cache_->busy.exchange(true)) throw Error{"another run is using this cache"};
  try {
    thread_ = std::thread([this, last_id] { loop(last_id); });
  } catch (...) {
    cache_->busy = false;
    throw;
  }
}

Run::~Run() {
  cancel();
  thread_.join();
}

int Run::next(mz_draft* out, int64_t timeout_us) {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait_for(lock, std::chrono::microseconds(timeout_us), [this] { return read_ < written_ || ended_; });
  if (read_ < written_) {
    std::memcpy(out, &slots_[read_++], sizeof *out);
    return 1;
  }
  if (!error_.empty()) throw Error{error_};
  return ended_ ? 2 : 0;
}

void Run::loop(int last_id) {
  std::string error;
  try {
    last_id < 0 ? denoise() : autoregress(last_id);
  } catch (const Error& caught) {
    error = caught.text;
  } catch (const std::exception& caught) {
    error = caught.what();
  }
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
  return control_.deadline_us >= 0 && passed >= std::chrono::microseconds(control_.deadline_us);
}

// One forward pass over the rows that still matter; statistics of those that the step looks at. False if cancelled.
bool Run::predict(int n_active) {
  wanted_.rows.clear(), wanted_.rules.clear(), wanted_.own.clear();
  for (int row = 0; row < n_active; ++row) {
    if (!mz_needs_stat(&control_, &canvas_, row)) continue;
    wanted_.rows.push_back(row);
    wanted_.rules.push_back(mz_row_rule(&control_, &canvas_, flags_.data(), row));
    wanted_.own.push_back(canvas_.ids[row]);
  }
  wanted_.temperature = control_.temperature;
  wanted_.seed = control_.seed;
  wanted_.step = canvas_.step + 1;
  if (!model_->forward(*cache_, canvas_.ids, n_context_, n_active, false, &wanted_, &cancelled_)) return false;
  for (int row = 0; row < control_.n_rows; ++row) rows_[row] = row < n_active ? mz_row{} : mz_row_gone(&control_);
  for (size_t i = 0; i < wanted_.rows.size(); ++i) rows_[wanted_.rows[i]] = mz_stat_finish(wanted_.stats[i]);
  return true;
}

void Run::denoise() {
  for (bool done = false; !done && !cancelled_.load(std::memory_order_relaxed);) {
    const bool late = is_late();
    if (!predict(mz_n_active(&control_, &canvas_))) return;
    steps_.fetch_add(1, std::memory_order_relaxed);
    done = mz_commit(&control_, &canvas_, flags_.data(), rows_, late, &slot());
    publish();
  }
}

void Run::autoregress(int last_id) {
  int32_t newest = last_id;
  bool ended = false;
  for (int row = 0; row < control_.n_rows && !ended && !cancelled_.load(std::memory_order_relaxed); ++row) {
    wanted_.rows.assign(1, 0);
    wanted_.rules.assign(1, mz_row_rule(&control_, &canvas_, flags_.data(), row));
    wanted_.own.assign(1, canvas_.ids[row]);
    if (!model_->forward(*cache_, &newest, n_context_ - 1 + row, 1, true, &wanted_, &cancelled_)) return;
    steps_.fetch_add(1, std::memory_order_relaxed);
    const mz_row found = mz_stat_finish(wanted_.stats[0]);
    ended = found.end >= found.probability;
    newest = ended ? control_.end_id : found.best;
    if (!control_.fixed[row] && newest != canvas_.ids[row])
      canvas_.ids[row] = newest, canvas_.probability[row] = found.probability;
    mz_draft& draft = slot();
    draft.step = row + 1;
    draft.done = ended || row + 1 == control_.n_rows;
    draft.late = 0;
    for (int i = 0; i < control_.n_rows; ++i) {
      draft.guess[i] = mz_masked(&control_, &canvas_, i) ? control_.end_id : canvas_.ids[i];
      draft.ids[i] = draft.done ? draft.guess[i] : canvas_.ids[i];
      draft.probability[i] = canvas_.probability[i];
    }
    publish();
  }
}

}  // namespace mezzotint
