// What one forward pass of a run is made of, and what is decided behind it: rules for tokens, statistics, both loops.
//
// Rule: plain functions on plain arrays, for the host and for the device; no allocation, no library. What is right is
// defined in Python: `cuda_ext/reference.py` and diffusion/denoise.py for the threshold loop, diffusion/verdict.py for
// the other. Every function is `static inline`, so that objects compiled for different instruction sets never share a
// copy.
#pragma once

#include <math.h>
#include <stdint.h>

#ifdef __CUDACC__
#define MZ_HD static inline __host__ __device__
#else
#define MZ_HD static inline
#endif

#define MZ_ABI_VERSION 7
#define MZ_MAX_ROWS 128  // rows of a canvas, and of a forward pass
#define MZ_MAX_HOLES 8
#define MZ_HISTORY 1024    // context tokens that a run may look things up in
#define MZ_LONGEST_MATCH 8  // tokens of the text's end that are compared
#define MZ_NONE (-1)  // an id that a model does not have

// Which of the known variations of the transformer a model has (diffusion/model/config.py).
enum mz_shape_flag {
  MZ_QKV_BIAS = 1,  // "blocks.N.qkv.bias"
  MZ_QK_NORM = 2,   // queries and keys are normed per head
  MZ_OWN_HEAD = 4,  // "head.weight"; else the output matrix is the embedding
  MZ_EXTRAS = 8,    // a norm behind the embedding, a canvas embedding, neighbours
  MZ_SHIFT = 16,    // the row before predicts a canvas row's token
};

// What a token is, one byte per id of the vocabulary; LEFT and RIGHT depend on the request (token healing).
enum mz_token_flag {
  MZ_SPECIAL = 1,  // never text
  MZ_END = 2,      // the end of a hole
  MZ_BREAK = 4,    // holds a line break, and nothing visible before it
  MZ_LEFT = 8,     // may stand first: goes on with the partial token left of the cursor
  MZ_RIGHT = 16,   // may stand last: ends in the partial token right of the cursor
  MZ_CLOSES = 32,  // holds a line break behind visible text: what is behind it on a line is an end
  MZ_HEAD = 64,    // may stand first, in front of an AFTER_HEAD: ends amid the partial token left of the cursor
  MZ_AFTER_HEAD = 128,  // goes on where HEAD ends, with the rest of the partial token
};

// ---- Structures shared with Python (ctypes) and with the device. Fields are ordered so that only an end is padded.

// Sizes of a model. `context_sees` and `canvas_sees`: rows of a kind see one another in blocks of so many, and all
// before them: 1 is causal.
typedef struct {
  int32_t vocab_size, d_model, n_layers, n_heads, n_kv_heads, d_ff, d_head, flags, context_sees, canvas_sees;
  float rope_base, norm_eps;
} mz_shape;

// One run, written by the host, read only for the loop.
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
  int32_t head;                 // the token that is MZ_HEAD, where one is: only where drafts are judged
  int32_t max_steps, max_revisions;
  float threshold, revise_below, temperature;
  float stop_below;  // the run may end when its text is right with a smaller chance; 0: only when all is decided
  uint32_t present;  // bit f: some token of the vocabulary has exactly the flags f, of those below MZ_CLOSES

  // Draft and verdict, instead of thresholds. The canvas is blank; mask_id may be MZ_NONE where there are no canvas rows.
  int32_t verdict;                  // whether the drafted tokens are judged by causal rows
  int32_t judge_rows, canvas_rows;  // of a pass, at most; with neither it decodes token by token
  int32_t patience, rest;  // the canvas leaves behind so many passes in vain (0: never), for so many tokens
  float draft_above;                // the canvas drafts tokens of at least this probability
  int32_t last_id;                  // the last context token: the loop may start by running it again
  int32_t n_drafted, drafted[MZ_MAX_ROWS];  // the first draft of the first hole
  int32_t look_up;                          // tokens that must have stood there before to be looked up; 0: nothing is
  int32_t n_history, history[MZ_HISTORY];   // the end of the context, where things are looked up
} mz_control;

// What both loops change.
typedef struct {
  int32_t step, revisions_left;
  int32_t ids[MZ_MAX_ROWS];
  int32_t doubted[MZ_MAX_ROWS];  // rows that were masked again once: never twice
  float probability[MZ_MAX_ROWS];
} mz_canvas;

// Which tokens a row may hold and which end its hole, by their flags.
typedef struct {
  uint32_t forbid;           // none of these flags
  uint32_t need, also_need;  // at least one of each of these, unless 0
  uint32_t ends;             // tokens with one of these end the hole
} mz_rule;

// Who drafted what is judged.
enum mz_drafter { MZ_BY_START, MZ_BY_CANVAS, MZ_BY_LOOK_UP };

// What the verdict loop changes besides: the decided text behind the context.
typedef struct {
  int32_t row;          // the canvas row to be decided next; n_rows: all are
  int32_t cached;       // tokens whose keys and values are in the cache, the context's included
  int32_t last;         // the last one of these
  int32_t n_pending, pending[MZ_MAX_ROWS];  // decided tokens behind those
  int32_t n_drafted, drafted[MZ_MAX_ROWS];  // proposed for the rows from `row` on
  int32_t drafter;                          // one of mz_drafter
  int32_t in_vain;                          // passes since the canvas drafted a token that was accepted
  int32_t resting;                          // tokens to be decided before the canvas comes back; 0: it is there
  int32_t weighing;                         // whether the next pass looks at what would follow the head
  int32_t guess[MZ_MAX_ROWS];               // the canvas with every row decided, as the last pass would have it
} mz_stream;

// One forward pass: rows of two kinds behind `start` cached tokens, as `mz_forward` takes them.
typedef struct {
  int32_t start, n_context, n_canvas, decided;
  int32_t ids[MZ_MAX_ROWS];     // context rows, then canvas rows
  int32_t n_wanted;             // rows whose statistics are looked at; each has in the arrays below
  int32_t wanted[MZ_MAX_ROWS];  // which row of the pass it is,
  int32_t at[MZ_MAX_ROWS];      // which canvas row it speaks of,
  int32_t own[MZ_MAX_ROWS];     // the token that row holds,
  mz_rule rule[MZ_MAX_ROWS];    // and what it may hold
} mz_plan;

// One draft, as the host reads it.
typedef struct {
  int32_t step, done, late;  // step: forward passes so far; late: the deadline decided
  int32_t cached;              // tokens that are exactly in the cache now: the context and decided ones behind it
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
  if (row == 0 && c->has_left) rule = mz_rule{0, MZ_LEFT | MZ_HEAD, 0, MZ_HEAD};
  if (row == 1 && c->has_left && !mz_masked(c, s, 0) && (flags[s->ids[0]] & MZ_HEAD))
    return mz_rule{0, MZ_AFTER_HEAD, 0, 0};
  const int start = c->hole_start[c->n_holes - 1], stop = c->hole_stop[c->n_holes - 1];
  if (!c->has_right || row < start || row >= stop || !mz_masked(c, s, row)) return rule;
  const mz_rule base = rule;
  const int ends = rule.ends & ~MZ_HEAD;
  const int before = row > start ? s->ids[row - 1] : c->mask_id;
  const int before_decided = row > start && !mz_masked(c, s, row - 1);
  if (row == start || (before_decided && before != c->end_id && !(flags[before] & MZ_RIGHT))) rule.forbid |= ends;
  if (row + 1 < stop && !mz_masked(c, s, row + 1) && s->ids[row + 1] == c->end_id) {
    rule.also_need = MZ_RIGHT | ends;
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

// ---- The threshold loop. `rows` has n_rows entries; those without statistics are never looked at.

// Adds a row to those whose statistics are wanted.
MZ_HD void mz_want(mz_plan* plan, int row, int at, int32_t own, mz_rule rule) {
  const int i = plan->n_wanted++;
  plan->wanted[i] = row, plan->at[i] = at, plan->own[i] = own, plan->rule[i] = rule;
}

// The pass of a step: the rows of the canvas that still matter.
MZ_HD void mz_plan_step(const mz_control* c, const mz_canvas* s, const uint8_t* flags, int n_context, mz_plan* plan) {
  plan->start = n_context, plan->n_context = 0, plan->decided = 0;
  plan->n_canvas = mz_n_active(c, s);
  plan->n_wanted = 0;
  for (int row = 0; row < plan->n_canvas; ++row) {
    plan->ids[row] = s->ids[row];
    if (mz_needs_stat(c, s, row)) mz_want(plan, row, row, s->ids[row], mz_row_rule(c, s, flags, row));
  }
}

// `found` (n_wanted) by canvas row; rows that left the canvas are certain ends.
MZ_HD void mz_spread(const mz_control* c, const mz_plan* plan, const mz_row* found, mz_row* rows) {
  for (int row = 0; row < c->n_rows; ++row)
    rows[row] = row < plan->n_canvas ? mz_row{0, 0, 0, 0, 0} : mz_row_gone(c);
  for (int i = 0; i < plan->n_wanted; ++i) rows[plan->at[i]] = found[i];
}

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

// The hole of a row; -1 for a row between holes.
MZ_HD int mz_hole_of(const mz_control* c, int row) {
  for (int h = 0; h < c->n_holes; ++h)
    if (row >= c->hole_start[h] && row < c->hole_stop[h]) return h;
  return -1;
}

// Whether a token at a row of this hole ends the hole's line in itself: the rows behind it are ends.
MZ_HD int mz_closes(const mz_control* c, const uint8_t* flags, int hole, int32_t token) {
  return hole >= 0 && !c->multiline[hole] && (flags[token] & MZ_CLOSES);
}

// `ids` with ends behind a token that closes its line.
MZ_HD void mz_close_lines(const mz_control* c, const uint8_t* flags, const int32_t* ids, int32_t* closed) {
  for (int row = 0; row < c->n_rows; ++row) closed[row] = ids[row];
  for (int h = 0; h < c->n_holes; ++h)
    for (int row = c->hole_start[h], is_closed = 0; row < c->hole_stop[h]; ++row) {
      if (is_closed) closed[row] = c->end_id;
      is_closed |= mz_closes(c, flags, h, ids[row]);
    }
}

// The whole step behind the forward pass: choose, revise, write, draft. Returns whether the run is done.
// `late`: the deadline has passed, so this step decides everything.
MZ_HD int mz_commit(const mz_control* c, mz_canvas* s, const uint8_t* flags, const mz_row* rows, int n_context, int late,
                    mz_draft* out) {
  int32_t written[MZ_MAX_ROWS], doubted[MZ_MAX_ROWS], closed[MZ_MAX_ROWS];
  const int last = late || s->step + 1 >= c->max_steps;
  s->step += 1;
  for (int row = 0; row < c->n_rows; ++row) doubted[row] = 0;
  if (last) {
    mz_guess(c, s, rows, written);
  } else {
    mz_choose(c, s, rows, c->max_steps - s->step + 1, written);
    mz_revise(c, s, rows, doubted);
  }
  mz_close_lines(c, flags, written, closed);
  for (int row = 0; row < c->n_rows; ++row) {
    if (c->fixed[row] || closed[row] == s->ids[row]) continue;
    s->ids[row] = closed[row];
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
  out->cached = n_context;
  mz_guess(c, s, rows, out->guess);
  for (int row = 0; row < c->n_rows; ++row) out->ids[row] = s->ids[row], out->probability[row] = s->probability[row];
  return out->done;
}

// ---- The verdict loop: drafted tokens are judged by causal rows, and drafted anew on a canvas behind them

// The row behind the hole that `row` is in.
MZ_HD int mz_hole_stop(const mz_control* c, int row) {
  const int h = mz_hole_of(c, row);
  return h < 0 ? row : c->hole_stop[h];
}

// Moves the stream over fixed text, which is decided, to the next row of a hole.
MZ_HD void mz_skip_fixed(const mz_control* c, mz_stream* t) {
  for (; t->row < c->n_rows && c->fixed[t->row]; ++t->row) t->pending[t->n_pending++] = c->ids[t->row];
}

MZ_HD int mz_stream_done(const mz_control* c, const mz_stream* t) { return t->row >= c->n_rows; }

// What followed where the text ended like this before, in the context or behind it: up to `most` tokens, written to
// `out`. The longest match counts, of equal ones the last.
MZ_HD int mz_look_up(const mz_control* c, const mz_canvas* s, int row, int most, int32_t* out) {
  int32_t decided[MZ_MAX_ROWS];
  int n = c->n_history;
  for (int i = 0; i < row; ++i)
    if (c->fixed[i] || s->ids[i] != c->end_id) decided[n++ - c->n_history] = s->ids[i];
  int longest = c->look_up - 1, from = n;
  for (int end = n - 1; end > 0 && longest < MZ_LONGEST_MATCH; --end) {
    int same = 0;
    for (; same < MZ_LONGEST_MATCH && same < end; ++same) {
      const int a = end - 1 - same, b = n - 1 - same;
      const int32_t before = a < c->n_history ? c->history[a] : decided[a - c->n_history];
      if (before != (b < c->n_history ? c->history[b] : decided[b - c->n_history])) break;
    }
    if (same > longest) longest = same, from = end;
  }
  most = most < n - from ? most : n - from;
  for (int i = 0; i < most; ++i, ++from) out[i] = from < c->n_history ? c->history[from] : decided[from - c->n_history];
  return most;
}

// Where nobody drafts anything, what is looked up.
MZ_HD void mz_draft_looked_up(const mz_control* c, const mz_canvas* s, mz_stream* t) {
  if (t->n_drafted || !c->look_up || mz_stream_done(c, t)) return;
  t->n_drafted = mz_look_up(c, s, t->row, c->judge_rows, t->drafted);
  if (t->n_drafted) t->drafter = MZ_BY_LOOK_UP;
}

MZ_HD void mz_stream_start(const mz_control* c, int n_context, mz_canvas* s, mz_stream* t) {
  mz_canvas_start(c, s);
  t->row = t->n_pending = 0;
  t->cached = n_context, t->last = c->last_id;
  t->n_drafted = c->n_drafted;
  for (int i = 0; i < c->n_drafted; ++i) t->drafted[i] = c->drafted[i];
  t->drafter = MZ_BY_START, t->in_vain = t->resting = t->weighing = 0;
  for (int row = 0; row < c->n_rows; ++row) t->guess[row] = c->fixed[row] ? c->ids[row] : c->end_id;
  mz_skip_fixed(c, t);
  mz_draft_looked_up(c, s, t);
}

// The canvas of the next pass, the draft and masks behind it: how many rows, written to `window`.
MZ_HD int mz_window(const mz_control* c, const mz_canvas* s, const mz_stream* t, int32_t* window) {
  const int left = c->n_rows - t->row, most = t->resting ? 0 : c->canvas_rows, n = most < left ? most : left;
  const int here = mz_hole_stop(c, t->row) - t->row;
  for (int i = 0; i < n; ++i) window[i] = i < t->n_drafted && i < here ? t->drafted[i] : s->ids[t->row + i];
  return n;
}

// Whether the partial token left of the cursor may be two tokens, of which the head is the first.
MZ_HD int mz_has_head(const mz_control* c, const uint8_t* flags) {
  return c->has_left && c->hole_start[0] == 0 && c->hole_stop[0] > 1 && (flags[c->head] & MZ_HEAD);
}

// The pass that looks at what would follow the head: `end` of the row behind it is the chance of an AFTER_HEAD.
MZ_HD void mz_plan_weighing(const mz_control* c, const mz_canvas* s, const mz_stream* t, const uint8_t* flags,
                            mz_plan* plan) {
  plan->start = t->cached, plan->n_wanted = 0, plan->n_canvas = 0;
  plan->decided = t->n_pending, plan->n_context = t->n_pending + 1;
  for (int i = 0; i < t->n_pending; ++i) plan->ids[i] = t->pending[i];
  plan->ids[t->n_pending] = c->head;
  mz_want(plan, t->n_pending - 1, 0, 0, mz_row_rule(c, s, flags, 0));
  mz_want(plan, t->n_pending, 1, 0, mz_rule{0, 0, 0, MZ_AFTER_HEAD});
}

// The next pass: pending tokens, the draft that is judged, the canvas. Where they are too many for one pass, pending
// tokens alone, and nothing is decided behind it. `s` is left as it was.
MZ_HD void mz_plan_verdict(const mz_control* c, mz_canvas* s, mz_stream* t, const uint8_t* flags, mz_plan* plan) {
  if (!t->n_pending) t->pending[t->n_pending++] = t->last, t->cached -= 1;  // the last token speaks again
  if (t->weighing) return mz_plan_weighing(c, s, t, flags, plan);
  const int room = mz_hole_stop(c, t->row) - t->row - 1;
  int n_judged = t->n_drafted < c->judge_rows ? t->n_drafted : c->judge_rows;
  n_judged = n_judged < room ? n_judged : room;
  int32_t window[MZ_MAX_ROWS];
  const int n_window = mz_window(c, s, t, window);
  const int fits = t->n_pending + n_judged + n_window <= MZ_MAX_ROWS;
  plan->start = t->cached, plan->n_wanted = 0;
  plan->decided = fits ? t->n_pending : t->n_pending - 1;
  plan->n_context = fits ? t->n_pending + n_judged : t->n_pending - 1;
  plan->n_canvas = fits ? n_window : 0;
  for (int i = 0; i < plan->decided; ++i) plan->ids[i] = t->pending[i];
  if (!fits) return;
  for (int i = 0; i <= n_judged; ++i) {  // each row's rule as token by token would have it
    mz_want(plan, t->n_pending - 1 + i, t->row + i, 0, mz_row_rule(c, s, flags, t->row + i));
    if (i < n_judged) s->ids[t->row + i] = plan->ids[t->n_pending + i] = t->drafted[i];
  }
  for (int i = 0; i < n_judged; ++i) s->ids[t->row + i] = c->mask_id;
  for (int i = 0; i < n_window; ++i) {
    plan->ids[plan->n_context + i] = window[i];
    mz_want(plan, plan->n_context + i, t->row + i, 0, mz_row_rule(c, s, flags, t->row + i));
  }
}

MZ_HD int mz_row_ends(mz_row row) { return row.end >= row.probability; }

// Writes `token` at the next row; the end, or a token that closes its line, settles the rest of its hole.
MZ_HD void mz_decide(const mz_control* c, mz_canvas* s, mz_stream* t, const uint8_t* flags, int32_t token,
                     float probability) {
  const int hole = mz_hole_of(c, t->row), settles = token == c->end_id || mz_closes(c, flags, hole, token);
  const int stop = settles ? c->hole_stop[hole] : t->row + 1;
  for (; t->row < stop; ++t->row, token = c->end_id) s->ids[t->row] = token, s->probability[t->row] = probability;
}

// Decides rows from the left: those drafted tokens that the causal rows say, and one more. How many tokens of text,
// written to `decided`; `accepted`: how many drafted ones held.
MZ_HD int mz_judge(const mz_control* c, mz_canvas* s, mz_stream* t, const uint8_t* flags, const mz_row* rows, int n_judged,
                   int32_t* decided, int* accepted) {
  const int first = t->row;
  for (int i = 0;; ++i) {
    const int ends = mz_row_ends(rows[i]) && !(t->row == 0 && mz_has_head(c, flags));  // there it is the head's chance
    const int32_t token = ends ? c->end_id : rows[i].best;
    *accepted = i;
    mz_decide(c, s, t, flags, token, ends ? rows[i].end : rows[i].probability);
    if (ends) return i;
    decided[i] = token;
    if (i == n_judged || token != t->drafted[i]) return i + 1;
    if (t->row > first + i + 1) return *accepted = i + 1;  // the token closed its line
  }
}

// The next draft: the rest of the last one as long as it holds, else what the canvas `rows` (from row `first` on) say,
// where they say what was decided last, for the rows behind stand on it.
MZ_HD void mz_next_draft(const mz_control* c, mz_stream* t, const mz_row* rows, int n_window, int first, int n_judged,
                         int accepted, const int32_t* decided, int n_decided) {
  const int rest = t->n_drafted - n_judged, hole_stop = mz_hole_stop(c, t->row);
  const int goes_on = n_decided > 0 && n_decided == t->row - first && t->row != hole_stop, last = n_decided - 1;
  if (goes_on && accepted == n_judged && rest > 0 && t->drafted[n_judged] == decided[last]) {
    for (int i = 0; i + 1 < rest; ++i) t->drafted[i] = t->drafted[n_judged + 1 + i];
    t->n_drafted = rest - 1;
    return;
  }
  t->n_drafted = 0, t->drafter = MZ_BY_CANVAS;
  const int stop = n_window < hole_stop - first ? n_window : hole_stop - first;
  if (!goes_on || last >= stop || mz_row_ends(rows[last]) || rows[last].best != decided[last]) return;
  for (int i = last + 1; i < stop && !mz_row_ends(rows[i]) && rows[i].probability >= c->draft_above; ++i)
    t->drafted[t->n_drafted++] = rows[i].best;
}

// Whether the canvas goes on. A pass is in vain where it accepts none of the canvas's tokens and judges no first draft.
MZ_HD void mz_rest(const mz_control* c, mz_stream* t, int n_window, int n_judged, int accepted, int n_decided) {
  if (t->drafter == MZ_BY_CANVAS && accepted) t->in_vain = t->resting = 0;
  else if (n_window && (t->drafter != MZ_BY_START || !n_judged)) t->in_vain += 1;
  t->resting = t->resting > n_decided ? t->resting - n_decided : 0;
  if (c->patience && t->in_vain >= c->patience) t->in_vain = 0, t->resting = c->rest;
}

// Undecided rows hold what the canvas says up to where it would end the hole, ends behind.
MZ_HD void mz_guess_stream(const mz_control* c, const mz_canvas* s, mz_stream* t, const mz_row* rows, int n_window,
                           int first) {
  for (int row = 0; row < c->n_rows; ++row) t->guess[row] = mz_masked(c, s, row) ? c->end_id : s->ids[row];
  for (int h = 0; h < c->n_holes; ++h)
    for (int row = c->hole_start[h]; row < c->hole_stop[h]; ++row) {
      const int at = row - first;
      if (!mz_masked(c, s, row) || at < 0 || at >= n_window) continue;
      if (mz_row_ends(rows[at])) break;
      t->guess[row] = rows[at].best;
    }
}

// The draft of what is decided now; whether it is the last.
MZ_HD int mz_draft_stream(const mz_control* c, const mz_canvas* s, const mz_stream* t, int late, mz_draft* out) {
  out->step = s->step;
  out->late = late && !mz_stream_done(c, t);
  out->done = late || mz_stream_done(c, t) || mz_unsure(c, s);
  out->cached = t->cached;
  for (int row = 0; row < c->n_rows; ++row)
    out->ids[row] = s->ids[row], out->guess[row] = t->guess[row], out->probability[row] = s->probability[row];
  return out->done;
}

// Moves the first `n` tokens of the pass into the cache; `rest` are pending then.
MZ_HD void mz_keep(mz_stream* t, const mz_plan* plan, int n, const int32_t* rest, int n_rest) {
  t->cached += n;
  t->last = plan->ids[n - 1];
  for (int i = 0; i < n_rest; ++i) t->pending[i] = rest[i];
  t->n_pending = n_rest;
}

// Decides the first row behind a pass that looked at what would follow the head. Of the draft stays what goes on there.
MZ_HD void mz_weigh_head(const mz_control* c, mz_canvas* s, mz_stream* t, const uint8_t* flags, const mz_plan* plan,
                         const mz_row* rows) {
  const float with_head = rows[0].end * rows[1].end, without = 1 - rows[0].end, both = with_head + without;
  const int is_head = with_head > without, goes_on = is_head && t->n_drafted && t->drafted[0] == c->head;
  const float best = without > 0 ? rows[0].probability / without : 0;
  const int32_t token = is_head ? c->head : rows[0].best;
  mz_decide(c, s, t, flags, token, is_head ? with_head / both : best * without / both);
  mz_keep(t, plan, plan->decided + is_head, &token, !is_head);
  t->n_drafted = goes_on ? t->n_drafted - 1 : 0;
  for (int i = 0; i < t->n_drafted; ++i) t->drafted[i] = t->drafted[i + 1];
  t->weighing = 0;
}

// Everything behind a pass of the verdict loop; `rows` are those of its wanted rows. `out` is written, and 1 returned
// where it is the last draft, unless the pass only filled the cache.
MZ_HD int mz_commit_verdict(const mz_control* c, mz_canvas* s, mz_stream* t, const uint8_t* flags, const mz_plan* plan,
                            const mz_row* rows, mz_draft* out) {
  s->step += 1;
  if (!plan->n_wanted) {
    const int32_t speaks = t->pending[plan->n_context];
    mz_keep(t, plan, plan->n_context, &speaks, 1);
    return 0;
  }
  if (t->weighing || (t->row == 0 && mz_has_head(c, flags) && rows[0].end > 0.5f)) {
    if (t->weighing) mz_weigh_head(c, s, t, flags, plan, rows);
    else mz_keep(t, plan, plan->decided, 0, 0), t->weighing = 1;
    mz_guess_stream(c, s, t, rows, 0, 0);
    mz_skip_fixed(c, t);
    mz_draft_looked_up(c, s, t);
    return mz_draft_stream(c, s, t, 0, out);
  }
  const int n_judged = plan->n_context - plan->decided, first = t->row;
  const mz_row* canvas = rows + n_judged + 1;
  int32_t decided[MZ_MAX_ROWS];
  int accepted;
  const int n_decided = mz_judge(c, s, t, flags, rows, n_judged, decided, &accepted);
  mz_rest(c, t, plan->n_canvas, n_judged, accepted, n_decided);
  mz_keep(t, plan, plan->decided + accepted, decided + accepted, n_decided - accepted);
  mz_next_draft(c, t, canvas, plan->n_canvas, first, n_judged, accepted, decided, n_decided);
  mz_guess_stream(c, s, t, canvas, plan->n_canvas, first);
  mz_skip_fixed(c, t);
  mz_draft_looked_up(c, s, t);
  return mz_draft_stream(c, s, t, 0, out);
}

// ---- What is refused, on the host: the message, or null for a control that may be. `capacity`: of the cache, in tokens.

static inline int mz_is_finite(float x) { return x - x == 0; }

static inline int mz_bad_id(const mz_shape* shape, int32_t id) { return id < 0 || id >= shape->vocab_size; }

static inline const char* mz_check_rows(const mz_control* c, const mz_shape* shape) {
  if (c->n_rows < 1 || c->n_rows > MZ_MAX_ROWS) return "a canvas has 1 to 128 rows";
  if (c->n_holes < 1 || c->n_holes > MZ_MAX_HOLES) return "a canvas has 1 to 8 holes";
  for (int h = 0, last = 0; h < c->n_holes; last = c->hole_stop[h++])
    if (c->hole_start[h] < last || c->hole_stop[h] <= c->hole_start[h] || c->hole_stop[h] > c->n_rows)
      return "holes must be ascending rows of the canvas";
  if (mz_bad_id(shape, c->end_id) || (c->mask_id != MZ_NONE && mz_bad_id(shape, c->mask_id)))
    return "a token id that is not in the vocabulary";
  for (int row = 0; row < c->n_rows; ++row) {
    if (c->ids[row] != c->mask_id && mz_bad_id(shape, c->ids[row])) return "a token id that is not in the vocabulary";
    if (!(c->probability[row] >= 0 && c->probability[row] <= 1)) return "probabilities must be 0 to 1";
    if (!c->fixed[row] && mz_hole_stop(c, row) == row) return "rows outside the holes must be fixed";
    if (c->fixed[row] && mz_bad_id(shape, c->ids[row])) return "a token id that is not in the vocabulary";
  }
  return 0;
}

static inline const char* mz_check_threshold(const mz_control* c) {
  if (c->max_steps < 1 || c->max_steps > 4096) return "max_steps must be 1 to 4096";
  if (c->max_revisions < 0) return "max_revisions must not be negative";
  if (!mz_is_finite(c->threshold) || !mz_is_finite(c->revise_below)) return "thresholds must be finite";
  if (c->mask_id == MZ_NONE) return "a canvas needs a mask";
  return 0;
}

static inline const char* mz_check_verdict(const mz_control* c, const mz_shape* shape) {
  if (c->judge_rows < 0 || c->canvas_rows < 0 || c->judge_rows > MZ_MAX_ROWS || c->canvas_rows > MZ_MAX_ROWS ||
      c->judge_rows + c->canvas_rows >= MZ_MAX_ROWS)
    return "judge_rows and canvas_rows must be 0 to 127 together";
  if (c->patience < 0 || c->rest < 0) return "patience and rest must not be negative";
  if (c->mask_id == MZ_NONE && c->canvas_rows) return "a canvas needs a mask";
  if (!mz_is_finite(c->draft_above)) return "thresholds must be finite";
  if (shape->context_sees != 1) return "only a model whose context is causal judges drafts";
  if (mz_bad_id(shape, c->last_id) || mz_bad_id(shape, c->head)) return "a token id that is not in the vocabulary";
  for (int row = 0; row < c->n_rows; ++row)
    if (mz_hole_stop(c, row) != row && (c->fixed[row] || c->ids[row] != c->mask_id))
      return "holes must be blank where drafts are judged";
  if (c->n_drafted < 0 || c->n_drafted > c->hole_stop[0] - c->hole_start[0]) return "a draft must fit the first hole";
  for (int i = 0; i < c->n_drafted; ++i)
    if (mz_bad_id(shape, c->drafted[i])) return "a token id that is not in the vocabulary";
  if (c->look_up < 0 || c->look_up > MZ_LONGEST_MATCH) return "look_up must be 0 to 8";
  if (c->n_history < 0 || c->n_history > MZ_HISTORY) return "the history holds up to 1024 tokens";
  for (int i = 0; i < c->n_history; ++i)
    if (mz_bad_id(shape, c->history[i])) return "a token id that is not in the vocabulary";
  return 0;
}

static inline const char* mz_check_control(const mz_control* c, const mz_shape* shape, int64_t n_context,
                                           int64_t capacity) {
  const char* fault = mz_check_rows(c, shape);
  if (!fault) fault = c->verdict ? mz_check_verdict(c, shape) : mz_check_threshold(c);
  if (fault) return fault;
  if (!mz_is_finite(c->temperature) || c->temperature < 0) return "the temperature must not be negative";
  if (!mz_is_finite(c->stop_below)) return "stop_below must be finite";
  if (n_context < 0 || n_context + c->n_rows + (c->verdict ? c->judge_rows : 0) > capacity)
    return "rows that do not fit the cache";
  if (!n_context && (c->verdict || shape->flags & MZ_SHIFT)) return "there must be a token in front of the canvas";
  return 0;
}
