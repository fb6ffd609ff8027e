// For the sanitizers: models, caches and runs made, cancelled and destroyed from several threads at once.
//
//   make sanitize
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "mezzotint/c_api.h"

namespace {

const mz_shape SHAPE = {300, 64, 2, 4, 2, 100, 10000.0f};
constexpr int MASK = 0, END = 1;

void expect(bool ok, const char* what) {
  if (ok) return;
  std::fprintf(stderr, "%s: %s\n", what, mz_last_error());
  std::exit(1);
}

uint32_t random_state = 1;

// Words of numbers in (-2 size, 2 size), or near 1 for the gains.
std::vector<uint16_t> random_words(int64_t n, float size, bool gain) {
  std::vector<uint16_t> words(n);
  for (uint16_t& word : words) {
    random_state = random_state * 1664525u + 1013904223u;
    const float x = gain ? 1.0f : ((float)(random_state >> 8) / 8388608.0f - 1.0f) * 2 * size;
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    word = (uint16_t)(bits >> 16);
  }
  return words;
}

void set(mz_model* model, const std::string& name, int64_t n, float size, bool gain = false) {
  expect(mz_model_set(model, name.c_str(), random_words(n, size, gain).data(), n) == 0, name.c_str());
}

mz_model* make_model(int precision, int n_threads) {
  mz_model* model = mz_model_create(&SHAPE, precision, n_threads);
  expect(model, "mz_model_create");
  expect(mz_model_ready(model) != 0, "a model without tensors is not ready");
  const int d = SHAPE.d_model, dh = d / SHAPE.n_heads, n_qkv = (SHAPE.n_heads + 2 * SHAPE.n_kv_heads) * dh;
  set(model, "embed.weight", (int64_t)SHAPE.vocab_size * d, 0.125f);
  set(model, "left", (int64_t)(SHAPE.vocab_size + 1) * d, 0.5f);
  set(model, "right", (int64_t)(SHAPE.vocab_size + 1) * d, 0.5f);
  set(model, "canvas_embed", d, 0.5f);
  for (const char* name : {"embed_norm.weight", "norm.weight"}) set(model, name, d, 1, true);
  for (int layer = 0; layer < SHAPE.n_layers; ++layer) {
    const std::string block = "blocks." + std::to_string(layer) + ".";
    set(model, block + "attn_norm.weight", d, 1, true);
    set(model, block + "mlp_norm.weight", d, 1, true);
    set(model, block + "q_norm.weight", dh, 1, true);
    set(model, block + "k_norm.weight", dh, 1, true);
    set(model, block + "qkv.weight", (int64_t)n_qkv * d, 0.125f);
    set(model, block + "o.weight", (int64_t)d * d, 0.125f);
    set(model, block + "gate_up.weight", (int64_t)2 * SHAPE.d_ff * d, 0.125f);
    set(model, block + "down.weight", (int64_t)d * SHAPE.d_ff, 0.1f);
  }
  expect(mz_model_ready(model) == 0, "mz_model_ready");
  return model;
}

mz_control make_control(int n_rows, float threshold) {
  mz_control control = {};
  control.deadline_us = -1;
  control.n_rows = n_rows;
  control.n_holes = 1;
  control.hole_stop[0] = n_rows;
  control.mask_id = MASK, control.end_id = END;
  control.max_steps = 16, control.max_revisions = 4;
  control.threshold = threshold, control.revise_below = 0.02f;
  control.has_right = 1;
  control.present = 0xFFFF;
  return control;
}

std::vector<uint8_t> make_flags() {
  std::vector<uint8_t> flags(SHAPE.vocab_size);
  flags[MASK] = MZ_SPECIAL, flags[END] = MZ_END;
  for (int i = 4; i < SHAPE.vocab_size; i += 5) flags[i] = MZ_RIGHT;
  for (int i = 6; i < SHAPE.vocab_size; i += 7) flags[i] = MZ_BREAK;
  return flags;
}

int read_all(mz_run* run) {
  mz_draft draft;
  for (int n = 0;;) {
    const int found = mz_run_next(run, &draft, 1000);
    expect(found >= 0, "mz_run_next");
    if (found == 2) return n;
    n += found;
    if (found) expect(draft.step == n, "drafts come in order");
  }
}

// A client: encodes, denoises, decodes token by token, cancels from another thread, leaves in the middle.
void client(mz_model* model, int seed) {
  const std::vector<uint8_t> flags = make_flags();
  std::vector<int32_t> ids(97);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = (int)(i * 7 + seed) % SHAPE.vocab_size;
  mz_cache* cache = mz_cache_create(model, 160);
  expect(cache, "mz_cache_create");
  for (int round = 0; round < 6; ++round) {
    const int n = (int)ids.size() - round * 5;
    expect(mz_encode(model, cache, ids.data(), 0, n) == 0, "mz_encode");
    mz_control control = make_control(13 + round, round % 2 ? 0.001f : 2.0f);
    control.temperature = round == 2 ? 1.0f : 0.0f;
    mz_run* run = mz_run_start(model, cache, n, &control, flags.data());
    expect(run, "mz_run_start");
    expect(read_all(run) == mz_run_steps(run), "no draft is lost");
    mz_run_destroy(run);
    run = mz_run_start_autoregressive(model, cache, n, ids[n - 1], &control, flags.data());
    expect(run, "mz_run_start_autoregressive");
    if (round % 2) expect(read_all(run) > 0, "tokens come");
    mz_run_destroy(run);
    run = mz_run_start(model, cache, n, &control, flags.data());
    expect(run, "mz_run_start");
    std::thread other([run] { mz_run_cancel(run); });
    read_all(run);
    other.join();
    mz_run_destroy(run);
    run = mz_run_start(model, cache, n, &control, flags.data());
    expect(run, "mz_run_start");
    mz_run_destroy(run);
  }
  mz_cache_destroy(cache);
}

void bad_arguments(mz_model* model) {
  mz_cache* cache = mz_cache_create(model, 32);
  const std::vector<uint8_t> flags = make_flags();
  const int32_t ids[] = {5, SHAPE.vocab_size};
  mz_control control = make_control(16, 0.5f);
  expect(mz_encode(model, cache, ids, 0, 2) < 0, "an unknown id");
  expect(mz_encode(model, cache, ids, 32, 1) < 0, "beyond the capacity");
  expect(mz_encode(nullptr, cache, ids, 0, 1) < 0 && mz_encode(model, nullptr, ids, 0, 1) < 0, "null handles");
  expect(mz_encode(model, cache, nullptr, 0, 1) < 0, "a null pointer");
  expect(!mz_run_start(model, cache, 17, &control, flags.data()), "a canvas beyond the capacity");
  expect(!mz_run_start(model, cache, 1, nullptr, flags.data()), "no control");
  expect(!mz_run_start_autoregressive(model, cache, 0, 5, &control, flags.data()), "no context");
  control.hole_stop[0] = 17;
  expect(!mz_run_start(model, cache, 1, &control, flags.data()), "a hole beyond the canvas");
  expect(!mz_model_create(nullptr, MZ_INT8, 1) && !mz_model_create(&SHAPE, MZ_FP8, 1), "no such model");
  expect(mz_run_next(nullptr, nullptr, 0) < 0 && *mz_last_error(), "a null run");
  mz_cache_destroy(cache);
}

}  // namespace

int main() {
  for (int precision : {MZ_INT8, MZ_BF16})
    for (int n_threads : {1, 3}) {
      mz_model* model = make_model(precision, n_threads);
      bad_arguments(model);
      std::vector<std::thread> clients;
      for (int i = 0; i < 3; ++i) clients.emplace_back(client, model, i);
      for (std::thread& thread : clients) thread.join();
      mz_model_destroy(model);
    }
  // A run outlives the handles of what it runs on.
  mz_model* model = make_model(MZ_INT8, 2);
  mz_cache* cache = mz_cache_create(model, 64);
  const mz_control control = make_control(16, 2.0f);
  mz_run* run = mz_run_start(model, cache, 0, &control, make_flags().data());
  mz_cache_destroy(cache);
  mz_model_destroy(model);
  expect(read_all(run) == 16, "the run goes on");
  mz_run_destroy(run);
  std::puts("ok");
}
