// Which instruction set to use: the best of this processor, or the one that MEZZOTINT_ISA names.
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

#if defined(MZ_DOTPROD) && defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(MZ_DOTPROD)
#include <sys/auxv.h>
#endif

namespace {

struct Candidate {
  mz_isa isa;
  bool (*runs_here)();
  bool (*pays_here)();  // else it is for those who name it
};

bool always() { return true; }

#if defined(__x86_64__)
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool has_vnni() {
  return has_avx2() && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}
bool has_vnni_bf16() { return has_vnni() && __builtin_cpu_supports("avx512bf16"); }
// Intel's dot product of bf16 takes 2.5 times as long as widening and multiplying floats, AMD's half as long.
bool multiplies_bf16_fast() { return !__builtin_cpu_is("intel"); }
#elif defined(MZ_DOTPROD) && defined(__APPLE__)
bool has_dotprod() {
  int has = 0;
  size_t size = sizeof has;
  return sysctlbyname("hw.optional.arm.FEAT_DotProd", &has, &size, nullptr, 0) == 0 && has;
}
#elif defined(MZ_DOTPROD)
bool has_dotprod() { return getauxval(AT_HWCAP) >> 20 & 1; }  // HWCAP_ASIMDDP
#endif

const Candidate CANDIDATES[] = {
#if defined(__x86_64__)
    {{"vnni+bf16", &mz_kernels_vnni_bf16}, has_vnni_bf16, multiplies_bf16_fast},
    {{"vnni", &mz_kernels_vnni}, has_vnni, always},
    {{"avx2", &mz_kernels_avx2}, has_avx2, always},
#elif defined(MZ_DOTPROD)
    {{"dotprod", &mz_kernels_dotprod}, has_dotprod, always},
#endif
    {{"portable", &mz_kernels_portable}, always, always},
};

}  // namespace

mz_isa mz_pick_isa(void) {
#if defined(__x86_64__)
  __builtin_cpu_init();
#endif
  const char* wanted = getenv("MEZZOTINT_ISA");
  const mz_isa* best = nullptr;
  for (const Candidate& candidate : CANDIDATES) {
    if (!candidate.runs_here()) continue;
    if (wanted && !strcmp(wanted, candidate.isa.name)) return candidate.isa;
    if (!best && candidate.pays_here()) best = &candidate.isa;
  }
  return *best;
}
