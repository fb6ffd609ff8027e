// A block of CUDA threads on one CPU thread, for tests without a GPU: every CUDA thread is a fiber.
//
// Rule: fibers change only at barriers and warp operations, so a forgotten barrier shows as a wrong result when a
// kernel is run with the fibers in ascending and in descending order. Shared memory starts as NaNs in every block, and a
// barrier that not all threads reach ends the program. Asynchronous copies happen as late as they may in ascending order,
// when they are waited for, and as early as they may, at once, in descending order.
// What this cannot show: the memory model between blocks, speed, and faults of the assembly in ptx.cuh.
//
//     emu::launch({n_blocks}, 128, [&] { mz_embed(pass, ...); });
#pragma once

#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <functional>
#include <set>
#include <vector>

#define __global__ inline
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define MZ_DEVICE static inline
#define MZ_DEVICE_APART static inline
#define MZ_SHARED(type, name, count)       \
  alignas(16) static type name[count];     \
  emu::begin_shared(name, sizeof name)

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
struct alignas(16) uint4 {
  uint32_t x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};

inline dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace emu {

constexpr size_t kStack = 64 * 1024;
constexpr int kMaxThreads = 256;

struct Copy {
  void* to;
  const void* from;
};

struct Fiber {
  jmp_buf place;
  ucontext_t context;
  std::vector<char> stack;
  bool started = false, done = false, at_barrier = false;  // at the block's barrier
  std::vector<Copy> open;                // asynchronous copies since the last commit
  std::deque<std::vector<Copy>> groups;  // committed, not yet waited for
};

struct Barrier {
  int arrived = 0, generation = 0;
};

// Everything about the block that runs.
inline std::vector<Fiber> fibers(kMaxThreads);
inline int n_fibers, current, n_alive, idle_turns;
inline bool descending;  // order of the fibers
inline ucontext_t outside;
inline std::function<void()> body;
inline Barrier block_barrier, warp_barriers[kMaxThreads / 32];
inline unsigned char exchange[kMaxThreads][32];  // what a lane shows its warp
inline std::set<void*> shared_seen;

inline void begin_shared(void* memory, size_t bytes) {
  if (shared_seen.insert(memory).second) memset(memory, 0xFF, bytes);
}

// Whose turn is next: a warp runs as far as it can, so that warps are as far apart as barriers let them be.
inline int next_fiber() {
  const int step = descending ? 31 : 1, warp = current / 32 * 32, in_warp = std::min(32, n_fibers - warp);
  for (int i = 1, lane = current % 32; i < in_warp; ++i) {
    lane = (lane + (in_warp == 32 ? step : 1)) % in_warp;
    if (!fibers[warp + lane].done && !fibers[warp + lane].at_barrier) return warp + lane;
  }
  int next = current;
  do next = (next + (descending ? n_fibers - 1 : 1)) % n_fibers;
  while (fibers[next].done);
  return next;
}

[[noreturn]] __attribute__((noinline)) inline void resume(int next) {
  current = next;
  threadIdx.x = next;
  if (fibers[next].started) _longjmp(fibers[next].place, 1);
  fibers[next].started = true;
  setcontext(&fibers[next].context);
  abort();
}

inline void enter() {
  body();
  fibers[current].done = true;
  idle_turns = 0;
  if (--n_alive == 0) setcontext(&outside);
  resume(next_fiber());
}

// Let the next fiber run; returns when it is this one's turn again.
__attribute__((noinline)) inline void yield() {
  if (++idle_turns > 64 * n_fibers) {
    fprintf(stderr, "emulator: a barrier is not reached by all threads of block %u\n", blockIdx.x);
    abort();
  }
  if (next_fiber() == current || _setjmp(fibers[current].place)) return;
  resume(next_fiber());
}

inline void wait(Barrier& barrier, int n_threads) {
  const int generation = barrier.generation;
  if (++barrier.arrived == n_threads) {
    barrier.arrived = 0;
    ++barrier.generation;
    idle_turns = 0;
    return;
  }
  while (barrier.generation == generation) yield();
}

// Show `bytes` of this lane to its warp; the lanes' bytes may be read until `hide`.
inline unsigned char (*show(const void* value, size_t bytes))[32] {
  memcpy(exchange[current], value, bytes);
  wait(warp_barriers[current / 32], 32);
  return &exchange[current / 32 * 32];
}

inline void hide() { wait(warp_barriers[current / 32], 32); }

template <class T>
T from_lane(T value, int lane) {
  T out;
  memcpy(&out, show(&value, sizeof value)[lane], sizeof out);
  hide();
  return out;
}

inline void launch(dim3 grid, unsigned n_threads, std::function<void()> kernel) {
  gridDim = grid, blockDim = {n_threads}, body = std::move(kernel);
  for (blockIdx.z = 0; blockIdx.z < grid.z; ++blockIdx.z)
    for (blockIdx.y = 0; blockIdx.y < grid.y; ++blockIdx.y)
      for (blockIdx.x = 0; blockIdx.x < grid.x; ++blockIdx.x) {
        n_fibers = n_alive = (int)n_threads, idle_turns = 0;
        shared_seen.clear();
        for (int i = 0; i < n_fibers; ++i) {
          Fiber& f = fibers[i];
          f.stack.resize(kStack), f.started = f.done = f.at_barrier = false, f.open.clear(), f.groups.clear();
          getcontext(&f.context);
          f.context.uc_stack.ss_sp = f.stack.data(), f.context.uc_stack.ss_size = kStack;
          makecontext(&f.context, enter, 0);
        }
        current = descending ? n_fibers - 1 : 0;
        threadIdx = {(unsigned)current, 0, 0};
        fibers[current].started = true;
        swapcontext(&outside, &fibers[current].context);
      }
}

}  // namespace emu

// ---- What CUDA C++ has names for

inline void __syncthreads() {
  emu::fibers[emu::current].at_barrier = true;
  const int generation = emu::block_barrier.generation;
  emu::wait(emu::block_barrier, emu::n_fibers);
  if (emu::block_barrier.generation == generation + 1 && emu::block_barrier.arrived == 0)
    for (emu::Fiber& f : emu::fibers) f.at_barrier = false;
  emu::fibers[emu::current].at_barrier = false;
}
inline void __threadfence() {}
inline void __threadfence_system() {}
inline int __popc(uint32_t word) { return __builtin_popcount(word); }
inline float rsqrtf(float x) { return 1 / sqrtf(x); }

template <class T>
T __shfl_xor_sync(uint32_t, T value, int mask) {
  return emu::from_lane(value, emu::current % 32 ^ mask);
}

inline uint32_t __ballot_sync(uint32_t, bool vote) {
  const auto votes = emu::show(&vote, 1);
  uint32_t out = 0;
  for (int lane = 0; lane < 32; ++lane) out |= (uint32_t)(votes[lane][0] != 0) << lane;
  emu::hide();
  return out;
}

inline int atomicAdd(int* place, int value) {
  const int before = *place;
  *place += value;
  return before;
}

inline void atomicMax(int* place, int value) { *place = std::max(*place, value); }
inline void atomicMin(int* place, int value) { *place = std::min(*place, value); }

using cudaGraphConditionalHandle = unsigned long long;
inline unsigned mz_emulated_condition;
inline void cudaGraphSetConditional(cudaGraphConditionalHandle, unsigned value) { mz_emulated_condition = value; }

// ---- What kernels/ptx.cuh has assembly for

inline void mz_copy_async(void* shared, const void* global) {
  if (emu::descending)
    memcpy(shared, global, 16);
  else
    emu::fibers[emu::current].open.push_back({shared, global});
}

inline void mz_copy_commit() {
  emu::Fiber& f = emu::fibers[emu::current];
  f.groups.push_back(std::move(f.open));
  f.open.clear();
}

template <int Left>
void mz_copy_wait() {
  emu::Fiber& f = emu::fibers[emu::current];
  for (; f.groups.size() > Left; f.groups.pop_front())
    for (const emu::Copy& copy : f.groups.front()) memcpy(copy.to, copy.from, 16);
}

inline void mz_load_matrices(uint32_t (&out)[4], const void* shared_row) {
  const auto rows = emu::show(&shared_row, sizeof shared_row);
  const int lane = emu::current % 32;
  for (int m = 0; m < 4; ++m) {
    const char* row;
    memcpy(&row, rows[m * 8 + lane / 4], sizeof row);
    memcpy(&out[m], row + lane % 4 * 4, 4);
  }
  emu::hide();
}

inline void mz_load_matrices_transposed(uint32_t (&out)[4], const void* shared_row) {
  const auto rows = emu::show(&shared_row, sizeof shared_row);
  const int lane = emu::current % 32;
  for (int m = 0; m < 4; ++m)
    for (int i = 0; i < 2; ++i) {
      const char* row;
      memcpy(&row, rows[m * 8 + lane % 4 * 2 + i], sizeof row);
      memcpy((char*)&out[m] + 2 * i, row + lane / 4 * 2, 2);
    }
  emu::hide();
}

inline void mz_multiply(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  const uint32_t mine[6] = {a[0], a[1], a[2], a[3], b0, b1};
  const auto lanes = emu::show(mine, sizeof mine);
  const auto element = [&](int lane, int word, int half) {
    uint16_t bits;
    memcpy(&bits, &lanes[lane][word * 4 + half * 2], 2);
    const uint32_t wide = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &wide, 4);
    return value;
  };
  const int lane = emu::current % 32;
  for (int i = 0; i < 4; ++i) {
    const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
    for (int k = 0; k < 16; ++k)
      sum[i] += element(row % 8 * 4 + k % 8 / 2, row / 8 + k / 8 * 2, k % 2) *
                element(column * 4 + k % 8 / 2, 4 + k / 8, k % 2);
  }
  emu::hide();
}

inline uint64_t mz_emulated_ns, mz_emulated_tick;  // the time, and what asking for it takes
inline uint64_t mz_clock_ns() { return mz_emulated_ns += mz_emulated_tick; }
inline void mz_store_release(uint32_t* word, uint32_t value) { __atomic_store_n(word, value, __ATOMIC_RELEASE); }
inline uint32_t mz_load_system(const uint32_t* word) { return __atomic_load_n(word, __ATOMIC_RELAXED); }
