// What one denoising step decides: row statistics, rules for tokens, reveal, revise, drafts, random numbers.
//
// Rule: plain functions on plain arrays, for the host and for the device; no allocation, no library. The plain-torch
// twin `cuda_ext/reference.py` defines what is right. Every function is `static inline`, so that objects compiled for
// different instruction sets never share a copy.
#pragma once

#include <math.h>
#include <stdint.h>

#ifdef __CUDACC__
#define MZ_HD static inline __host__ __device__
#else
#define MZ_HD static inline
#endif

#define MZ_ABI_VERSION 3
#define MZ_MAX_ROWS 128  // rows of a canvas
#define MZ_MAX_HOLES 8

// What a token is, one byte per id of the vocabulary; LEFT and RIGHT depend on the request (token healing).
enum mz_token_flag {
  MZ_SPECIAL = 1,  // never text
  MZ_END = 2,      // the end of a hole
  MZ_BREAK = 4,    // holds a line break
  MZ_LEFT = 8,     // may stand first: goes on with the partial token left of the cursor
  MZ_RIGHT = 16,   // may stand last: ends in the partial token right of the cursor
};

// ---- Structures shared with Python (ctypes) and with the device. Fields are ordered so that only an end is padded.

// One denoising run, written by the host, read only for the loop.
typedef struct {
  uint64_t seed;
  int64_t deadline_us;  // from the start of the run; negative: none
  int32_t n_rows, n_holes;
  int32_t hole_start[MZ_MAX_HOLES], hole_stop[MZ_MAX_HOLES];  // half-open row ranges, ascending
  int32_t multiline[MZ_MAX_HOLES];                            // whether the hole may hold line breaks
  int32_t ids[MZ_MAX_ROWS];                                   // the canvas as it starts
  float probability[MZ_MAX_ROWS];                             // of the rows that hold text then
  int32_t fixed[MZ_MAX_ROWS];                                 // rows that must stay
  int32_t mask_id, end_id;
  int32_t has_left, has_right;  // token healing at the first row, at the last hole's end
  int32_t max_steps, max_revisions;
  float threshold, revise_below, temperature;
  float stop_below;  // the run may end when its text is right with a smaller chance; 0: only when all is decided
  uint32_t present;  // bit f: some token of the vocabulary has exactly the flags f
} mz_control;

// What the loop changes.
typedef struct {
  int32_t step, revisions_left;
  int32_t ids[MZ_MAX_ROWS];
  int32_t doubted[MZ_MAX_ROWS];  // rows that were masked again once: never twice
  float probability[MZ_MAX_ROWS];
} mz_canvas;

// One draft, as the host reads it.
typedef struct {
  int32_t step, done, late;  // late: the deadline decided
  int32_t ids[MZ_MAX_ROWS];    // the canvas after the step, masked rows included
  int32_t guess[MZ_MAX_ROWS];  // the same with every masked row decided
  float probability[MZ_MAX_ROWS];
} mz_draft;

// Statistics of one row, mergeable over parts of the vocabulary. Sums are relative to `max`.
typedef struct {
  float max;       // largest allowed logit
  float sum;       // of exp(x - max)
  float weighted;  // of (x - max) exp(x - max), for the entropy
  float end_sum;   // of exp(x - max) over tokens that end the hole
  float own;       // logit of the token the row holds now
  float best;      // largest logit of a text token
  int32_t best_id; // its id, the lowest of equals; -1 if there is none
} mz_stat;

// What `mz_stat` comes to.
typedef struct {
  int32_t best;  // best text token, 0 if no text is possible
  float probability, end, entropy, own;
} mz_row;

// Which tokens a row may hold and which end its hole, by their flags.
typedef struct {
  uint32_t forbid;           // none of these flags
  uint32_t need, also_need;  // at least one of each of these, unless 0
  uint32_t ends;             // tokens with one of these end the hole
} mz_rule;

// ---- Tokens and rows

MZ_HD int mz_allowed(mz_rule rule, uint32_t flags) {
  return !(flags & rule.forbid) && (!rule.need || (flags & rule.need)) && (!rule.also_need || (flags & rule.also_need));
}

MZ_HD int mz_ends(mz_rule rule, uint32_t flags) { return (flags & rule.ends) != 0; }

// Whether the rule leaves any token of the vocabulary.
MZ_HD int mz_any_allowed(mz_rule rule, uint32_t present) {
  for (uint32_t flags = 0; flags < 32; ++flags)
    if ((present >> flags & 1) && mz_allowed(rule, flags)) return 1;
  return 0;
}

MZ_HD int mz_masked(const mz_control* c, const mz_canvas* s, int row) {
  return s->ids[row] == c->mask_id && !c->fixed[row];
}

MZ_HD int mz_revealed(const mz_control* c, const mz_canvas* s, int row) {
  return s->ids[row] != c->mask_id && s->ids[row] != c->end_id && !c->fixed[row];
}

// Rows that still matter: those behind the first end of a trailing run of ends have left the canvas.
MZ_HD int mz_n_active(const mz_control* c, const mz_canvas* s) {
  int last = c->n_rows - 1;
  while (last >= 0 && s->ids[last] == c->end_id) --last;
  if (last < 0) return 1;
  return last + 2 < c->n_rows ? last + 2 : c->n_rows;
}

// The rule of a row, for what the canvas holds now. `flags` are those of the vocabulary.
MZ_HD mz_rule mz_row_rule(const mz_control* c, const mz_canvas* s, const uint8_t* flags, int row) {
  mz_rule rule = {MZ_SPECIAL, 0, 0, MZ_END};
  for (int h = 0; h < c->n_holes; ++h)
    if (row >= c->hole_start[h] && row < c->hole_stop[h] && !c->multiline[h]) rule.ends |= MZ_BREAK;
  if (row == 0 && c->has_left) rule = mz_rule{0, MZ_LEFT, 0, 0};
  const int start = c->hole_start[c->n_holes - 1], stop = c->hole_stop[c->n_holes - 1];
  if (!c->has_right || row < start || row >= stop || !mz_masked(c, s, row)) return rule;
  const mz_rule base = rule;
  const int before = row > start ? s->ids[row - 1] : c->mask_id;
  const int before_decided = row > start && !mz_masked(c, s, row - 1);
  if (row == start || (before_decided && before != c->end_id && !(flags[before] & MZ_RIGHT))) rule.forbid |= rule.ends;
  if (row + 1 < stop && !mz_masked(c, s, row + 1) && s->ids[row + 1] == c->end_id) {
    rule.also_need = MZ_RIGHT | rule.ends;
    if (!mz_any_allowed(rule, c->present)) rule = base;
  }
  return rule;
}

// Whether the step needs this row's statistics.
MZ_HD int mz_needs_stat(const mz_control* c, const mz_canvas* s, int row) {
  if (mz_masked(c, s, row)) return 1;
  if (s->revisions_left > 0 && !s->doubted[row] && mz_revealed(c, s, row)) return 1;
  return c->has_right && row >= c->hole_start[c->n_holes - 1] && row < c->hole_stop[c->n_holes - 1];
}

// ---- Statistics

MZ_HD mz_stat mz_stat_empty(void) { return mz_stat{-INFINITY, 0, 0, 0, -INFINITY, -INFINITY, -1}; }

// Add one logit. A forbidden token is not added at all.
MZ_HD mz_stat mz_stat_add(mz_stat a, float x, int id, int is_end, int is_own) {
  if (x == -INFINITY) return a;
  if (x > a.max) {
    const float shrink = expf(a.max - x);
    a.weighted = a.sum > 0 ? shrink * (a.weighted + (a.max - x) * a.sum) : 0;
    a.sum *= shrink;
    a.end_sum *= shrink;
    a.max = x;
  }
  const float e = expf(x - a.max);
  a.sum += e;
  a.weighted += (x - a.max) * e;
  if (is_end) a.end_sum += e;
  if (is_own) a.own = x;
  if (!is_end && (x > a.best || (x == a.best && id < a.best_id))) a.best = x, a.best_id = id;
  return a;
}

// Statistics of two disjoint parts of the vocabulary together.
MZ_HD mz_stat mz_stat_merge(mz_stat a, mz_stat b) {
  if (b.sum == 0) return a;
  if (a.sum == 0) return b;
  const mz_stat big = a.max >= b.max ? a : b, small = a.max >= b.max ? b : a;
  const float shift = small.max - big.max, shrink = expf(shift);
  mz_stat out = big;
  out.sum += shrink * small.sum;
  out.weighted += shrink * (small.weighted + shift * small.sum);
  out.end_sum += shrink * small.end_sum;
  out.own = a.own > b.own ? a.own : b.own;
  const int take_b = b.best_id >= 0 && (a.best_id < 0 || b.best > a.best || (b.best == a.best && b.best_id < a.best_id));
  out.best = take_b ? b.best : a.best;
  out.best_id = take_b ? b.best_id : a.best_id;
  return out;
}

MZ_HD mz_row mz_stat_finish(mz_stat a) {
  mz_row row = {a.best_id < 0 ? 0 : a.best_id, 0, 0, 0, 0};
  if (a.sum == 0) return row;
  if (a.best_id >= 0) row.probability = expf(a.best - a.max) / a.sum;
  row.end = a.end_sum / a.sum;
  row.entropy = logf(a.sum) - a.weighted / a.sum;
  row.own = a.own == -INFINITY ? 0 : expf(a.own - a.max) / a.sum;
  return row;
}

// A row that left the canvas: a certain end.
MZ_HD mz_row mz_row_gone(const mz_control* c) { return mz_row{c->end_id, 0, 1, 0, 1}; }

// ---- Random numbers: Philox 4x32-10 (Salmon et al., SC 2011), counter (token, row, step, 0), key = seed

MZ_HD uint32_t mz_philox(uint64_t seed, uint32_t step, uint32_t row, uint32_t token) {
  uint32_t c0 = token, c1 = row, c2 = step, c3 = 0, k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
    const uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
    c1 = (uint32_t)p1, c3 = (uint32_t)p0, c0 = n0, c2 = n2;
    k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
  }
  return c0;
}

// Standard Gumbel noise; a logit over the temperature plus this, argmax, is a sample.
MZ_HD float mz_gumbel(uint64_t seed, uint32_t step, uint32_t row, uint32_t token) {
  const float uniform = ((float)(mz_philox(seed, step, row, token) >> 8) + 0.5f) * (1.0f / 16777216.0f);
  return -logf(-logf(uniform));
}

// ---- One step's decisions. `rows` has n_rows entries; those without statistics are never looked at.

// Row where the hole [start, stop) ends as far as is known: a revealed end, or a masked row that is likelier to be one
// than not. Rows in front of revealed text cannot be ends. `stop` if there is none.
MZ_HD int mz_first_end(const mz_control* c, const mz_canvas* s, const mz_row* rows, int start, int stop) {
  int end = stop;
  for (int row = stop - 1; row >= start; --row) {
    const int masked = mz_masked(c, s, row);
    if (!masked && s->ids[row] != c->end_id) break;
    if (!masked || rows[row].end >= 0.5f) end = row;
  }
  return end;
}

// New ids: the rows that this step reveals hold their token, all others what they held.
MZ_HD void mz_choose(const mz_control* c, const mz_canvas* s, const mz_row* rows, int steps_left, int32_t* written) {
  int open[MZ_MAX_ROWS], n_open = 0, n_sure = 0;
  for (int row = 0; row < c->n_rows; ++row) written[row] = s->ids[row], open[row] = 0;
  for (int h = 0; h < c->n_holes; ++h) {
    const int start = c->hole_start[h], stop = c->hole_stop[h], end = mz_first_end(c, s, rows, start, stop);
    int open_here = 0;
    for (int row = start; row < end; ++row)
      if (mz_masked(c, s, row)) {
        open[row] = 1, ++n_open, ++open_here;
        n_sure += rows[row].probability >= c->threshold;
      }
    for (int row = stop - 1; row >= end; --row) {  // ends are revealed from the right
      const int masked = mz_masked(c, s, row);
      const int settled = masked ? rows[row].end >= c->threshold : s->ids[row] == c->end_id;
      if (open_here && !settled) break;
      if (masked) written[row] = c->end_id;
    }
  }
  const int k_min = (n_open + steps_left - 1) / steps_left;
  int n_more = k_min - n_sure;  // rows that must be revealed though they are not sure: the first ones
  for (int row = 0; row < c->n_rows; ++row)
    if (open[row] && (rows[row].probability >= c->threshold || n_more-- > 0)) written[row] = rows[row].best;
}

// Rows to mask again: revealed ones least believed in, at most `revisions_left`, none for the second time.
MZ_HD void mz_revise(const mz_control* c, const mz_canvas* s, const mz_row* rows, int32_t* doubted) {
  for (int row = 0; row < c->n_rows; ++row) doubted[row] = 0;
  for (int k = 0; k < s->revisions_left; ++k) {
    int worst = -1;
    for (int row = 0; row < c->n_rows; ++row)
      if (!doubted[row] && !s->doubted[row] && mz_revealed(c, s, row) && rows[row].own < c->revise_below &&
          (worst < 0 || rows[row].own < rows[worst].own))
        worst = row;
    if (worst < 0) return;
    doubted[worst] = 1;
  }
}

// Every masked row decided: the best text in front of each hole's likely end, ends from there.
MZ_HD void mz_guess(const mz_control* c, const mz_canvas* s, const mz_row* rows, int32_t* guess) {
  for (int row = 0; row < c->n_rows; ++row) guess[row] = mz_masked(c, s, row) ? rows[row].best : s->ids[row];
  for (int h = 0; h < c->n_holes; ++h)
    for (int row = mz_first_end(c, s, rows, c->hole_start[h], c->hole_stop[h]); row < c->hole_stop[h]; ++row)
      if (mz_masked(c, s, row)) guess[row] = c->end_id;
}

// A row whose end was written behind text that lacks the partial token right of the cursor; -1 if there is none.
MZ_HD int mz_end_to_take_back(const mz_control* c, const mz_canvas* s, const uint8_t* flags) {
  if (!c->has_right) return -1;
  const int start = c->hole_start[c->n_holes - 1], stop = c->hole_stop[c->n_holes - 1];
  int end = start;
  while (end < stop && s->ids[end] != c->end_id) ++end;
  if (end == stop || end == start) return -1;
  const int before = s->ids[end - 1];
  return before != c->mask_id && !(flags[before] & MZ_RIGHT) ? end : -1;
}

MZ_HD void mz_canvas_start(const mz_control* c, mz_canvas* s) {
  s->step = 0;
  s->revisions_left = c->max_revisions;
  for (int row = 0; row < c->n_rows; ++row) {
    s->ids[row] = c->ids[row], s->probability[row] = c->probability[row], s->doubted[row] = 0;
  }
}

// Whether the first hole's text, decided up to there, is right with a chance below `stop_below`.
MZ_HD int mz_unsure(const mz_control* c, const mz_canvas* s) {
  float chance = 1;
  for (int row = c->hole_start[0]; row < c->hole_stop[0]; ++row) {
    if (c->fixed[row]) continue;
    if (mz_masked(c, s, row) || s->ids[row] == c->end_id) return 0;
    chance *= s->probability[row];
    if (chance < c->stop_below) return 1;
  }
  return 0;
}

// The whole step behind the forward pass: choose, revise, write, draft. Returns whether the run is done.
// `late`: the deadline has passed, so this step decides everything.
MZ_HD int mz_commit(const mz_control* c, mz_canvas* s, const uint8_t* flags, const mz_row* rows, int late, mz_draft* out) {
  int32_t written[MZ_MAX_ROWS], doubted[MZ_MAX_ROWS];
  const int last = late || s->step + 1 >= c->max_steps;
  s->step += 1;
  for (int row = 0; row < c->n_rows; ++row) doubted[row] = 0;
  if (last) {
    mz_guess(c, s, rows, written);
  } else {
    mz_choose(c, s, rows, c->max_steps - s->step + 1, written);
    mz_revise(c, s, rows, doubted);
  }
  for (int row = 0; row < c->n_rows; ++row) {
    if (c->fixed[row] || written[row] == s->ids[row]) continue;
    s->ids[row] = written[row];
    s->probability[row] = written[row] == c->end_id ? rows[row].end : rows[row].probability;
  }
  if (!last) {
    const int taken_back = mz_end_to_take_back(c, s, flags);
    if (taken_back >= 0 && !c->fixed[taken_back]) s->ids[taken_back] = c->mask_id;
    for (int row = 0; row < c->n_rows; ++row)
      if (doubted[row]) s->ids[row] = c->mask_id, s->doubted[row] = 1, s->revisions_left -= 1;
  }
  int n_masked = 0;
  for (int row = 0; row < c->n_rows; ++row) n_masked += mz_masked(c, s, row);
  out->step = s->step;
  out->done = last || n_masked == 0 || mz_unsure(c, s);
  out->late = late;
  mz_guess(c, s, rows, out->guess);
  for (int row = 0; row < c->n_rows; ++row) out->ids[row] = s->ids[row], out->probability[row] = s->probability[row];
  return out->done;
}
