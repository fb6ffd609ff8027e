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

constexpr int EVERYTHING = 1 << 30, MASK = 0, END = 1;
// With extras; and as far from that as a shape can be.
const mz_shape SHAPES[] = {
    {300, 64, 2, 4, 2, 100, 16, MZ_EXTRAS | MZ_QK_NORM, 1, EVERYTHING, 10000.0f, 1e-6f},
    {299, 70, 2, 3, 1, 61, 10, MZ_QKV_BIAS | MZ_OWN_HEAD | MZ_SHIFT, 1, 4, 10000.0f, 1e-5f},
};
constexpr int VOCAB = 299;  // ids that both know

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

// A matrix, in int8 where the model is.
void set_matrix(mz_model* model, int precision, const std::string& name, int64_t rows, int64_t cols) {
  if (precision != MZ_INT8) return set(model, name, rows * cols, 0.125f);
  std::vector<int8_t> q(rows * cols);
  for (int8_t& value : q) {
    random_state = random_state * 1664525u + 1013904223u;
    value = (int8_t)(random_state >> 24);
  }
  const std::vector<float> scales(rows, 0.001f);
  expect(mz_model_set_int8(model, name.c_str(), q.data(), scales.data(), rows, cols) == 0, name.c_str());
}

void set_block(mz_model* model, const mz_shape& shape, int precision, const std::string& block) {
  const int d = shape.d_model, dh = shape.d_head, n_q = shape.n_heads * dh, n_qkv = n_q + 2 * shape.n_kv_heads * dh;
  set(model, block + "attn_norm.weight", d, 1, true);
  set(model, block + "mlp_norm.weight", d, 1, true);
  if (shape.flags & MZ_QK_NORM) {
    set(model, block + "q_norm.weight", dh, 1, true);
    set(model, block + "k_norm.weight", dh, 1, true);
  }
  if (shape.flags & MZ_QKV_BIAS) set(model, block + "qkv.bias", n_qkv, 0.2f);
  set_matrix(model, precision, block + "qkv.weight", n_qkv, d);
  set_matrix(model, precision, block + "o.weight", d, n_q);
  set_matrix(model, precision, block + "gate_up.weight", 2 * shape.d_ff, d);
  set_matrix(model, precision, block + "down.weight", d, shape.d_ff);
}

mz_model* make_model(const mz_shape& shape, int precision, int n_threads) {
  mz_model* model = mz_model_create(&shape, precision, 0, n_threads);
  expect(model, "mz_model_create");
  expect(mz_model_ready(model) != 0, "a model without tensors is not ready");
  const int64_t d = shape.d_model, vocab = shape.vocab_size;
  set(model, "embed.weight", vocab * d, 0.125f);
  set(model, "norm.weight", d, 1, true);
  if (shape.flags & MZ_OWN_HEAD) set_matrix(model, precision, "head.weight", vocab, d);
  if (shape.flags & MZ_EXTRAS) {
    set(model, "left", (vocab + 1) * d, 0.5f);
    set(model, "right", (vocab + 1) * d, 0.5f);
    set(model, "canvas_embed", d, 0.5f);
    set(model, "embed_norm.weight", d, 1, true);
  }
  for (int layer = 0; layer < shape.n_layers; ++layer)
    set_block(model, shape, precision, "blocks." + std::to_string(layer) + ".");
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

// The same, judged: a canvas behind a draft of `n_drafted` tokens.
mz_control make_verdict(int n_rows, int judge_rows, int canvas_rows, int n_drafted, int last_id) {
  mz_control control = make_control(n_rows, 0.5f);
  control.verdict = 1;
  control.judge_rows = judge_rows, control.canvas_rows = canvas_rows;
  control.patience = 2, control.rest = 3;
  control.last_id = last_id, control.n_drafted = n_drafted;
  for (int i = 0; i < n_drafted; ++i) control.drafted[i] = 10 + i;
  return control;
}

std::vector<uint8_t> make_flags() {
  std::vector<uint8_t> flags(VOCAB + 1);
  flags[MASK] = MZ_SPECIAL, flags[END] = MZ_END;
  for (int i = 4; i < VOCAB; i += 5) flags[i] = MZ_RIGHT;
  for (int i = 6; i < VOCAB; i += 7) flags[i] = MZ_BREAK;
  for (int i = 7; i < VOCAB; i += 7) flags[i] = MZ_CLOSES;
  return flags;
}

int read_all(mz_run* run) {
  mz_draft draft;
  for (int n = 0;;) {
    const int found = mz_run_next(run, &draft, 1000);
    expect(found >= 0, "mz_run_next");
    if (found == 2) return n;
    n += found;
    if (found) expect(draft.step == n && draft.cached > 0, "drafts come in order");
  }
}

// A client: encodes, denoises, decodes token by token, cancels from another thread, leaves in the middle.
void client(mz_model* model, int seed) {
  const std::vector<uint8_t> flags = make_flags();
  std::vector<int32_t> ids(97);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = (int)(i * 7 + seed) % VOCAB;
  mz_cache* cache = mz_cache_create(model, 200);
  expect(cache, "mz_cache_create");
  std::vector<float> logits(14 * (VOCAB + 1));
  for (int round = 0; round < 6; ++round) {
    const int n = (int)ids.size() - round * 5;
    expect(mz_encode(model, cache, ids.data(), 0, n) == 0, "mz_encode");
    mz_control control = make_control(13 + round, round % 2 ? 0.001f : 2.0f);
    control.temperature = round == 2 ? 1.0f : 0.0f;
    mz_run* run = mz_run_start(model, cache, n, &control, flags.data());
    expect(run, "mz_run_start");
    const int read = read_all(run);
    expect(read == mz_run_steps(run) && read == mz_run_destroy(run), "no draft is lost");
    mz_control verdict = make_verdict(13 + round, 3 * round, round % 2 ? 16 : 0, round, ids[n - 1]);
    verdict.temperature = control.temperature;
    run = mz_run_start(model, cache, n, &verdict, flags.data());
    expect(run, "mz_run_start, verdict");
    if (round % 2) expect(read_all(run) > 0, "tokens come");
    mz_run_destroy(run);
    expect(mz_forward(model, cache, ids.data(), n, 5, 9, 2, logits.data()) == 0, "mz_forward");
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
  const int32_t ids[] = {5, VOCAB + 1};
  mz_control control = make_control(16, 0.5f), verdict = make_verdict(16, 8, 16, 2, 5);
  expect(mz_encode(model, cache, ids, 0, 2) < 0, "an unknown id");
  expect(mz_encode(model, cache, ids, 32, 1) < 0, "beyond the capacity");
  expect(mz_encode(nullptr, cache, ids, 0, 1) < 0 && mz_encode(model, nullptr, ids, 0, 1) < 0, "null handles");
  expect(mz_encode(model, cache, nullptr, 0, 1) < 0, "a null pointer");
  expect(mz_forward(model, cache, ids, 0, -1, 2, 0, nullptr) < 0, "less than no rows");
  expect(mz_forward(model, cache, ids, INT32_MAX, INT32_MAX, 2, 0, nullptr) < 0, "rows beyond all bounds");
  expect(!mz_run_start(model, cache, 17, &control, flags.data()), "a canvas beyond the capacity");
  expect(!mz_run_start(model, cache, INT32_MAX, &control, flags.data()), "a context beyond all bounds");
  expect(!mz_run_start(model, cache, 1, nullptr, flags.data()), "no control");
  expect(!mz_run_start(model, cache, 1, &control, nullptr), "no flags");
  expect(!mz_run_start(model, cache, 0, &verdict, flags.data()), "no context");
  expect(!mz_run_start(model, cache, 10, &verdict, flags.data()), "no slots for what is judged");
  verdict.n_drafted = INT32_MAX;
  expect(!mz_run_start(model, cache, 1, &verdict, flags.data()), "a draft beyond all bounds");
  const int8_t q[1] = {};
  expect(mz_model_set_int8(model, "blocks.0.o.weight", q, nullptr, 1, 1) < 0, "no scales");
  control.hole_stop[0] = 17;
  expect(!mz_run_start(model, cache, 1, &control, flags.data()), "a hole beyond the canvas");
  expect(!mz_model_create(nullptr, MZ_INT8, 0, 1) && !mz_model_create(SHAPES, MZ_FP8, 0, 1), "no such model");
  expect(!mz_model_create(SHAPES, MZ_INT8, 1, 1), "no such device");
  expect(mz_run_next(nullptr, nullptr, 0) < 0 && *mz_last_error(), "a null run");
  mz_cache_destroy(cache);
}

}  // namespace

int main() {
  for (int precision : {MZ_INT8, MZ_BF16})
    for (int n_threads : {1, 3}) {
      mz_model* model = make_model(SHAPES[n_threads == 3], precision, n_threads);
      bad_arguments(model);
      std::vector<std::thread> clients;
      for (int i = 0; i < 3; ++i) clients.emplace_back(client, model, i);
      for (std::thread& thread : clients) thread.join();
      mz_model_destroy(model);
    }
  // A run outlives the handles of what it runs on.
  mz_model* model = make_model(SHAPES[0], MZ_INT8, 2);
  mz_cache* cache = mz_cache_create(model, 64);
  const mz_control control = make_control(16, 2.0f);
  const int32_t id = 5;
  expect(mz_encode(model, cache, &id, 0, 1) == 0, "mz_encode");
  mz_run* run = mz_run_start(model, cache, 1, &control, make_flags().data());
  mz_cache_destroy(cache);
  mz_model_destroy(model);
  expect(read_all(run) == 16, "the run goes on");
  mz_run_destroy(run);
  std::puts("ok");
}
