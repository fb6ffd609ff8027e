// Everything that is done to numbers in a forward pass, for one instruction set (MZ_VARIANT, by compiler flags).
//
// Rule: plain loops that compilers turn into vector code; only the matrix products (tiles.h) are written by hand.
#include "kernels.h"

#include <string.h>

#include "tiles.h"

#define SIMD _Pragma("omp simd")
#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)

namespace {

inline uint32_t bits_of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  return bits;
}

inline float float_of(uint32_t bits) {
  float x;
  memcpy(&x, &bits, 4);
  return x;
}

// Adding 1.5 * 2^23 leaves x rounded to the nearest integer, halves to even, in the lowest bits.
constexpr float ROUNDER = 12582912.0f;
constexpr uint32_t ROUNDER_BITS = 0x4B400000;
constexpr float LOG2_E = 1.44269504f;

// a b + c, in one rounding where the processor has that.
inline float multiply_add(float a, float b, float c) {
#if defined(__FMA__) || defined(__aarch64__)
  return __builtin_fmaf(a, b, c);
#else
  return a * b + c;
#endif
}

// 2^x for x <= 127, relative error 1e-7; tiny instead of 0 far below.
inline float exp2_fast(float x) {
  x = x < -125.0f ? -125.0f : x;
  const float rounded = x + ROUNDER, f = x - (rounded - ROUNDER);
  float p = 1.5353362e-4f;
  p = multiply_add(p, f, 1.3398874e-3f);
  p = multiply_add(p, f, 9.6184373e-3f);
  p = multiply_add(p, f, 5.5503324e-2f);
  p = multiply_add(p, f, 2.4022648e-1f);
  p = multiply_add(p, f, 6.9314720e-1f);
  p = multiply_add(p, f, 1.0f);
  return float_of(bits_of(p) + (bits_of(rounded) << 23));  // the whole part, added to the exponent
}

inline float exp_fast(float x) { return exp2_fast(x * LOG2_E); }

inline uint16_t round_bf16(float x) {
  const uint32_t bits = bits_of(x);
  return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

void gemm_int8(const uint8_t* x, const float* x_scale, int rows, const mz_int8* w, int first, int last, float* out,
               int64_t ldo, int add) {
  const Int8Tile all = {x, w->k, x_scale, w->panels, w->k, w->scale, w->bias_sum, out, ldo, add, w->panels};
  run_all(all, rows, first, last);
}

void gemm_bf16(const uint16_t* x, int64_t ldx, int rows, const mz_bf16* w, int first, int last, float* out,
               int64_t ldo, int add) {
  const Bf16Tile all = {x, ldx, w->panels, w->stride, w->k, out, ldo, add};
  run_all(all, rows, first, last);
}

// In parts of K whose sums are exact.
void gemm_int16(const int16_t* x, int64_t ldx, const float* x_scale, int rows, const mz_int16* w, int first, int last,
                float* out, int64_t ldo) {
  for (int from = 0; from < w->k; from += MZ_MIX_PART) {
    const int k = w->k - from < MZ_MIX_PART ? w->k - from : MZ_MIX_PART;
    const Int16Tile all = {x + from, ldx, x_scale, w->panels + (int64_t)from * MZ_PANEL, w->stride, k, w->scale, out, ldo,
                           from > 0};
    run_all(all, rows, first, last);
  }
}

void from_bf16(const uint16_t* __restrict x, int n, float* __restrict out) {
  SIMD for (int i = 0; i < n; ++i) out[i] = float_of((uint32_t)x[i] << 16);
}

void to_bf16(const float* __restrict x, int n, uint16_t* __restrict out) {
  SIMD for (int i = 0; i < n; ++i) out[i] = round_bf16(x[i]);
}

inline float largest_size(const float* __restrict x, int n) {
  float largest = 0;
#pragma omp simd reduction(max : largest)
  for (int i = 0; i < n; ++i) {
    const float size = float_of(bits_of(x[i]) & 0x7FFFFFFF);
    largest = size > largest ? size : largest;
  }
  return largest;
}

void quantise(const float* __restrict x, int n, uint8_t* __restrict out, float* scale) {
  const float largest = largest_size(x, n), by = largest > 0 ? 127.0f / largest : 0;
  SIMD for (int i = 0; i < n; ++i) out[i] = (uint8_t)(bits_of(x[i] * by + ROUNDER) + BIAS);
  for (int i = n; i % 4; ++i) out[i] = BIAS;
  *scale = largest / 127.0f;
}

inline void to_int16(const float* __restrict x, float by, int n, int16_t* __restrict out) {
  SIMD for (int i = 0; i < n; ++i) out[i] = (int16_t)bits_of(x[i] * by + ROUNDER);
}

void quantise16(const float* __restrict x, int n, int most, int16_t* __restrict out, float* scale) {
  const float largest = largest_size(x, n);
  to_int16(x, largest > 0 ? (float)most / largest : 0, n, out);
  *scale = largest / (float)most;
}

void rms_norm(const float* x, const float* gain, float eps, int n, float* out) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int i = 0; i < n; ++i) sum += x[i] * x[i];
  const float by = 1.0f / __builtin_sqrtf(sum / (float)n + eps);
  SIMD for (int i = 0; i < n; ++i) out[i] = x[i] * by * gain[i];
}

void add(const float* __restrict x, int n, float* __restrict out) {
  SIMD for (int i = 0; i < n; ++i) out[i] += x[i];
}

void silu_mul(const float* __restrict gate, const float* __restrict up, int n, float* __restrict out) {
  SIMD for (int i = 0; i < n; ++i) {
    const float g = gate[i], e = exp_fast(-float_of(bits_of(g) & 0x7FFFFFFF));  // of -|g|: it cannot overflow
    out[i] = (g < 0 ? g * e : g) / (1 + e) * up[i];
  }
}

void rotate(const float* __restrict x, const float* __restrict cos, const float* __restrict sin, int half,
            float* __restrict out) {
  SIMD for (int i = 0; i < half; ++i) {
    out[i] = x[i] * cos[i] - x[half + i] * sin[i];
    out[half + i] = x[half + i] * cos[i] + x[i] * sin[i];
  }
}

inline float largest_of(const float* __restrict s, int n, float max) {
#pragma omp simd reduction(max : max)
  for (int i = 0; i < n; ++i) max = s[i] > max ? s[i] : max;
  return max;
}

// s = 2^(s - max) times `by`; adds to the sum of the powers, and finds the largest product.
inline void powers(float* __restrict s, float max, const float* __restrict by, int n, float* sum, float* largest) {
  float sum_here = 0, largest_here = *largest;
#pragma omp simd reduction(+ : sum_here) reduction(max : largest_here)
  for (int i = 0; i < n; ++i) {
    const float e = exp2_fast(s[i] - max), product = e * by[i];
    sum_here += e;
    largest_here = product > largest_here ? product : largest_here;
    s[i] = product;
  }
  *sum += sum_here, *largest = largest_here;
}

float softmax(float* __restrict s, mz_seen seen, int n_padded, const float* __restrict value_scale, int16_t* __restrict p) {
  const int start = seen.second_start, n = seen.stop - start;
  const float max = largest_of(s + start, n, largest_of(s, seen.first_stop, -INFINITY));
  float sum = 0, largest = 0;
  powers(s, max, value_scale, seen.first_stop, &sum, &largest);
  powers(s + start, max, value_scale + start, n, &sum, &largest);
  const float by = largest > 0 ? MZ_WEIGHT_MOST / largest : 0;
  to_int16(s, by, seen.first_stop, p);
  to_int16(s + start, by, n, p + start);
  memset(p + seen.first_stop, 0, (start - seen.first_stop) * sizeof *p);
  memset(p + seen.stop, 0, (n_padded - seen.stop) * sizeof *p);
  return largest / MZ_WEIGHT_MOST / sum;
}

// Natural logarithm of a positive, normal number, relative error 2e-7 (Cephes).
inline float log_fast(float x) {
  const int32_t at = (int32_t)(bits_of(x) - 0x3F3504F3);  // behind the square root of a half
  const float f = float_of((uint32_t)(at & 0x7FFFFF) + 0x3F3504F3) - 1.0f, square = f * f;
  float p = 7.0376836e-2f;
  p = multiply_add(p, f, -1.1514610e-1f);
  p = multiply_add(p, f, 1.1676999e-1f);
  p = multiply_add(p, f, -1.2420141e-1f);
  p = multiply_add(p, f, 1.4249323e-1f);
  p = multiply_add(p, f, -1.6668058e-1f);
  p = multiply_add(p, f, 2.0000715e-1f);
  p = multiply_add(p, f, -2.4999994e-1f);
  p = multiply_add(p, f, 3.3333331e-1f);
  const float whole = multiply_add((float)(at >> 23), 6.9314718e-1f, -0.5f * square);
  return multiply_add(f * square, p, whole) + f;
}

void add_noise(float* __restrict logits, int n, int first_id, float temperature, uint64_t seed, int step, int row) {
  SIMD for (int i = 0; i < n; ++i) {
    const uint32_t bits = mz_philox(seed, (uint32_t)step, (uint32_t)row, (uint32_t)(first_id + i));
    const float uniform = ((float)(int32_t)(bits >> 8) + 0.5f) * (1.0f / 16777216.0f);
    logits[i] = logits[i] / temperature - log_fast(-log_fast(uniform));
  }
}

// 1 where the rule allows the token.
inline int allowed(mz_rule rule, uint32_t all, uint32_t also_all, uint32_t flags) {
  return ((flags & rule.forbid) == 0) & (((flags | all) & (rule.need | all)) != 0) &
         (((flags | also_all) & (rule.also_need | also_all)) != 0);
}

mz_stat add_piece(mz_stat so_far, const float* __restrict logits, const uint8_t* __restrict flags, int n,
                  int first_id, mz_rule rule, int own) {
  const uint32_t all = rule.need ? 0 : 256, also_all = rule.also_need ? 0 : 256;  // a flag that every token has
  float max = -INFINITY, best = -INFINITY;
#pragma omp simd reduction(max : max, best)
  for (int i = 0; i < n; ++i) {
    const float x = allowed(rule, all, also_all, flags[i]) ? logits[i] : -INFINITY;
    const float text = flags[i] & rule.ends ? -INFINITY : x;
    max = x > max ? x : max;
    best = text > best ? text : best;
  }
  if (max == -INFINITY) return so_far;
  float sum = 0, weighted = 0, end_sum = 0;
#pragma omp simd reduction(+ : sum, weighted, end_sum)
  for (int i = 0; i < n; ++i) {
    const int counts = allowed(rule, all, also_all, flags[i]) & (logits[i] > -INFINITY);
    const float d = counts ? logits[i] - max : 0, e = counts ? exp_fast(d) : 0;
    sum += e;
    weighted += d * e;
    end_sum += flags[i] & rule.ends ? e : 0;
  }
  mz_stat here = {max, sum, weighted, end_sum, -INFINITY, -INFINITY, -1};
  if (best > -INFINITY && (so_far.best_id < 0 || best > so_far.best)) {  // ids ascend: of equals the earlier stays
    int at = n;
#pragma omp simd reduction(min : at)
    for (int i = 0; i < n; ++i) {
      const int is = allowed(rule, all, also_all, flags[i]) & !(flags[i] & rule.ends) & (logits[i] == best);
      const int index = is ? i : n;
      at = index < at ? index : at;
    }
    here.best = best;
    here.best_id = first_id + at;
  }
  const int mine = own - first_id;
  if (mine >= 0 && mine < n && allowed(rule, all, also_all, flags[mine])) here.own = logits[mine];
  return mz_stat_merge(so_far, here);
}

// In pieces, for the sums to stay small: what is small beside a float sum is lost.
mz_stat stats(mz_stat so_far, const float* logits, const uint8_t* flags, int n, int first_id, mz_rule rule, int own) {
  constexpr int PIECE = 512;
  for (int i = 0; i < n; i += PIECE)
    so_far = add_piece(so_far, logits + i, flags + i, n - i < PIECE ? n - i : PIECE, first_id + i, rule, own);
  return so_far;
}

}  // namespace

extern const mz_kernels JOIN(mz_kernels_, MZ_VARIANT) = {
    BIAS,       gemm_int8, gemm_bf16, gemm_int16, from_bf16, to_bf16, quantise,
    quantise16, rms_norm,  add,       silu_mul,   rotate,    softmax, add_noise, stats,
};
