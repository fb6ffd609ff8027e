// The CUDA runtime for the emulator: device memory is host memory, a launch runs at once, a capture keeps launches.
//
// Rule: only what cuda/*.cu uses, with the same meaning, so that the whole library runs on a CPU, graphs included.
#pragma once

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include <functional>
#include <vector>

#include "emu/cuda.h"

enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1, cudaErrorNotReady = 600 };
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice };
enum { cudaStreamNonBlocking = 1, cudaHostAllocMapped = 2, cudaGraphCondAssignDefault = 1 };
enum { cudaStreamCaptureModeRelaxed = 2, cudaGraphNodeTypeConditional = 13, cudaGraphCondTypeWhile = 1 };
#define CUDART_VERSION 13000

struct cudaDeviceProp {
  int major = 9, minor = 0, multiProcessorCount = 3;  // few: blocks run one after another
};
struct cudaFuncAttributes {};

struct emulated_graph;
struct emulated_stream {
  emulated_graph* capturing = nullptr;
};
struct emulated_graph {
  std::vector<std::function<void()>> launches;
  emulated_graph* body = nullptr;  // of a WHILE node
  ~emulated_graph() { delete body; }
};
using cudaStream_t = emulated_stream*;
using cudaGraph_t = emulated_graph*;
using cudaGraphExec_t = emulated_graph*;
using cudaGraphNode_t = int;

struct cudaGraphNodeParams {
  int type;
  struct {
    cudaGraphConditionalHandle handle;
    int type;
    unsigned size;
    cudaGraph_t* phGraph_out;
  } conditional;
};

inline const char* cudaGetErrorString(cudaError_t) { return "emulated error"; }
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline int emulated_device;
inline cudaError_t cudaGetDeviceCount(int* n) { return *n = 2, cudaSuccess; }
inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int) { return *p = cudaDeviceProp(), cudaSuccess; }
inline cudaError_t cudaSetDevice(int device) { return emulated_device = device, cudaSuccess; }
inline cudaError_t cudaDeviceSynchronize() { return cudaSuccess; }
template <class Kernel>
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes*, Kernel) {
  return cudaSuccess;
}

// ---- Memory; fresh and freed memory holds NaNs, so what is never written and what is gone shows

inline cudaError_t cudaMalloc(void** p, size_t bytes) {
  *p = aligned_alloc(256, (bytes + 255) / 256 * 256);
  memset(*p, 0xFF, bytes);
  return cudaSuccess;
}
inline void cudaFree(void* p) {
  if (p) memset(p, 0xFF, malloc_usable_size(p));
  free(p);
}
inline cudaError_t cudaMemset(void* p, int value, size_t bytes) { return memset(p, value, bytes), cudaSuccess; }
inline cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind) {
  return memcpy(to, from, bytes), cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t) {
  return cudaMemcpy(to, from, bytes, kind);
}
inline cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width,
                                     size_t height, cudaMemcpyKind, cudaStream_t) {
  for (size_t i = 0; i < height; ++i) memcpy((char*)to + i * to_pitch, (const char*)from + i * from_pitch, width);
  return cudaSuccess;
}
inline cudaError_t cudaHostAlloc(void** p, size_t bytes, unsigned) { return cudaMalloc(p, bytes); }
inline void cudaFreeHost(void* p) { cudaFree(p); }
inline cudaError_t cudaHostGetDevicePointer(void** device, void* host, unsigned) { return *device = host, cudaSuccess; }

// ---- Streams and launches

inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t* s, unsigned) {
  return *s = new emulated_stream, cudaSuccess;
}
inline void cudaStreamDestroy(cudaStream_t s) { delete s; }
inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
inline cudaError_t cudaStreamQuery(cudaStream_t) { return cudaSuccess; }

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, unsigned n_threads, cudaStream_t stream, Arguments... arguments) {
  const auto run = [=] { emu::launch(grid, n_threads, [=] { kernel(arguments...); }); };
  stream && stream->capturing ? stream->capturing->launches.push_back(run) : run();
}

// ---- Graphs

inline cudaError_t cudaGraphCreate(cudaGraph_t* g, unsigned) { return *g = new emulated_graph, cudaSuccess; }
inline void cudaGraphDestroy(cudaGraph_t g) { delete g; }
inline cudaError_t cudaGraphConditionalHandleCreate(cudaGraphConditionalHandle* h, cudaGraph_t, unsigned, unsigned) {
  return *h = 7, cudaSuccess;
}
inline cudaError_t cudaGraphAddNode(cudaGraphNode_t*, cudaGraph_t g, void*, void*, size_t, cudaGraphNodeParams* p) {
  g->body = new emulated_graph;
  p->conditional.phGraph_out = &g->body;
  return cudaSuccess;
}
inline cudaError_t cudaStreamBeginCaptureToGraph(cudaStream_t s, cudaGraph_t g, void*, void*, size_t, int) {
  return s->capturing = g, cudaSuccess;
}
inline cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t* g) {
  return *g = s->capturing, s->capturing = nullptr, cudaSuccess;
}
inline cudaError_t cudaGraphInstantiate(cudaGraphExec_t* e, cudaGraph_t g, unsigned) { return *e = g, cudaSuccess; }
inline void cudaGraphExecDestroy(cudaGraphExec_t) {}
inline cudaError_t cudaGraphUpload(cudaGraphExec_t, cudaStream_t) { return cudaSuccess; }
inline cudaError_t cudaGraphLaunch(cudaGraphExec_t e, cudaStream_t) {
  for (const auto& run : e->launches) run();
  mz_emulated_condition = e->body != nullptr;  // the default that AssignDefault assigns
  while (mz_emulated_condition)
    for (const auto& run : e->body->launches) run();
  return cudaSuccess;
}
