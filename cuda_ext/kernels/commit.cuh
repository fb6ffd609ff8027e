// The end of a step: decide, write the draft where the host reads it, say whether to go on. One block each.
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
  int32_t n_context, last_id, autoregressive;
} mz_request;

template <class T>
MZ_DEVICE void mz_copy_words(T* to, const T* from) {
  for (unsigned i = threadIdx.x; i < sizeof(T) / 4; i += blockDim.x) ((int32_t*)to)[i] = ((const int32_t*)from)[i];
}

// The rows of a forward pass outside of a run.
__global__ void mz_set_pass(mz_pass* pass, mz_pass value) { mz_copy_words(pass, &value); }

// First kernel of a run.
__global__ void mz_begin(mz_commit_args a, mz_request request) {
  mz_loop* loop = a.loop;
  mz_copy_words(&loop->control, &request.control);
  __syncthreads();
  if (threadIdx.x > 0) return;
  const bool token_by_token = request.autoregressive;
  loop->autoregressive = token_by_token;
  mz_canvas_start(&loop->control, &loop->canvas);
  loop->started_ns = mz_clock_ns();
  a.pass->causal = token_by_token;
  a.pass->start = token_by_token ? request.n_context - 1 : request.n_context;
  a.pass->n_rows = token_by_token ? 1 : mz_n_active(&loop->control, &loop->canvas);
  for (int row = 0; row < loop->control.n_rows; ++row) a.pass->ids[row] = loop->canvas.ids[row];
  if (token_by_token) a.pass->ids[0] = request.last_id;
  a.pass->stop = mz_load_system(&a.ring->cancel) != 0;
  if (a.pass->stop) mz_store_release(&a.ring->ended, 1);
}

// Thread 0, behind the draft: tell the host, and decide whether there is a next step.
MZ_DEVICE bool mz_publish(const mz_commit_args& a, int step, int done) {
  mz_store_release(&a.ring->written, step);
  const bool stop = done || mz_load_system(&a.ring->cancel) != 0;
  if (stop) {
    a.pass->stop = 1;
    mz_store_release(&a.ring->ended, 1);
  }
  if (a.conditional) cudaGraphSetConditional(a.handle, !stop);
  return !stop;
}

MZ_DEVICE bool mz_commit_stopped(const mz_commit_args& a) {
  if (!a.pass->stop) return false;
  if (a.conditional && threadIdx.x == 0) cudaGraphSetConditional(a.handle, 0);
  return true;
}

__global__ void __launch_bounds__(MZ_COMMIT_THREADS) mz_commit_step(mz_commit_args a) {
  if (mz_commit_stopped(a)) return;
  MZ_SHARED(mz_control, control, 1);
  MZ_SHARED(mz_canvas, canvas, 1);
  MZ_SHARED(mz_row, rows, MZ_MAX_ROWS);
  MZ_SHARED(mz_draft, draft, 1);
  const int row = threadIdx.x;
  MZ_SHARED(mz_decision, decision, 1);
  MZ_SHARED(int, late, 1);
  mz_copy_words(control, &a.loop->control);
  mz_copy_words(canvas, &a.loop->canvas);
  rows[row] = row < a.pass->n_rows ? a.loop->rows[row] : mz_row_gone(&a.loop->control);
  for (unsigned i = threadIdx.x; i < sizeof(mz_draft) / 4; i += blockDim.x) ((int32_t*)draft)[i] = 0;
  __syncthreads();
  if (row == 0) {
    const int64_t elapsed_us = (int64_t)(mz_clock_ns() - a.loop->started_ns) / 1000;
    *late = control->deadline_us >= 0 && elapsed_us >= control->deadline_us;
  }
  __syncthreads();
  mz_decide(control, canvas, a.flags, rows, *late, draft, decision);
  mz_copy_words(&a.loop->canvas, canvas);
  mz_copy_words(&a.ring->drafts[draft->step - 1], draft);
  if (row < control->n_rows) a.pass->ids[row] = canvas->ids[row];
  __threadfence_system();
  __syncthreads();
  if (row > 0) return;
  a.pass->n_rows = mz_n_active(control, canvas);
  mz_publish(a, draft->step, draft->done);
}

// Token by token: the pass had one row, the token in front of canvas row `step`.
__global__ void mz_commit_token(mz_commit_args a) {
  if (mz_commit_stopped(a)) return;
  MZ_SHARED(int, done, 1);
  const mz_control* c = &a.loop->control;
  mz_canvas* s = &a.loop->canvas;
  const int now = s->step, row = threadIdx.x;
  const mz_row stat = a.loop->rows[now];
  const bool ended = stat.end >= stat.probability;
  const int id = ended ? c->end_id : stat.best;
  mz_draft* draft = &a.ring->drafts[now];
  __syncthreads();
  if (row == now && !c->fixed[row] && s->ids[row] != id) s->ids[row] = id, s->probability[row] = stat.probability;
  if (row == 0) *done = ended || now + 1 == c->n_rows;
  __syncthreads();
  if (row < c->n_rows) {
    draft->guess[row] = mz_masked(c, s, row) ? c->end_id : s->ids[row];
    if (*done) s->ids[row] = draft->guess[row];
    draft->ids[row] = s->ids[row];
    draft->probability[row] = s->probability[row];
  }
  __threadfence_system();
  __syncthreads();
  if (row > 0) return;
  s->step = now + 1;
  draft->step = s->step, draft->done = *done, draft->late = 0;
  a.pass->start += 1;
  a.pass->ids[0] = id;
  mz_publish(a, s->step, *done);
}
