// What a run keeps on the device, and the memory that it shares with the host.
#pragma once

#include "kernels/device.cuh"

// The forward pass at hand. Every kernel reads it, so a captured step serves all lengths.
typedef struct {
  int32_t stop;  // the run has ended: return at once
  mz_plan plan;
} mz_pass;

typedef struct {
  mz_control control;
  mz_canvas canvas;
  mz_stream stream;
  mz_row found[MZ_MAX_ROWS];  // of the plan's wanted rows
  mz_draft* drafts;           // the host's memory; each has a place of its own, so none is ever overwritten
  int32_t n_drafts;           // written so far
  uint64_t started_ns;
} mz_loop;

// Pinned host memory, mapped into the device. One word per line of 128 bytes.
typedef struct {
  uint32_t passes, pad0[31];   // forward passes that ran so far
  uint32_t written, pad1[31];  // drafts so far
  uint32_t ended, pad2[31];    // no more will come
  uint32_t cancel, pad3[31];   // by the host
} mz_ring;

MZ_HD int mz_n_rows(const mz_plan* plan) { return plan->n_context + plan->n_canvas; }

// Where a row stands in the text: canvas rows follow the decided ones, one earlier where the model shifts.
MZ_HD int mz_position(const mz_plan* plan, int row, int shift) {
  return plan->start + (row < plan->n_context ? row : plan->decided + row - plan->n_context - shift);
}
