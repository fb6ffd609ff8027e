// What every kernel includes: the machine, real or emulated, and the numbers and layouts that all kernels share.
//
// Rule: a kernel has no launch syntax and no assembly, so that emu/ can run it on a CPU. Matrices lie in global memory
// the way the matrix units take them ("packed"): a warp's lanes read 16 bytes each and these are its registers.
#pragma once

#ifdef MZ_EMULATED
#include "emu/cuda.h"
#else
#include "kernels/ptx.cuh"
#endif

#include "mezzotint/core.h"

// ---- bfloat16, as its 16 bits

MZ_HD float mz_to_float(uint16_t bits) {
  union {
    uint32_t word;
    float value;
  } u;
  u.word = (uint32_t)bits << 16;
  return u.value;
}

// To nearest, ties to even, for finite values.
MZ_HD uint16_t mz_to_bf16(float value) {
  union {
    float value;
    uint32_t word;
  } u;
  u.value = value;
  return (uint16_t)((u.word + 0x7FFF + (u.word >> 16 & 1)) >> 16);
}

MZ_HD uint32_t mz_pair(float low, float high) { return mz_to_bf16(low) | (uint32_t)mz_to_bf16(high) << 16; }

// ---- Packed matrices: tiles of 16 rows by 16 columns, 512 bytes each, the tiles of a row of tiles one after another.
// Weights are the first factor of an mma (16 output rows), activations the second (16 canvas rows, as two times 8).

// Where element (row, column) lies, in 16-bit words; the two differ in the order of the middle two registers.
MZ_HD size_t mz_packed_weight(int row, int column, int k_steps) {
  const size_t tile = (size_t)(row / 16) * k_steps + column / 16;
  const int lane = row % 8 * 4 + column % 8 / 2, word = row % 16 / 8 + column % 16 / 8 * 2;
  return (tile * 32 + lane) * 8 + word * 2 + column % 2;
}

MZ_HD size_t mz_packed_row(int row, int column, int k_steps) {
  const size_t tile = (size_t)(row / 16) * k_steps + column / 16;
  const int lane = row % 8 * 4 + column % 8 / 2, word = row % 16 / 8 * 2 + column % 16 / 8;
  return (tile * 32 + lane) * 8 + word * 2 + column % 2;
}

// ---- Sums over a block

MZ_DEVICE float mz_warp_sum(float value) {
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(0xFFFFFFFFu, value, step);
  return value;
}

// Of all threads, for all threads; `scratch` has a float per warp.
MZ_DEVICE float mz_block_sum(float value, float* scratch) {
  value = mz_warp_sum(value);
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = value;
  __syncthreads();
  float total = 0;
  for (unsigned warp = 0; warp < blockDim.x / 32; ++warp) total += scratch[warp];
  __syncthreads();
  return total;
}

// Whether this block is the last of `n_blocks` to come here; the others' writes are then visible. The counter is left
// at 0 for the next launch.
MZ_DEVICE bool mz_last_block(int* counter, int n_blocks, int* scratch) {
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    *scratch = atomicAdd(counter, 1) == n_blocks - 1;
    if (*scratch) *counter = 0;
  }
  __syncthreads();
  __threadfence();
  return *scratch != 0;
}
