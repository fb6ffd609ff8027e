// Rates that this machine reaches, to compare a denoising step with; exported by libmezzotint_cpu alone.
#pragma once

#include "mezzotint/c_api.h"

// Operations per second (2 per multiply-add) of the int8 and bf16 tiles on data that stays in L1, all threads together.
MZ_API double mz_measure_int8_rate(int32_t n_threads);
MZ_API double mz_measure_bf16_rate(int32_t n_threads);
// Bytes per second that all threads together read of a buffer of `n_bytes` that was read before.
MZ_API double mz_measure_bandwidth(int32_t n_threads, int64_t n_bytes);
// Seconds of one barrier.
MZ_API double mz_measure_barrier(int32_t n_threads);
