// Control blocks, rows and shapes that are wrong in random places: each is run or refused, under the sanitizers.
//
//   make sanitize            a few thousand
//   MEZZOTINT_FUZZ=1000000 MEZZOTINT_FUZZ_SEED=7 build/sanitize-address/fuzz
#include <climits>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "mezzotint/c_api.h"

namespace {

constexpr int EVERYTHING = 1 << 30, VOCAB = 60, CAPACITY = 300, TRIES = 3000, MAX_DRAFTS = 6;
#ifdef MZ_EMULATED  // a GPU takes heads of 64 and 128
constexpr const char* WHAT = "cuda";
const mz_shape SHAPES[] = {
    {VOCAB, 32, 1, 1, 1, 16, 64, MZ_EXTRAS | MZ_QK_NORM, 1, EVERYTHING, 10000.0f, 1e-6f},
    {VOCAB, 48, 1, 1, 1, 16, 64, MZ_QKV_BIAS | MZ_OWN_HEAD | MZ_SHIFT, 1, 4, 10000.0f, 1e-5f},
    {VOCAB, 32, 1, 2, 2, 16, 64, 0, 32, 32, 10000.0f, 1e-5f},
};
#else
constexpr const char* WHAT = "cpu";
const mz_shape SHAPES[] = {
    {VOCAB, 16, 1, 2, 1, 16, 8, MZ_EXTRAS | MZ_QK_NORM, 1, EVERYTHING, 10000.0f, 1e-6f},
    {VOCAB, 14, 1, 1, 1, 10, 10, MZ_QKV_BIAS | MZ_OWN_HEAD | MZ_SHIFT, 1, 4, 10000.0f, 1e-5f},
    {VOCAB, 16, 1, 2, 2, 16, 8, 0, 32, 32, 10000.0f, 1e-5f},
};
#endif
const int32_t ODD[] = {0, 1, -1, 2, 7, 8, 9, 59, 60, 127, 128, 129, 255, 256, 300, 4096, 65536, INT_MAX, INT_MIN,
                       0x7F800000 /* infinity */, 0x7FC00000 /* NaN */, 0x3F800000 /* 1.0f */, 0x3F000000};

uint64_t state = 1;

uint32_t random_below(uint32_t n) {
  state = state * 6364136223846793005ull + 1442695040888963407ull;
  return (uint32_t)(state >> 33) % n;
}

template <class T, int N>
const T& one_of(const T (&values)[N]) {
  return values[random_below(N)];
}

void expect(bool ok, const char* what, long number) {
  if (ok) return;
  std::fprintf(stderr, "input %ld: %s: %s\n", number, what, mz_last_error());
  std::abort();
}

void set(mz_model* model, const std::string& name, int64_t n) {
  std::vector<uint16_t> words(n);
  for (uint16_t& word : words) word = (uint16_t)(0x3D80 + random_below(0x100) + (random_below(2) << 15));
  expect(mz_model_set(model, name.c_str(), words.data(), n) == 0, name.c_str(), 0);
}

mz_model* make_model(const mz_shape& s) {
  mz_model* model = mz_model_create(&s, MZ_BF16, 0, 1);
  expect(model, "mz_model_create", 0);
  const int64_t d = s.d_model, n_q = s.n_heads * s.d_head, n_qkv = n_q + 2 * s.n_kv_heads * s.d_head;
  set(model, "embed.weight", s.vocab_size * d);
  set(model, "norm.weight", d);
  if (s.flags & MZ_OWN_HEAD) set(model, "head.weight", s.vocab_size * d);
  if (s.flags & MZ_EXTRAS) {
    for (const char* name : {"left", "right"}) set(model, name, (s.vocab_size + 1) * d);
    for (const char* name : {"canvas_embed", "embed_norm.weight"}) set(model, name, d);
  }
  const std::string block = "blocks.0.";
  for (const char* name : {"attn_norm.weight", "mlp_norm.weight"}) set(model, block + name, d);
  if (s.flags & MZ_QK_NORM)
    for (const char* name : {"q_norm.weight", "k_norm.weight"}) set(model, block + name, s.d_head);
  if (s.flags & MZ_QKV_BIAS) set(model, block + "qkv.bias", n_qkv);
  set(model, block + "qkv.weight", n_qkv * d);
  set(model, block + "o.weight", d * n_q);
  set(model, block + "gate_up.weight", 2 * s.d_ff * d);
  set(model, block + "down.weight", d * s.d_ff);
  expect(mz_model_ready(model) == 0, "mz_model_ready", 0);
  return model;
}

// One that may be run: one or two holes in a canvas with fixed rows between them.
mz_control good_control() {
  mz_control c = {};
  c.deadline_us = -1;
  c.n_rows = 1 + random_below(40);
  c.mask_id = 0, c.end_id = 1;
  c.n_holes = c.n_rows > 4 && random_below(2) ? 2 : 1;
  c.hole_stop[0] = c.n_holes == 2 ? c.n_rows / 2 : c.n_rows;
  c.hole_start[1] = c.n_rows / 2 + 1, c.hole_stop[1] = c.n_rows;
  if (c.n_holes == 2) c.fixed[c.n_rows / 2] = 1, c.ids[c.n_rows / 2] = 5;
  c.multiline[0] = random_below(2);
  c.max_steps = 1 + random_below(16), c.max_revisions = random_below(4);
  c.threshold = random_below(2) ? 0.5f : 2.0f, c.revise_below = 0.02f;
  c.has_left = random_below(2), c.has_right = random_below(2);
  c.present = random_below(2) ? 0xFFFFFFFF : random_below(INT_MAX);
  c.temperature = random_below(4) ? 0.0f : 1.0f;
  c.last_id = 3, c.head = random_below(VOCAB);
  c.verdict = random_below(2);
  c.judge_rows = random_below(20), c.canvas_rows = random_below(20);
  c.patience = random_below(3), c.rest = random_below(3);
  c.n_drafted = random_below(c.hole_stop[0] + 1);
  for (int i = 0; i < c.n_drafted; ++i) c.drafted[i] = random_below(VOCAB);
  return c;
}

// Some words of it are something else; those that say how much there is more often than the arrays.
void spoil(mz_control* c) {
  const uint32_t n_words = sizeof *c / 4;
  for (uint32_t n = random_below(4); n > 0; --n) {
    const uint32_t at = random_below(4) ? random_below(30) : random_below(n_words);
    const uint32_t word = random_below(2) ? at : n_words - 1 - at;
    const int32_t value = random_below(3) ? one_of(ODD) : (int32_t)random_below(INT_MAX);
    std::memcpy((char*)c + word * 4, &value, 4);
  }
  if (random_below(8) == 0) c->deadline_us = (int64_t)(state ^ (state << 17));
  int32_t* const fields[] = {&c->mask_id, &c->end_id, &c->max_steps, &c->max_revisions, &c->judge_rows, &c->canvas_rows,
                             &c->patience, &c->rest, &c->last_id, &c->head, &c->n_drafted, &c->verdict, &c->n_holes};
  if (random_below(3) == 0) *one_of(fields) = one_of(ODD);
}

int run_or_refuse(mz_model* model, mz_cache* cache, long number) {
  mz_control control = good_control();
  spoil(&control);
  const int32_t n_context = random_below(4) ? 20 : one_of(ODD);
  std::vector<uint8_t> flags(VOCAB);
  for (uint8_t& flag : flags) flag = random_below(4) ? 0 : (uint8_t)random_below(256);
  if (control.head >= 0 && control.head < VOCAB && random_below(2)) flags[control.head] |= MZ_HEAD;
  mz_run* run = mz_run_start(model, cache, n_context, &control, flags.data());
  if (!run) {
    expect(*mz_last_error(), "a refusal says why", number);
    return 0;
  }
  mz_draft draft;
  for (int n = 0; n < MAX_DRAFTS; ++n) {
    const int found = mz_run_next(run, &draft, 1000000);
    if (found != 1) break;
    expect(draft.cached >= 0 && draft.cached <= CAPACITY, "what is cached is in the cache", number);
    for (int row = 0; row < control.n_rows; ++row)
      expect(draft.guess[row] >= 0 && draft.guess[row] < VOCAB, "a guess is a token", number);
  }
  mz_run_destroy(run);
  return 1;
}

void forward_or_refuse(mz_model* model, mz_cache* cache) {
  std::vector<int32_t> ids(CAPACITY);
  for (int32_t& id : ids) id = random_below(50) ? random_below(VOCAB) : one_of(ODD);
  const auto size = [] { return random_below(3) ? (int32_t)random_below(40) : one_of(ODD); };
  std::vector<float> logits(CAPACITY * VOCAB);
  mz_forward(model, cache, ids.data(), size(), size(), size(), size(), random_below(2) ? logits.data() : nullptr);
}

void make_or_refuse(long number) {
  const int32_t sizes[] = {-1, 0, 1, 2, 3, 7, 16, 64, 1025, 65537, INT_MAX, INT_MIN};
  mz_shape shape = SHAPES[number % 3];
  int32_t* const fields[] = {&shape.vocab_size, &shape.d_model, &shape.n_layers, &shape.n_heads, &shape.n_kv_heads,
                             &shape.d_ff, &shape.d_head, &shape.flags, &shape.context_sees, &shape.canvas_sees};
  for (uint32_t n = 1 + random_below(3); n > 0; --n) *one_of(fields) = one_of(sizes);
  mz_model* model = mz_model_create(&shape, one_of(sizes) & 3, 0, 1);
  if (!model) return expect(*mz_last_error(), "a refusal says why", number);
  const uint16_t words[64] = {};
  mz_model_set(model, "norm.weight", words, random_below(64));
  mz_model_set(model, "blocks.0.no", words, random_below(64));
  mz_model_destroy(model);
}

}  // namespace

int main() {
  const char* given = std::getenv("MEZZOTINT_FUZZ");
  const long tries = given ? std::atol(given) : TRIES;
  const char* seed = std::getenv("MEZZOTINT_FUZZ_SEED");  // of a shard: other inputs
  if (seed) state = 0x9E3779B97F4A7C15ull * (uint64_t)(std::atol(seed) + 1);
  long n_run = 0;
  for (const mz_shape& shape : SHAPES) {
    mz_model* model = make_model(shape);
    mz_cache* cache = mz_cache_create(model, CAPACITY);
    std::vector<int32_t> ids(20, 3);
    expect(mz_encode(model, cache, ids.data(), 0, 20) == 0, "mz_encode", 0);
    for (long number = 0; number < tries / 3; ++number) {
      n_run += run_or_refuse(model, cache, number);
      if (number % 16 == 0) forward_or_refuse(model, cache);
      if (number % 64 == 0) make_or_refuse(number);
    }
    mz_cache_destroy(cache);
    mz_model_destroy(model);
  }
  std::printf("fuzzed {\"%s control blocks\": %ld, \"%s control blocks run\": %ld}\n", WHAT, tries / 3 * 3, WHAT, n_run);
}
