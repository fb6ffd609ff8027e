// The devices: which there are, and whether they can run what was compiled.

#include <mutex>

#include "engine.h"

namespace {

struct Looked {
  int n_multiprocessors = 0;
  std::string target, problem;
};

int count_devices(std::string* problem) {
  int n = 0;
  const cudaError_t code = cudaGetDeviceCount(&n);
  if (code == cudaSuccess && n > 0) return n;
  cudaGetLastError();
  *problem = std::string("no CUDA device: ") + (code == cudaSuccess ? "none there" : cudaGetErrorString(code));
  return 0;
}

Looked look(int index) {
  Looked out;
  const int n_devices = count_devices(&out.problem);
  if (n_devices == 0) return out;
  if (index < 0 || index >= n_devices) {
    out.problem = "no CUDA device " + std::to_string(index) + ": there are " + std::to_string(n_devices);
    return out;
  }
  cudaDeviceProp device;
  cudaError_t code = cudaGetDeviceProperties(&device, index);
  if (code == cudaSuccess) code = cudaSetDevice(index);
  if (code != cudaSuccess) {
    cudaGetLastError();
    out.problem = std::string("no CUDA device: ") + cudaGetErrorString(code);
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

// Each device is looked at once, and only when it is asked for: looking takes some of its memory.
const Looked& looked(int index) {
  static std::mutex mutex;
  static std::map<int, Looked> found;
  const std::lock_guard<std::mutex> lock(mutex);
  const auto at = found.find(index);
  return at != found.end() ? at->second : found.emplace(index, look(index)).first->second;
}

}  // namespace

void check(cudaError_t code, const char* what) {
  if (code == cudaSuccess) return;
  cudaGetLastError();
  fail(std::string(what) + ": " + cudaGetErrorString(code));
}

void fail(const std::string& message) { throw std::runtime_error(message); }

int use_device(int device) {
  const Looked& found = looked(device);
  require(!found.target.empty(), found.problem);
  check(cudaSetDevice(device), "choosing a device");
  return found.n_multiprocessors;
}

const char* mz_target(void) { return looked(0).target.c_str(); }
