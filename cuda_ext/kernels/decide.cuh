// mz_commit and mz_plan_step of core.h with a thread per row: one thread alone would take longer than a small model's
// forward pass.
//
// Rule: the same result, bit for bit; tests/test_cuda_kernels.py compares the two on random cases.
#pragma once

#include "kernels/state.cuh"

// What the threads tell one another. Holes do not overlap, so a row has at most one.
typedef struct {
  int last_text[MZ_MAX_HOLES];       // rows up to it cannot be ends
  int first_end[MZ_MAX_HOLES];
  int last_unsettled[MZ_MAX_HOLES];  // behind the first end
  int is_open[MZ_MAX_HOLES];         // some row in front of the first end is masked
  int closing[MZ_MAX_HOLES];         // the first row whose token closes its line
  int n_open, n_sure, n_doubted, n_masked, taken_back;
  float key[MZ_MAX_ROWS];            // what rows are ranked by; above 1: not taking part
} mz_decision;

// mz_first_end of every hole; begins and ends with a barrier.
MZ_DEVICE void mz_find_ends(const mz_control* c, const mz_canvas* s, const mz_row* rows, int hole, mz_decision* d) {
  const int row = threadIdx.x;
  __syncthreads();
  if (row < c->n_holes) d->last_text[row] = -1, d->first_end[row] = c->hole_stop[row];
  __syncthreads();
  const bool masked = hole >= 0 && mz_masked(c, s, row);
  if (hole >= 0 && !masked && s->ids[row] != c->end_id) atomicMax(&d->last_text[hole], row);
  __syncthreads();
  if (hole >= 0 && row > d->last_text[hole] && (!masked || rows[row].end >= 0.5f)) atomicMin(&d->first_end[hole], row);
  __syncthreads();
}

// How many rows have a smaller key, or the same and stand in front.
MZ_DEVICE int mz_rank(const float* keys, int n_rows, int row) {
  int rank = 0;
  for (int other = 0; other < n_rows; ++other)
    rank += keys[other] < keys[row] || (keys[other] == keys[row] && other < row);
  return rank;
}

// mz_choose: the row's new id. Ends with a barrier.
MZ_DEVICE int mz_choose_row(const mz_control* c, const mz_canvas* s, const mz_row* rows, int steps_left, int hole,
                            mz_decision* d) {
  const int row = threadIdx.x;
  if (row < c->n_holes) d->last_unsettled[row] = -1, d->is_open[row] = 0;
  if (row == 0) d->n_open = d->n_sure = 0;
  __syncthreads();
  const bool masked = row < c->n_rows && mz_masked(c, s, row), behind = hole >= 0 && row >= d->first_end[hole];
  const bool is_open = masked && hole >= 0 && !behind, is_sure = is_open && rows[row].probability >= c->threshold;
  if (is_open) {
    d->is_open[hole] = 1;
    atomicAdd(&d->n_open, 1);
    if (is_sure) atomicAdd(&d->n_sure, 1);
  }
  if (behind && !(masked ? rows[row].end >= c->threshold : s->ids[row] == c->end_id))
    atomicMax(&d->last_unsettled[hole], row);
  d->key[row] = is_open ? (is_sure ? -1 : row) : MZ_MAX_ROWS;
  __syncthreads();
  int written = row < c->n_rows ? s->ids[row] : 0;
  if (masked && behind && (!d->is_open[hole] || row > d->last_unsettled[hole])) written = c->end_id;
  const int at_least = (d->n_open + steps_left - 1) / steps_left;
  if (is_open && (is_sure || mz_rank(d->key, c->n_rows, row) < at_least))
    written = rows[row].best;
  __syncthreads();
  return written;
}

// mz_revise: whether the row is to be masked again.
MZ_DEVICE bool mz_doubts_row(const mz_control* c, const mz_canvas* s, const mz_row* rows, mz_decision* d) {
  const int row = threadIdx.x;
  const bool may = row < c->n_rows && s->revisions_left > 0 && !s->doubted[row] && mz_revealed(c, s, row) &&
                   rows[row].own < c->revise_below;
  d->key[row] = may ? rows[row].own : 2;
  __syncthreads();
  return may && mz_rank(d->key, c->n_rows, row) < s->revisions_left;
}

// mz_guess: the row's id in the draft, once the ends have been found.
MZ_DEVICE int mz_guess_row(const mz_control* c, const mz_canvas* s, const mz_row* rows, int hole,
                           const mz_decision* d) {
  const int row = threadIdx.x;
  if (row >= c->n_rows || !mz_masked(c, s, row)) return row < c->n_rows ? s->ids[row] : 0;
  return hole >= 0 && row >= d->first_end[hole] ? c->end_id : rows[row].best;
}

// mz_close_lines: the row's id, where it would be `written`. Begins and ends with a barrier.
MZ_DEVICE int mz_close_row(const mz_control* c, const uint8_t* flags, int hole, int written, mz_decision* d) {
  const int row = threadIdx.x;
  __syncthreads();
  if (row < c->n_holes) d->closing[row] = c->hole_stop[row];
  __syncthreads();
  if (mz_closes(c, flags, hole, written)) atomicMin(&d->closing[hole], row);
  __syncthreads();
  return hole >= 0 && row > d->closing[hole] ? c->end_id : written;
}

// By MZ_MAX_ROWS threads; everything is in shared memory but `flags`. Begins and ends with a barrier.
MZ_DEVICE void mz_commit_rows(const mz_control* c, mz_canvas* s, const uint8_t* flags, const mz_row* rows,
                              int n_context, int late, mz_draft* out, mz_decision* d) {
  const int row = threadIdx.x, hole = mz_hole_of(c, row), steps_left = c->max_steps - s->step;
  const bool last = late || steps_left <= 1;
  mz_find_ends(c, s, rows, hole, d);
  const int written = last ? mz_guess_row(c, s, rows, hole, d) : mz_choose_row(c, s, rows, steps_left, hole, d);
  const bool doubted = !last && mz_doubts_row(c, s, rows, d);
  const int closed = mz_close_row(c, flags, hole, written, d);
  if (row < c->n_rows && !c->fixed[row] && closed != s->ids[row]) {
    s->ids[row] = closed;
    s->probability[row] = written == c->end_id ? rows[row].end : rows[row].probability;
  }
  if (row == 0) d->n_doubted = d->n_masked = 0;
  __syncthreads();
  if (row == 0) d->taken_back = last ? -1 : mz_end_to_take_back(c, s, flags);
  if (doubted) atomicAdd(&d->n_doubted, 1);
  __syncthreads();
  if (doubted || (row == d->taken_back && !c->fixed[row])) s->ids[row] = c->mask_id;
  if (doubted) s->doubted[row] = 1;
  if (row == 0) s->revisions_left -= d->n_doubted, s->step += 1;
  mz_find_ends(c, s, rows, hole, d);
  if (row < c->n_rows && mz_masked(c, s, row)) atomicAdd(&d->n_masked, 1);
  if (row < c->n_rows) {
    out->guess[row] = mz_guess_row(c, s, rows, hole, d);
    out->ids[row] = s->ids[row], out->probability[row] = s->probability[row];
  }
  __syncthreads();
  if (row == 0) {
    out->step = s->step, out->late = late, out->cached = n_context;
    out->done = last || d->n_masked == 0 || mz_unsure(c, s);
  }
  __syncthreads();
}

// mz_plan_step, by MZ_MAX_ROWS threads; `votes`: a word of shared memory per warp.
MZ_DEVICE void mz_plan_rows(const mz_control* c, const mz_canvas* s, const uint8_t* flags, int n_context,
                            mz_plan* plan, uint32_t* votes) {
  const int row = threadIdx.x, n_canvas = mz_n_active(c, s);
  const bool wanted = row < n_canvas && mz_needs_stat(c, s, row);
  const uint32_t vote = __ballot_sync(0xFFFFFFFFu, wanted);
  if (row % 32 == 0) votes[row / 32] = vote;
  __syncthreads();
  int place = __popc(vote & ((1u << row % 32) - 1)), total = 0;
  for (int warp = 0; warp < MZ_MAX_ROWS / 32; ++warp) {
    total += __popc(votes[warp]);
    if (warp < row / 32) place += __popc(votes[warp]);
  }
  if (row < n_canvas) plan->ids[row] = s->ids[row];
  if (wanted) {
    plan->wanted[place] = plan->at[place] = row, plan->own[place] = s->ids[row];
    plan->rule[place] = mz_row_rule(c, s, flags, row);
  }
  if (row > 0) return;
  plan->start = n_context, plan->n_context = plan->decided = 0;
  plan->n_canvas = n_canvas, plan->n_wanted = total;
}
