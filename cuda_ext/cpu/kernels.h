// The arithmetic of one forward pass as a table of functions, one table per instruction set.
//
// Rule: `kernels.cpp` is compiled once for each of them, so it includes no STL and everything in it but its table is
// local: the linker must never keep one set's copy of a shared function for another. Panels are 16 output columns:
// int8 [K/4][16][4], bf16 and int16 [K/2][16][2], so that one load feeds one dot-product instruction.
#pragma once

#include <stdint.h>

#include "mezzotint/core.h"

#define MZ_PANEL 16

// Rows of int8 weights. `scale` and `bias_sum` have an entry per output column.
typedef struct {
  const int8_t* panels;
  const float* scale;
  const int32_t* bias_sum;  // what the bias of the activations adds to the integer sum
  int32_t k;                // padded to 4
} mz_int8;

// Rows of bf16 weights; `stride` (words) is from panel to panel.
typedef struct {
  const uint16_t* panels;
  int64_t stride;
  int32_t k;  // padded to 2
} mz_bf16;

// What attention multiplies with: int16, with a scale per column, or null. Sums are exact in 32 bits over parts of K.
typedef struct {
  const int16_t* panels;
  int64_t stride;  // from panel to panel
  int32_t k;       // padded to 2
  const float* scale;
} mz_int16;

// Attention multiplies integers: it takes half the time of floats, and what is lost is less than bf16 loses. Sums over
// MZ_MIX_PART slots are exact: MZ_MIX_PART * MZ_WEIGHT_MOST * MZ_VALUE_MOST < 2^31.
#define MZ_MIX_PART 256
#define MZ_WEIGHT_MOST 16383
#define MZ_VALUE_MOST 511

// Which cache slots a row sees: those before `first_stop`, and [second_start, stop). first_stop <= second_start <= stop.
typedef struct {
  int32_t first_stop, second_start, stop;
} mz_seen;

typedef struct {
  int32_t bias;  // added to int8 activations, to make them unsigned where the instruction wants that

  // out[r][16 p + c] (+)= x[r] . w for panels [first, last); `out` points to column 16 * first, `x` has rows of `ldx`.
  void (*gemm_int8)(const uint8_t* x, const float* x_scale, int rows, const mz_int8* w, int first, int last,
                    float* out, int64_t ldo, int add);
  void (*gemm_bf16)(const uint16_t* x, int64_t ldx, int rows, const mz_bf16* w, int first, int last, float* out,
                    int64_t ldo, int add);
  void (*gemm_int16)(const int16_t* x, int64_t ldx, const float* x_scale, int rows, const mz_int16* w, int first, int last,
                     float* out, int64_t ldo);

  void (*from_bf16)(const uint16_t* x, int n, float* out);
  void (*to_bf16)(const float* x, int n, uint16_t* out);
  void (*quantise)(const float* x, int n, uint8_t* out, float* scale);  // to int8 + bias; n padded to 4 in `out`
  void (*quantise16)(const float* x, int n, int most, int16_t* out, float* scale);  // to integers of that size at most
  void (*rms_norm)(const float* x, const float* gain, float eps, int n, float* out);
  void (*add)(const float* x, int n, float* out);                                // out += x
  void (*silu_mul)(const float* gate, const float* up, int n, float* out);       // out = silu(gate) up
  void (*rotate)(const float* x, const float* cos, const float* sin, int half, float* out);  // RoPE
  // p = 2^(s - max) over the scores seen, times the scale of each slot's values, in integers up to MZ_WEIGHT_MOST, 0 for
  // the others up to n_padded; returns what an integer is worth in a mean of values. `s` is written over.
  float (*softmax)(float* s, mz_seen seen, int n_padded, const float* value_scale, int16_t* p);
  // logits = logits / temperature + mz_gumbel of tokens first_id, first_id + 1, ...
  void (*add_noise)(float* logits, int n, int first_id, float temperature, uint64_t seed, int step, int row);
  // Adds the logits of tokens first_id, first_id + 1, ... to the statistics of a row that holds `own`.
  mz_stat (*stats)(mz_stat so_far, const float* logits, const uint8_t* flags, int n, int first_id, mz_rule rule,
                   int own);
} mz_kernels;

extern const mz_kernels mz_kernels_portable;
#if defined(__x86_64__)
extern const mz_kernels mz_kernels_avx2, mz_kernels_vnni, mz_kernels_vnni_bf16;
#elif defined(MZ_DOTPROD)
extern const mz_kernels mz_kernels_dotprod;
#endif

typedef struct {
  const char* name;
  const mz_kernels* kernels;
} mz_isa;

// The fastest instruction set of this processor, or the one that MEZZOTINT_ISA names: "portable", "avx2", "vnni",
// "vnni+bf16", on ARM "dotprod". A name that is unknown or that this processor lacks is passed over.
mz_isa mz_pick_isa(void);
