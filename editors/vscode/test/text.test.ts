// src/text.ts: spans and CSS.
import assert from "node:assert/strict";
import { test } from "node:test";

import { cssContent, cssShade, moved } from "../src/text";

test("spans move with what was typed, and those before it go", () => {
  assert.deepEqual(moved([[0, 2], [3, 6]], 1), [[0, 1], [2, 5]]);
  assert.deepEqual(moved([[0, 2], [3, 6]], 4), [[0, 2]]);
  assert.deepEqual(moved([[0, 2]], 2), []);
});

test("spaces and tabs stay in a pseudo-element", () => {
  assert.equal(cssContent("\ta  b", 2), "\u00a0\u00a0a\u00a0\u00a0b");
});

test("undecided columns are shaded, wide characters and tabs counted as drawn", () => {
  assert.equal(cssShade("abc", [], 4), "background: none");
  assert.match(cssShade("abcd", [[1, 3]], 4), /transparent 1ch.* 1ch 3ch, transparent 3ch/);
  assert.match(cssShade("\t漢a", [[1, 2]], 4), / 4ch 6ch,/);
  assert.match(cssShade("𝑎ab", [[2, 3]], 4), / 1ch 2ch,/); // two units of UTF-16, one column
});

test("a span of nothing is no shade", () => {
  assert.equal(cssShade("abc", [[2, 2]], 4), "background: none");
});
