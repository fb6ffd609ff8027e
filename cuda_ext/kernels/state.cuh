// What a run keeps on the device, and the memory that it shares with the host.
#pragma once

#include "kernels/device.cuh"

#define MZ_MAX_STEPS 256  // drafts of a run; each has a place of its own, so none is ever overwritten

// The rows of the forward pass at hand. Every kernel reads it, so a captured step serves all lengths.
typedef struct {
  int32_t stop;    // the run has ended: return at once
  int32_t start;   // tokens in the cache in front of the rows
  int32_t n_rows;
  int32_t causal;  // context rows, else canvas rows
  int32_t ids[MZ_MAX_ROWS];
} mz_pass;

typedef struct {
  mz_control control;
  mz_canvas canvas;
  mz_row rows[MZ_MAX_ROWS];
  mz_rule rules[MZ_MAX_ROWS];    // of the listed rows
  int32_t listed[MZ_MAX_ROWS];   // canvas rows whose statistics this step needs
  int32_t n_listed;
  int32_t autoregressive;        // decoding token by token
  uint64_t started_ns;
} mz_loop;

// Pinned host memory, mapped into the device. One word per line of 128 bytes.
typedef struct {
  uint32_t written, pad0[31];  // drafts so far
  uint32_t ended, pad1[31];    // no more will come
  uint32_t cancel, pad2[31];   // by the host
  mz_draft drafts[MZ_MAX_STEPS];
} mz_ring;
