// How fast this device copies its own memory: the ceiling of every forward pass, for gpu_check.

#include <chrono>

#include "engine.h"

// Bytes read and written per second, of copies of `bytes` each; negative on an error.
MZ_API double mz_cuda_copy_rate(int32_t device, int64_t bytes, int32_t n_copies);

double mz_cuda_copy_rate(int32_t device, int64_t bytes, int32_t n_copies) {
  return guard(-1.0, [&] {
    require(bytes > 0 && n_copies > 0, "nothing to copy");
    use_device(device);
    const auto from = allocate<uint8_t>(bytes), to = allocate<uint8_t>(bytes);
    const auto copy = [&](int times) {
      for (int i = 0; i < times; ++i)
        check(cudaMemcpyAsync(to.get(), from.get(), bytes, cudaMemcpyDeviceToDevice, nullptr), "a copy");
      check(cudaDeviceSynchronize(), "copies");
    };
    copy(2);
    const auto started = std::chrono::steady_clock::now();
    copy(n_copies);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - started;
    return 2.0 * (double)bytes * n_copies / seconds.count();
  });
}
