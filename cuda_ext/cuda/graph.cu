// One step as a graph, built once per cache, row bucket and kind of loop: the body of a WHILE node, or one to replay.
//
// Rule: whatever the device or the driver refuses, the next simpler way is taken; plain launches always work.
// MEZZOTINT_CUDA_LOOP=while|replay|step takes one way alone.

#include <cstdlib>

#include "engine.h"

namespace {

void drop(Captured& c) {
  if (c.exec) cudaGraphExecDestroy(c.exec);
  if (c.graph) cudaGraphDestroy(c.graph);
  c = Captured();
}

// Ends the capture also when a launch fails in between: a stream left capturing would be of no more use.
void capture(Cache& cache, Place place, cudaGraph_t body, cudaGraphConditionalHandle handle, bool conditional) {
  check(cudaStreamBeginCaptureToGraph(cache.stream, body, nullptr, nullptr, 0, cudaStreamCaptureModeRelaxed),
        "beginning a capture");
  std::string problem;
  try {
    launch_step(cache, place, handle, conditional);
  } catch (const std::exception& error) {
    problem = error.what();
  }
  cudaGraph_t captured = nullptr;
  const cudaError_t ended = cudaStreamEndCapture(cache.stream, &captured);
  require(problem.empty(), problem);
  check(ended, "ending a capture");
}

cudaGraph_t add_while(cudaGraph_t graph, cudaGraphConditionalHandle* handle) {
  check(cudaGraphConditionalHandleCreate(handle, graph, 1, cudaGraphCondAssignDefault), "a condition");
  cudaGraphNodeParams node = {};
  node.type = cudaGraphNodeTypeConditional;
  node.conditional.handle = *handle, node.conditional.type = cudaGraphCondTypeWhile, node.conditional.size = 1;
  cudaGraphNode_t added;
#if CUDART_VERSION >= 13000
  check(cudaGraphAddNode(&added, graph, nullptr, nullptr, 0, &node), "a WHILE node");
#else
  check(cudaGraphAddNode(&added, graph, nullptr, 0, &node), "a WHILE node");
#endif
  return node.conditional.phGraph_out[0];
}

void build(Cache& cache, Place place, Captured& out) {
  check(cudaGraphCreate(&out.graph, 0), "a graph");
  if (out.loop == Loop::kWhile) {
    cudaGraphConditionalHandle handle;
    const cudaGraph_t body = add_while(out.graph, &handle);
    capture(cache, place, body, handle, true);
  } else {
    capture(cache, place, out.graph, 0, false);
  }
  check(cudaGraphInstantiate(&out.exec, out.graph, 0), "instantiating a graph");
  check(cudaGraphUpload(out.exec, cache.stream), "uploading a graph");
  check(cudaStreamSynchronize(cache.stream), "uploading a graph");
}

// A step of a run that has ended: every kernel returns at once, but is loaded, which must not happen in a capture.
void warm_up(Cache& cache, Place place) {
  launch_stop(cache);
  launch_step(cache, place, 0, false);
  check(cudaStreamSynchronize(cache.stream), "warming up");
}

}  // namespace

const char* loop_name(Loop loop) {
  return loop == Loop::kWhile ? "while" : loop == Loop::kReplay ? "replay" : loop == Loop::kStep ? "step" : "";
}

const Captured& captured_step(Cache& cache, Place place) {
  Captured& found = cache.captured[place.index()];
  const char* asked = getenv("MEZZOTINT_CUDA_LOOP");
  const std::string only = asked ? asked : "";
  if (found.loop != Loop::kNone && found.asked == only) return found;
  drop(found);
  warm_up(cache, place);
  for (const Loop loop : {Loop::kWhile, Loop::kReplay}) {
    if (!only.empty() && only != loop_name(loop)) continue;
    found.loop = loop, found.asked = only;
    try {
      build(cache, place, found);
      return found;
    } catch (const std::exception& error) {
      set_last_error(std::string(loop_name(loop)) + ": " + error.what());  // kept for whoever asks why
      cudaGetLastError();
      drop(found);
      if (only == loop_name(loop)) throw;
    }
  }
  found.loop = Loop::kStep, found.asked = only;
  return found;
}

void drop_graphs(Cache& cache) {
  for (Captured& c : cache.captured) drop(c);
}
