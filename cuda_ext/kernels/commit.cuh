// The end of a step: decide, write the draft where the host reads it, say whether to go on. One block each.
//
// The threshold loop decides with a thread per row; the verdict loop, whose decisions depend on one another from the
// left, with one thread, which works in shared memory while the others copy.
#pragma once

#include "kernels/decide.cuh"

#define MZ_COMMIT_THREADS MZ_MAX_ROWS

// What every way of looping needs to know when a step has been decided.
typedef struct {
  mz_pass* pass;
  mz_loop* loop;
  const uint8_t* flags;
  mz_ring* ring;
  cudaGraphConditionalHandle handle;
  int conditional;  // the step is the body of a WHILE node
} mz_commit_args;

// The request comes as a parameter of the first kernel: no copy to wait for.
typedef struct {
  mz_control control;
  int32_t n_context, spent_us;  // since the run was asked for
  mz_draft* drafts;
} mz_request;

// A forward pass outside of a run.
typedef struct {
  int32_t stop, start, n_context, n_canvas, decided;
  int32_t ids[MZ_MAX_ROWS];
} mz_given_rows;

template <class T>
MZ_DEVICE void mz_copy_words(T* to, const T* from) {
  for (unsigned i = threadIdx.x; i < sizeof(T) / 4; i += blockDim.x) ((int32_t*)to)[i] = ((const int32_t*)from)[i];
}

template <class T>
MZ_DEVICE void mz_clear_words(T* to) {
  for (unsigned i = threadIdx.x; i < sizeof(T) / 4; i += blockDim.x) ((int32_t*)to)[i] = 0;
}

// All rows are wanted, without a rule. MZ_MAX_ROWS threads.
__global__ void mz_set_pass(mz_pass* pass, mz_given_rows given) {
  mz_plan* plan = &pass->plan;
  const int row = threadIdx.x;
  plan->ids[row] = given.ids[row], plan->wanted[row] = row;
  if (row > 0) return;
  pass->stop = given.stop;
  plan->start = given.start, plan->n_context = given.n_context, plan->n_canvas = given.n_canvas;
  plan->decided = given.decided, plan->n_wanted = given.n_context + given.n_canvas;
}

MZ_DEVICE int mz_is_late(const mz_control* c, const mz_loop* loop) {
  return c->deadline_us >= 0 && (int64_t)(mz_clock_ns() - loop->started_ns) / 1000 >= c->deadline_us;
}

// By all threads, behind a barrier: the draft goes to the host. Ends with a barrier.
MZ_DEVICE void mz_write_draft(const mz_commit_args& a, const mz_draft* draft) {
  mz_copy_words(&a.loop->drafts[a.loop->n_drafts], draft);
  __threadfence_system();
  __syncthreads();
  if (threadIdx.x == 0) {
    a.loop->n_drafts += 1;
    mz_store_release(&a.ring->passes, a.loop->canvas.step);
    mz_store_release(&a.ring->written, a.loop->n_drafts);
  }
  __syncthreads();
}

// By thread 0, when all else is done: whether there is a next step.
MZ_DEVICE void mz_end_step(const mz_commit_args& a, bool stop) {
  mz_store_release(&a.ring->passes, a.loop->canvas.step);
  if (stop) {
    a.pass->stop = 1;
    mz_store_release(&a.ring->ended, 1);
  }
  if (a.conditional) cudaGraphSetConditional(a.handle, !stop);
}

MZ_DEVICE bool mz_commit_stopped(const mz_commit_args& a) {
  if (!a.pass->stop) return false;
  if (a.conditional && threadIdx.x == 0) cudaGraphSetConditional(a.handle, 0);
  return true;
}

__global__ void __launch_bounds__(MZ_COMMIT_THREADS) mz_threshold_step(mz_commit_args a) {
  if (mz_commit_stopped(a)) return;
  MZ_SHARED(mz_control, control, 1);
  MZ_SHARED(mz_canvas, canvas, 1);
  MZ_SHARED(mz_row, rows, MZ_MAX_ROWS);
  MZ_SHARED(mz_draft, draft, 1);
  MZ_SHARED(mz_decision, decision, 1);
  MZ_SHARED(uint32_t, votes, MZ_MAX_ROWS / 32);
  MZ_SHARED(int, now, 2);  // late, cancelled
  mz_plan* plan = &a.pass->plan;
  const int row = threadIdx.x, n_context = plan->start;
  mz_copy_words(control, &a.loop->control);
  mz_copy_words(canvas, &a.loop->canvas);
  mz_clear_words(draft);
  rows[row] = row < plan->n_canvas ? mz_row{0, 0, 0, 0, 0} : mz_row_gone(&a.loop->control);  // as mz_spread
  __syncthreads();
  if (row < plan->n_wanted) rows[plan->at[row]] = a.loop->found[row];
  if (row == 0) now[0] = mz_is_late(control, a.loop);
  __syncthreads();
  mz_commit_rows(control, canvas, a.flags, rows, n_context, now[0], draft, decision);
  mz_copy_words(&a.loop->canvas, canvas);
  __syncthreads();
  mz_write_draft(a, draft);
  if (row == 0) now[1] = mz_load_system(&a.ring->cancel) != 0;
  __syncthreads();
  const bool stop = draft->done || now[1];
  if (!stop) mz_plan_rows(control, canvas, a.flags, n_context, plan, votes);
  if (row == 0) mz_end_step(a, stop);
}

// What the verdict loop works on, in shared memory.
typedef struct {
  mz_control control;
  mz_canvas canvas;
  mz_stream stream;
  mz_plan plan;
  mz_row found[MZ_MAX_ROWS];
  mz_draft draft;
  int32_t done, stop, late;
} mz_verdict_state;

// One thread: everything behind a pass.
MZ_DEVICE_APART void mz_verdict_decide(mz_verdict_state* v, const uint8_t* flags) {
  v->done = mz_commit_verdict(&v->control, &v->canvas, &v->stream, flags, &v->plan, v->found, &v->draft);
}

// One thread: the next pass, or at the deadline a last draft of what is decided.
MZ_DEVICE_APART void mz_verdict_plan(mz_verdict_state* v, const uint8_t* flags, const mz_loop* loop,
                                     const uint32_t* cancel) {
  v->stop = v->done || mz_load_system(cancel) != 0;
  v->late = !v->stop && mz_is_late(&v->control, loop);
  if (v->late) mz_draft_stream(&v->control, &v->canvas, &v->stream, 1, &v->draft);
  if (!v->stop && !v->late) mz_plan_verdict(&v->control, &v->canvas, &v->stream, flags, &v->plan);
}

// Behind a pass, or in front of the first: whether another follows, and which. Begins with a barrier.
MZ_DEVICE_APART void mz_verdict_next(const mz_commit_args& a, mz_verdict_state* v) {
  __syncthreads();
  if (threadIdx.x == 0) mz_verdict_plan(v, a.flags, a.loop, &a.ring->cancel);
  __syncthreads();
  mz_copy_words(&a.loop->canvas, &v->canvas);
  mz_copy_words(&a.loop->stream, &v->stream);
  mz_copy_words(&a.pass->plan, &v->plan);
  __syncthreads();
  if (v->late) mz_write_draft(a, &v->draft);
  if (threadIdx.x == 0) mz_end_step(a, v->stop || v->late);
}

__global__ void __launch_bounds__(MZ_COMMIT_THREADS) mz_verdict_step(mz_commit_args a) {
  if (mz_commit_stopped(a)) return;
  MZ_SHARED(mz_verdict_state, v, 1);
  mz_copy_words(&v->control, &a.loop->control);
  mz_copy_words(&v->canvas, &a.loop->canvas);
  mz_copy_words(&v->stream, &a.loop->stream);
  mz_copy_words(&v->plan, &a.pass->plan);
  for (unsigned i = threadIdx.x; i < MZ_MAX_ROWS; i += blockDim.x) v->found[i] = a.loop->found[i];
  mz_clear_words(&v->draft);
  __syncthreads();
  if (threadIdx.x == 0) {
    mz_verdict_decide(v, a.flags);
    a.loop->canvas.step = v->canvas.step;
  }
  __syncthreads();
  if (v->plan.n_wanted) mz_write_draft(a, &v->draft);
  mz_verdict_next(a, v);
}

// One thread: where a run begins.
MZ_DEVICE_APART void mz_begin_loop(mz_verdict_state* v, int n_context) {
  if (v->control.verdict) mz_stream_start(&v->control, n_context, &v->canvas, &v->stream);
  if (!v->control.verdict) mz_canvas_start(&v->control, &v->canvas);
}

// First kernel of a run.
__global__ void __launch_bounds__(MZ_COMMIT_THREADS) mz_begin(mz_commit_args a, mz_request request) {
  MZ_SHARED(mz_verdict_state, v, 1);
  MZ_SHARED(uint32_t, votes, MZ_MAX_ROWS / 32);
  mz_loop* loop = a.loop;
  const mz_control* c = &v->control;
  mz_copy_words(&v->control, &request.control);
  mz_clear_words(&v->draft);
  mz_clear_words(&v->canvas);
  mz_clear_words(&v->stream);
  mz_clear_words(&v->plan);
  __syncthreads();
  mz_copy_words(&loop->control, &v->control);
  if (threadIdx.x == 0) {
    loop->drafts = request.drafts, loop->n_drafts = 0;
    loop->started_ns = mz_clock_ns() - (uint64_t)request.spent_us * 1000;
    a.pass->stop = v->done = 0;
    mz_begin_loop(v, request.n_context);
    loop->canvas.step = 0;
  }
  if (c->verdict) return mz_verdict_next(a, v);
  __syncthreads();
  mz_copy_words(&loop->canvas, &v->canvas);
  mz_plan_rows(c, &v->canvas, a.flags, request.n_context, &a.pass->plan, votes);
  __syncthreads();
  if (threadIdx.x == 0) mz_end_step(a, mz_load_system(&a.ring->cancel) != 0);
}
