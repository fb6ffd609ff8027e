// src/follow.ts: typing through a suggestion, and what of it is drawn.
import assert from "node:assert/strict";
import { test } from "node:test";

import { acceptedOf, type Change, drawnText, gaveUp, rests, takenBy, typedAt } from "../src/follow";

const HERE = { line: 3, character: 7 };

function change(text: string, end = HERE, start = HERE): Change {
  return { range: { start, end }, text };
}

test("what is inserted at the place was typed there", () => {
  assert.equal(typedAt(HERE, [change("ab")]), "ab");
  assert.equal(typedAt(HERE, [change("a\r\nb")]), "a\nb");
});

test("what replaces, lies elsewhere or comes in several changes was not", () => {
  const behind = { line: 3, character: 9 };
  assert.equal(typedAt(HERE, [change("ab", behind)]), "");
  assert.equal(typedAt(HERE, [change("ab", behind, behind)]), "");
  assert.equal(typedAt(HERE, [change("a"), change("b")]), "");
  assert.equal(typedAt(HERE, []), "");
});

test("candidates that say what was typed keep their rest, in their order", () => {
  assert.deepEqual(rests(["sum(a)", "max(a)", "sum(b)"], "su"), ["m(a)", "m(b)"]);
});

test("nothing is left of a candidate that was typed whole, nor where nothing was typed", () => {
  assert.deepEqual(rests(["sum", "sum(a)"], "sum"), ["(a)"]);
  assert.deepEqual(rests(["sum"], "sum"), []);
  assert.deepEqual(rests(["sum"], ""), []);
});

test("a taken word, a taken line, and a key", () => {
  assert.equal(takenBy("sum", "(a)"), "word");
  assert.equal(takenBy("sum(a)", "\nreturn a"), "line");
  assert.equal(takenBy("\n    return", " a"), "line");
  assert.equal(takenBy("s", "um"), "");
});

test("what stands behind the cursor is not drawn twice", () => {
  assert.equal(drawnText("a, b)", ")"), "a, b");
  assert.equal(drawnText("a, b", ")"), "a, b");
  assert.equal(drawnText("a, b", ""), "a, b");
});

test("further lines are a mark behind the first", () => {
  assert.equal(drawnText("a = 1\nreturn a", ""), "a = 1  …");
});

test("an accepted draft inserts what is drawn of it", () => {
  assert.deepEqual(acceptedOf("a = f(b)"), { text: "a = f(b)", kind: "full" });
  assert.deepEqual(acceptedOf("a = 1\nreturn a"), { text: "a = 1", kind: "line" });
});

test("VS Code gives up three quarters of a second after a letter, and for other reasons at other times", () => {
  assert.equal(gaveUp(760, "self.cur"), true);
  assert.equal(gaveUp(760, "größe"), true);
  assert.equal(gaveUp(760, "self."), false);
  assert.equal(gaveUp(300, "self.cur"), false);
  assert.equal(gaveUp(5000, "self.cur"), false);
  assert.equal(gaveUp(760, ""), false);
});
