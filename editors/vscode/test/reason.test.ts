import assert from "node:assert/strict";
import { test } from "node:test";

import { type ServerStatus, shownOf } from "../src/reason";

const IDLE: ServerStatus = { state: "idle", message: "", uri: "", kind: "Normal", reason: "" };
const SECRET: ServerStatus = { ...IDLE, message: "it holds a private key", uri: "file:///a.py", kind: "Inactive", reason: "secret" };

test("a reason is shown for its document alone", () => {
  assert.deepEqual(shownOf(SECRET, "", "file:///a.py"), { look: "off", words: "it holds a private key" });
  assert.deepEqual(shownOf(SECRET, "", "file:///b.py"), { look: "idle", words: "ready" });
});

test("who answered is said where there is no reason", () => {
  const answered: ServerStatus = { ...IDLE, message: "answered by models.example" };
  assert.deepEqual(shownOf(answered, "", "file:///a.py"), { look: "idle", words: "ready, answered by models.example" });
});

test("a pause is shown for every document", () => {
  const paused: ServerStatus = { ...SECRET, message: "paused until 10:05", uri: "", reason: "paused" };
  assert.deepEqual(shownOf(paused, "", "file:///b.py"), { look: "off", words: "paused until 10:05" });
});

test("a warning is shown with its words", () => {
  const failed: ServerStatus = { ...SECRET, message: "Completion failed", kind: "Warning", reason: "completionFailed" };
  assert.deepEqual(shownOf(failed, "", "file:///a.py"), { look: "warning", words: "Completion failed" });
});

test("what is off here hides what the server says, but for an error", () => {
  const error: ServerStatus = { ...IDLE, state: "error", message: "no weights", kind: "Error", reason: "failed" };
  assert.deepEqual(shownOf(SECRET, "off for c", "file:///a.py"), { look: "off", words: "off for c" });
  assert.deepEqual(shownOf(error, "off for c", "file:///a.py"), { look: "error", words: "no weights" });
});

test("loading and denoising have their own words", () => {
  assert.equal(shownOf({ ...IDLE, state: "loading", message: "x", reason: "loading" }, "", "").words, "loading the model");
  assert.equal(shownOf({ ...IDLE, state: "denoising" }, "", "").look, "denoising");
});
