// The device, errors, and what the library says of itself.


#include "engine.h"

namespace {

thread_local std::string last_error;

struct Usable {
  int n_multiprocessors = 0;
  std::string target, problem;
};

Usable look() {
  Usable out;
  int n_devices = 0;
  cudaDeviceProp device;
  cudaError_t code = cudaGetDeviceCount(&n_devices);
  if (code == cudaSuccess && n_devices > 0) code = cudaGetDeviceProperties(&device, 0);
  if (code != cudaSuccess || n_devices == 0) {
    cudaGetLastError();
    out.problem = std::string("no CUDA device: ") + (n_devices ? "none usable" : cudaGetErrorString(code));
    return out;
  }
  const std::string name = "sm_" + std::to_string(device.major) + std::to_string(device.minor);
  if (device.major < 8 || !kernels_load()) {
    cudaGetLastError();
    out.problem = "no kernels for " + name;
    return out;
  }
  out.n_multiprocessors = device.multiProcessorCount;
  out.target = "cuda " + name;
  return out;
}

const Usable& usable() {
  static const Usable found = look();
  return found;
}

}  // namespace

void check(cudaError_t code, const char* what) {
  if (code == cudaSuccess) return;
  cudaGetLastError();
  throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(code));
}

void require(bool condition, const std::string& message) {
  if (!condition) throw std::runtime_error(message);
}

void set_last_error(const std::string& message) { last_error = message; }

void use_device() {
  require(!usable().target.empty(), usable().problem);
  check(cudaSetDevice(0), "device 0");
}

int n_multiprocessors() { return usable().n_multiprocessors; }

int32_t mz_abi_version(void) { return MZ_ABI_VERSION; }

const char* mz_last_error(void) { return last_error.c_str(); }

const char* mz_target(void) { return usable().target.c_str(); }

int32_t mz_struct_size(int32_t which) {
  const size_t sizes[] = {sizeof(mz_control), sizeof(mz_draft),  sizeof(mz_row),
                          sizeof(mz_shape),   sizeof(mz_canvas), sizeof(mz_rule)};
  return which >= 0 && which < 6 ? (int32_t)sizes[which] : -1;
}
