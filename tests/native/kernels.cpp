// The products of int8 by every instruction set that runs here, beside those of the portable one: sums are exact, so results
// are the same numbers.
//
//   make sanitize arm
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "kernels.h"

namespace {

const char* const NAMES[] = {"avx2", "vnni", "vnni+bf16", "dotprod"};
constexpr int MOST_ROWS = 14;  // more than a tile has

uint32_t random_state = 1;

int random_int8() {
  random_state = random_state * 1664525u + 1013904223u;
  return (int)(random_state >> 8) % 255 - 127;
}

mz_isa isa(const char* name) {
  setenv("MEZZOTINT_ISA", name, 1);
  return mz_pick_isa();
}

struct Products {
  int k, panels;
  std::vector<int> x;
  std::vector<int8_t> w;
  std::vector<float> x_scale, w_scale;

  Products(int k, int panels) : k(k), panels(panels), x(MOST_ROWS * k), w(panels * MZ_PANEL * k) {
    for (int& value : x) value = random_int8();
    for (int8_t& value : w) value = (int8_t)random_int8();
    for (int i = 0; i < MOST_ROWS; ++i) x_scale.push_back(0.01f + 0.001f * i);
    for (int i = 0; i < panels * MZ_PANEL; ++i) w_scale.push_back(0.02f + 0.0001f * i);
  }

  std::vector<float> by(const mz_kernels* kernels, int rows, int add) const {
    std::vector<uint8_t> biased;
    for (int value : x) biased.push_back((uint8_t)(value + kernels->bias));
    std::vector<int32_t> bias_sum(panels * MZ_PANEL);
    for (int p = 0; p < panels; ++p)
      for (int i = 0; i < k * MZ_PANEL; ++i)
        bias_sum[p * MZ_PANEL + i / 4 % MZ_PANEL] += kernels->bias * w[p * k * MZ_PANEL + i];
    const mz_int8 matrix = {w.data(), w_scale.data(), bias_sum.data(), k};
    std::vector<float> out(rows * panels * MZ_PANEL, 0.5f);
    kernels->gemm_int8(biased.data(), x_scale.data(), rows, &matrix, 0, panels, out.data(), panels * MZ_PANEL, add);
    return out;
  }
};

void compare(const mz_isa& here, int k, int panels) {
  const Products products(k, panels);
  const mz_kernels* portable = isa("portable").kernels;
  for (int rows = 1; rows <= MOST_ROWS; ++rows)
    for (int add = 0; add < 2; ++add) {
      const std::vector<float> expected = products.by(portable, rows, add), found = products.by(here.kernels, rows, add);
      for (size_t i = 0; i < expected.size(); ++i)
        if (std::fabs(found[i] - expected[i]) > (add ? 1e-6f * (1 + std::fabs(expected[i])) : 0)) {  // rounded once, or twice
          std::fprintf(stderr, "%s: %d rows of %d: %g, not %g\n", here.name, rows, k, found[i], expected[i]);
          std::exit(1);
        }
    }
}

}  // namespace

int main() {
  for (const char* name : NAMES) {
    const mz_isa here = isa(name);
    if (std::string_view(here.name) != name) continue;
    for (int k : {4, 36, 576, 4096})
      for (int panels : {1, 3}) compare(here, k, panels);
    std::printf("%s is as portable\n", name);
  }
}
