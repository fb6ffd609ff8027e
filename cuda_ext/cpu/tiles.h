// Register tiles of the matrix products: MR rows times NR panels of 16 columns, for the instruction set of this file.
// int8 and bf16 are for weights, int16 is for attention.
//
// Rule: sums stay in registers for all of K; every loop over the tile is unrolled (look at the assembly: no store). What a row comes to must not
// depend on the tile it is in: multiply-adds are written out, not left to the compiler.
#pragma once

#include <string.h>

#include "kernels.h"

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>
#endif

#define UNROLL _Pragma("GCC unroll 16")

namespace {

// What a tile reads and writes; `x` and `out` at its first row, `w` and the rest at its first panel.
struct Int8Tile {
  const uint8_t* x;
  int64_t ldx;
  const float* x_scale;
  const int8_t* w;
  int k;
  const float* w_scale;
  const int32_t* bias_sum;
  float* out;
  int64_t ldo;
  int add;
  const int8_t* ahead;  // a panel to be fetched meanwhile

  // The tile at a row and a panel; the panel's columns of `out` are those from 16 * to_panel on.
  Int8Tile at(int row, int panel, int to_panel, int ahead_by) const {
    return {x + row * ldx, ldx, x_scale + row, w + (int64_t)panel * k * MZ_PANEL, k, w_scale + (int64_t)panel * MZ_PANEL,
            bias_sum + (int64_t)panel * MZ_PANEL, out + row * ldo + to_panel * MZ_PANEL, ldo, add,
            w + (int64_t)(panel + ahead_by) * k * MZ_PANEL};
  }
  template <int MR, int NR>
  void run() const;
};

struct Bf16Tile {
  const uint16_t* x;
  int64_t ldx;
  const uint16_t* w;
  int64_t stride;
  int k;
  float* out;
  int64_t ldo;
  int add;

  Bf16Tile at(int row, int panel, int to_panel, int) const {
    return {x + row * ldx, ldx, w + panel * stride, stride, k, out + row * ldo + to_panel * MZ_PANEL, ldo, add};
  }
  template <int MR, int NR>
  void run() const;
};

// `w_scale` may be null: all 1. k is so small that no sum overflows.
struct Int16Tile {
  const int16_t* x;
  int64_t ldx;
  const float* x_scale;
  const int16_t* w;
  int64_t stride;
  int k;
  const float* w_scale;
  float* out;
  int64_t ldo;
  int add;

  Int16Tile at(int row, int panel, int to_panel, int) const {
    const float* scale = w_scale ? w_scale + (int64_t)panel * MZ_PANEL : nullptr;
    return {x + row * ldx, ldx, x_scale + row, w + panel * stride, stride, k, scale, out + row * ldo + to_panel * MZ_PANEL,
            ldo, add};
  }
  template <int MR, int NR>
  void run() const;
};

inline int32_t word(const void* p) {
  int32_t w;
  memcpy(&w, p, 4);
  return w;
}

#if defined(__AVX512VNNI__)

// Tall rather than wide: two panels of a usual depth stay in L1 for the next rows, four do not.
constexpr int MAX_ROWS = 12, MAX_PANELS = 2, BIAS = 128;

template <int MR, int NR>
void Int8Tile::run() const {
  __m512i sum[MR][NR], b[NR];
  UNROLL for (int i = 0; i < MR; ++i) UNROLL for (int j = 0; j < NR; ++j) sum[i][j] = _mm512_setzero_si512();
  for (int g = 0; g < k / 4; ++g) {
    UNROLL for (int j = 0; j < NR; ++j) b[j] = _mm512_loadu_si512(w + (int64_t)j * k * MZ_PANEL + g * 64);
    _mm_prefetch((const char*)ahead + g * 64, _MM_HINT_T1);
    UNROLL for (int i = 0; i < MR; ++i) {
      const __m512i a = _mm512_set1_epi32(word(x + i * ldx + 4 * g));
      UNROLL for (int j = 0; j < NR; ++j) sum[i][j] = _mm512_dpbusd_epi32(sum[i][j], a, b[j]);
    }
  }
  UNROLL for (int j = 0; j < NR; ++j) {
    const __m512i excess = _mm512_loadu_si512(bias_sum + j * MZ_PANEL);
    const __m512 by = _mm512_loadu_ps(w_scale + j * MZ_PANEL);
    UNROLL for (int i = 0; i < MR; ++i) {
      const __m512 y = _mm512_cvtepi32_ps(_mm512_sub_epi32(sum[i][j], excess));
      float* to = out + i * ldo + j * MZ_PANEL;
      const __m512 before = add ? _mm512_loadu_ps(to) : _mm512_setzero_ps();
      _mm512_storeu_ps(to, _mm512_fmadd_ps(y, _mm512_mul_ps(_mm512_set1_ps(x_scale[i]), by), before));
    }
  }
}

template <int MR, int NR>
void Int16Tile::run() const {
  __m512i sum[MR][NR], b[NR];
  UNROLL for (int i = 0; i < MR; ++i) UNROLL for (int j = 0; j < NR; ++j) sum[i][j] = _mm512_setzero_si512();
  for (int g = 0; g < k / 2; ++g) {
    UNROLL for (int j = 0; j < NR; ++j) b[j] = _mm512_loadu_si512(w + j * stride + g * 32);
    UNROLL for (int i = 0; i < MR; ++i) {
      const __m512i a = _mm512_set1_epi32(word(x + i * ldx + 2 * g));
      UNROLL for (int j = 0; j < NR; ++j) sum[i][j] = _mm512_dpwssd_epi32(sum[i][j], a, b[j]);
    }
  }
  UNROLL for (int j = 0; j < NR; ++j) {
    const __m512 by = w_scale ? _mm512_loadu_ps(w_scale + j * MZ_PANEL) : _mm512_set1_ps(1);
    UNROLL for (int i = 0; i < MR; ++i) {
      float* to = out + i * ldo + j * MZ_PANEL;
      const __m512 before = add ? _mm512_loadu_ps(to) : _mm512_setzero_ps();
      const __m512 y = _mm512_cvtepi32_ps(sum[i][j]);
      _mm512_storeu_ps(to, _mm512_fmadd_ps(y, _mm512_mul_ps(_mm512_set1_ps(x_scale[i]), by), before));
    }
  }
}

template <int MR, int NR>
inline void store(const __m512 (&sum)[MR][NR], float* out, int64_t ldo, int add) {
  UNROLL for (int i = 0; i < MR; ++i) {
    UNROLL for (int j = 0; j < NR; ++j) {
      float* to = out + i * ldo + j * MZ_PANEL;
      _mm512_storeu_ps(to, add ? _mm512_add_ps(_mm512_loadu_ps(to), sum[i][j]) : sum[i][j]);
    }
  }
}

#if defined(__AVX512BF16__)

template <int MR, int NR>
void Bf16Tile::run() const {
  __m512 sum[MR][NR];
  __m512i b[NR];
  UNROLL for (int i = 0; i < MR; ++i) UNROLL for (int j = 0; j < NR; ++j) sum[i][j] = _mm512_setzero_ps();
  for (int g = 0; g < k / 2; ++g) {
    UNROLL for (int j = 0; j < NR; ++j) b[j] = _mm512_loadu_si512(w + j * stride + g * 32);
    UNROLL for (int i = 0; i < MR; ++i) {
      const __m512i a = _mm512_set1_epi32(word(x + i * ldx + 2 * g));
      UNROLL for (int j = 0; j < NR; ++j) sum[i][j] = _mm512_dpbf16_ps(sum[i][j], (__m512bh)a, (__m512bh)b[j]);
    }
  }
  store<MR, NR>(sum, out, ldo, add);
}

#else

// Widens a part of the rows first, so that a number is broadcast by the load of its multiply-add. A bf16 is the upper
// half of a float: of a pair of weights, shift the even one up and mask the odd one.
template <int MR, int NR>
void Bf16Tile::run() const {
  constexpr int PART = 64;
  const __m512i upper = _mm512_set1_epi32((int)0xFFFF0000);
  alignas(64) float a[MR][PART];
  __m512 sum[MR][NR], half[NR];
  UNROLL for (int i = 0; i < MR; ++i) UNROLL for (int j = 0; j < NR; ++j) sum[i][j] = _mm512_setzero_ps();
  for (int from = 0; from < k; from += PART) {
    const int n = k - from < PART ? k - from : PART;
    for (int i = 0; i < MR; ++i)
      for (int c = 0; c < n; c += 16) {
        const __mmask16 there = (__mmask16)(n - c < 16 ? (1 << (n - c)) - 1 : 0xFFFF);
        const __m256i words = _mm256_maskz_loadu_epi16(there, x + i * ldx + from + c);
        _mm512_store_si512(a[i] + c, _mm512_slli_epi32(_mm512_cvtepu16_epi32(words), 16));
      }
    for (int g = 0; g < n; g += 2) {
      UNROLL for (int odd = 0; odd < 2; ++odd) {
        UNROLL for (int j = 0; j < NR; ++j) {
          const __m512i b = _mm512_loadu_si512(w + j * stride + (from + g) * 16);
          half[j] = _mm512_castsi512_ps(odd ? _mm512_and_si512(b, upper) : _mm512_slli_epi32(b, 16));
        }
        UNROLL for (int i = 0; i < MR; ++i) {
          const __m512 y = _mm512_set1_ps(a[i][g + odd]);
          UNROLL for (int j = 0; j < NR; ++j) sum[i][j] = _mm512_fmadd_ps(y, half[j], sum[i][j]);
        }
      }
    }
  }
  store<MR, NR>(sum, out, ldo, add);
}

#endif

#elif defined(__AVX2__)

constexpr int MAX_ROWS = 4, MAX_PANELS = 1, BIAS = 0;  // a panel is two registers wide

// maddubs wants one unsigned side: |w| x (x with the sign of w). At most 2 * 127 * 127, so it never saturates.
template <int MR, int NR>
void Int8Tile::run() const {
  static_assert(NR == 1, "sixteen registers");
  __m256i sum[MR][2];
  UNROLL for (int i = 0; i < MR; ++i) sum[i][0] = sum[i][1] = _mm256_setzero_si256();
  const __m256i ones = _mm256_set1_epi16(1);
  for (int g = 0; g < k / 4; ++g) {
    UNROLL for (int h = 0; h < 2; ++h) {
      const __m256i b = _mm256_loadu_si256((const __m256i*)(w + g * 64 + h * 32)), size = _mm256_abs_epi8(b);
      UNROLL for (int i = 0; i < MR; ++i) {
        const __m256i a = _mm256_sign_epi8(_mm256_set1_epi32(word(x + i * ldx + 4 * g)), b);
        sum[i][h] = _mm256_add_epi32(sum[i][h], _mm256_madd_epi16(_mm256_maddubs_epi16(size, a), ones));
      }
    }
  }
  UNROLL for (int i = 0; i < MR; ++i) {
    UNROLL for (int h = 0; h < 2; ++h) {
      const __m256 by = _mm256_mul_ps(_mm256_set1_ps(x_scale[i]), _mm256_loadu_ps(w_scale + h * 8));
      float* to = out + i * ldo + h * 8;
      const __m256 before = add ? _mm256_loadu_ps(to) : _mm256_setzero_ps();
      _mm256_storeu_ps(to, _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum[i][h]), by, before));
    }
  }
}

template <int MR, int NR>
void Int16Tile::run() const {
  static_assert(NR == 1, "sixteen registers");
  __m256i sum[MR][2];
  UNROLL for (int i = 0; i < MR; ++i) sum[i][0] = sum[i][1] = _mm256_setzero_si256();
  for (int g = 0; g < k / 2; ++g) {
    const __m256i low = _mm256_loadu_si256((const __m256i*)(w + g * 32));
    const __m256i high = _mm256_loadu_si256((const __m256i*)(w + g * 32 + 16));
    UNROLL for (int i = 0; i < MR; ++i) {
      const __m256i a = _mm256_set1_epi32(word(x + i * ldx + 2 * g));
      sum[i][0] = _mm256_add_epi32(sum[i][0], _mm256_madd_epi16(a, low));
      sum[i][1] = _mm256_add_epi32(sum[i][1], _mm256_madd_epi16(a, high));
    }
  }
  UNROLL for (int i = 0; i < MR; ++i) {
    UNROLL for (int h = 0; h < 2; ++h) {
      const __m256 by = w_scale ? _mm256_loadu_ps(w_scale + h * 8) : _mm256_set1_ps(1);
      float* to = out + i * ldo + h * 8;
      const __m256 before = add ? _mm256_loadu_ps(to) : _mm256_setzero_ps();
      const __m256 y = _mm256_cvtepi32_ps(sum[i][h]);
      _mm256_storeu_ps(to, _mm256_fmadd_ps(y, _mm256_mul_ps(_mm256_set1_ps(x_scale[i]), by), before));
    }
  }
}

template <int MR, int NR>
void Bf16Tile::run() const {
  static_assert(NR == 1, "sixteen registers");
  __m256 sum[MR][2];
  UNROLL for (int i = 0; i < MR; ++i) sum[i][0] = sum[i][1] = _mm256_setzero_ps();
  const __m256i upper = _mm256_set1_epi32((int)0xFFFF0000);
  for (int g = 0; g < k / 2; ++g) {
    UNROLL for (int h = 0; h < 2; ++h) {
      const __m256i b = _mm256_loadu_si256((const __m256i*)(w + g * 32 + h * 16));
      const __m256 even = _mm256_castsi256_ps(_mm256_slli_epi32(b, 16));
      const __m256 odd = _mm256_castsi256_ps(_mm256_and_si256(b, upper));
      UNROLL for (int i = 0; i < MR; ++i) {
        const __m256i a = _mm256_set1_epi32(word(x + i * ldx + 2 * g));
        sum[i][h] = _mm256_fmadd_ps(_mm256_castsi256_ps(_mm256_slli_epi32(a, 16)), even, sum[i][h]);
        sum[i][h] = _mm256_fmadd_ps(_mm256_castsi256_ps(_mm256_and_si256(a, upper)), odd, sum[i][h]);
      }
    }
  }
  UNROLL for (int i = 0; i < MR; ++i) {
    UNROLL for (int h = 0; h < 2; ++h) {
      float* to = out + i * ldo + h * 8;
      _mm256_storeu_ps(to, add ? _mm256_add_ps(_mm256_loadu_ps(to), sum[i][h]) : sum[i][h]);
    }
  }
}

#else

#if defined(__ARM_FEATURE_DOTPROD)
constexpr int MAX_ROWS = 5, MAX_PANELS = 1, BIAS = 0;  // 20 sums, 5 rows and 4 weights: 32 registers hold no more rows
#else
constexpr int MAX_ROWS = 2, MAX_PANELS = 1, BIAS = 0;
#endif

// The vectors of sixteen bytes that every processor has. Lanes are little-endian: the first number is the lower half.
typedef int16_t Shorts __attribute__((vector_size(16)));
typedef int32_t Ints __attribute__((vector_size(16)));
typedef uint32_t Words __attribute__((vector_size(16)));
typedef float Floats __attribute__((vector_size(16)));

template <class V>
inline V load(const void* from) {
  V v;
  memcpy(&v, from, sizeof v);
  return v;
}

// Adds four products to each of four columns.
template <int MR>
inline void add_products(Ints sum[MR], const int8_t* w, const uint8_t* x, int64_t ldx) {
#if defined(__ARM_FEATURE_DOTPROD)
  const int8x16_t b = vld1q_s8(w);
  UNROLL for (int i = 0; i < MR; ++i)
    sum[i] = (Ints)vdotq_s32((int32x4_t)sum[i], b, vreinterpretq_s8_s32(vdupq_n_s32(word(x + i * ldx))));
#else
  // A lane of shorts holds two bytes of a column, and products of two fit it.
  const Shorts b = load<Shorts>(w), even = (b << 8) >> 8, odd = b >> 8;
  UNROLL for (int i = 0; i < MR; ++i) {
    const int8_t* a = (const int8_t*)x + i * ldx;
    const Shorts a_even = {a[0], a[2], a[0], a[2], a[0], a[2], a[0], a[2]};
    const Shorts a_odd = {a[1], a[3], a[1], a[3], a[1], a[3], a[1], a[3]};
    const Ints pairs = (Ints)(even * a_even + odd * a_odd);
    sum[i] += ((pairs << 16) >> 16) + (pairs >> 16);
  }
#endif
}

template <int MR, int NR>
void Int8Tile::run() const {
  Ints sum[4][MR] = {};
  for (int g = 0; g < k / 4; ++g)
    UNROLL for (int c = 0; c < 4; ++c) add_products<MR>(sum[c], w + g * 64 + c * 16, x + 4 * g, ldx);
  for (int i = 0; i < MR; ++i)
    for (int c = 0; c < MZ_PANEL; ++c) {
      const float y = (float)sum[c / 4][i][c % 4] * (x_scale[i] * w_scale[c]);
      out[i * ldo + c] = add ? out[i * ldo + c] + y : y;
    }
}

template <int MR, int NR>
void Int16Tile::run() const {
  Ints sum[MR][4] = {};
  for (int g = 0; g < k / 2; ++g)
    UNROLL for (int c = 0; c < 4; ++c) {
      const Ints b = load<Ints>(w + g * 32 + c * 8), even = (b << 16) >> 16, odd = b >> 16;
      UNROLL for (int i = 0; i < MR; ++i) sum[i][c] += even * x[i * ldx + 2 * g] + odd * x[i * ldx + 2 * g + 1];
    }
  for (int i = 0; i < MR; ++i)
    for (int c = 0; c < MZ_PANEL; ++c) {
      const float y = (float)sum[i][c / 4][c % 4] * (x_scale[i] * (w_scale ? w_scale[c] : 1));
      out[i * ldo + c] = add ? out[i * ldo + c] + y : y;
    }
}

template <int MR, int NR>
void Bf16Tile::run() const {
  Floats sum[MR][4] = {};
  for (int g = 0; g < k / 2; ++g)
    UNROLL for (int c = 0; c < 4; ++c) {
      const Words b = load<Words>(w + g * 32 + c * 8);
      const Floats even = (Floats)(b << 16), odd = (Floats)(b & 0xFFFF0000u);
      UNROLL for (int i = 0; i < MR; ++i) {
        const uint32_t a = (uint32_t)word(x + i * ldx + 2 * g);
        const Words a_even = Words{} + (a << 16), a_odd = Words{} + (a & 0xFFFF0000u);
        sum[i][c] += (Floats)a_even * even;
        sum[i][c] += (Floats)a_odd * odd;
      }
    }
  for (int i = 0; i < MR; ++i)
    for (int c = 0; c < MZ_PANEL; ++c)
      out[i * ldo + c] = sum[i][c / 4][c % 4] + (add ? out[i * ldo + c] : 0);
}

#endif

// The tile of exactly `rows` rows, of all those up to MR.
template <int MR, int NR, class Tile>
inline void run_rows(const Tile& tile, int rows) {
  if (rows == MR)
    tile.template run<MR, NR>();
  else if constexpr (MR > 1)
    run_rows<MR - 1, NR>(tile, rows);
}

// All rows of NR panels, in tiles of nearly equal height: the weights are read from L1 after the first. Each tile fetches
// one of the panels that come next: all of them at once would stall it.
template <int NR, class Tile>
inline void run_panels(const Tile& all, int rows, int panel, int to_panel) {
  const int n_tiles = (rows + MAX_ROWS - 1) / MAX_ROWS;
  for (int t = 0; t < n_tiles; ++t) {
    const int row = rows * t / n_tiles;
    const int ahead_by = t < NR ? NR + t : 0;
    run_rows<MAX_ROWS, NR>(all.at(row, panel, to_panel, ahead_by), rows * (t + 1) / n_tiles - row);
  }
}

// Panels [first, last); `all` has the first row and panel 0.
template <class Tile>
inline void run_all(const Tile& all, int rows, int first, int last) {
  int panel = first;
  for (; panel + MAX_PANELS <= last; panel += MAX_PANELS) run_panels<MAX_PANELS>(all, rows, panel, panel - first);
  for (; panel < last; ++panel) run_panels<1>(all, rows, panel, panel - first);
}

}  // namespace
