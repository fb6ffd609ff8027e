// The instructions that C++ has no name for; emu/cuda.h has the same functions for the emulator.
#pragma once

#include <cuda_runtime.h>
#include <stdint.h>

#define MZ_DEVICE static __device__ __forceinline__
// A function of its own: what one thread does at length, mixed with what all do, would spill registers.
#define MZ_DEVICE_APART static __device__ __noinline__
#define MZ_SHARED(type, name, count) __shared__ __align__(16) type name[count]

MZ_DEVICE uint32_t mz_shared_address(const void* shared) { return (uint32_t)__cvta_generic_to_shared(shared); }

// Start copying 16 bytes from global to shared memory, past L1: they are read once.
MZ_DEVICE void mz_copy_async(void* shared, const void* global) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;\n" ::"r"(mz_shared_address(shared)), "l"(global) : "memory");
}

MZ_DEVICE void mz_copy_commit() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }

// Wait until at most `Left` of this thread's groups of copies are under way.
template <int Left>
MZ_DEVICE void mz_copy_wait() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(Left) : "memory");
}

// Four 8x8 matrices of 16-bit words; lane i gives the address of row i % 8 of matrix i / 8.
MZ_DEVICE void mz_load_matrices(uint32_t (&out)[4], const void* shared_row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(mz_shared_address(shared_row))
               : "memory");
}

MZ_DEVICE void mz_load_matrices_transposed(uint32_t (&out)[4], const void* shared_row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(mz_shared_address(shared_row))
               : "memory");
}

// sum (16, 8) += a (16, 16) b (16, 8), bfloat16 with float32 sums.
MZ_DEVICE void mz_multiply(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};\n"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

MZ_DEVICE uint64_t mz_clock_ns() {
  uint64_t now;
  asm volatile("mov.u64 %0, %%globaltimer;\n" : "=l"(now));
  return now;
}

// Words that the host and the device both use.
MZ_DEVICE void mz_store_release(uint32_t* word, uint32_t value) {
  __threadfence_system();
  asm volatile("st.release.sys.global.u32 [%0], %1;\n" ::"l"(word), "r"(value) : "memory");
}

MZ_DEVICE uint32_t mz_load_system(const uint32_t* word) { return *(const volatile uint32_t*)word; }
