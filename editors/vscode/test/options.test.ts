// src/options.ts and src/restarts.ts.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { isSet, isWanted, type Manifest, optionNames } from "../src/options";
import { nextTry } from "../src/restarts";

test("the server gets every setting but the extension's own", () => {
  const properties = { "mezzotint.command": {}, "mezzotint.drafts": {}, "mezzotint.enable": {}, "mezzotint.maxTokens": {} };
  assert.deepEqual(optionNames({ contributes: { configuration: { properties } } }), ["drafts", "maxTokens"]);
});

test("the settings of package.json are read as they stand there", () => {
  const names = optionNames(JSON.parse(readFileSync("package.json", "utf-8")) as Manifest);
  assert.ok(names.includes("minConfidencePercent") && !names.includes("package"));
});

test("a setting is set where the user, the workspace or one of its folders gives it a value, false and 0 included", () => {
  assert.equal(isSet({ key: "mezzotint.model", defaultValue: "" }), false);
  assert.equal(isSet({ key: "mezzotint.model", defaultValue: "", globalValue: undefined }), false);
  assert.equal(isSet({ defaultValue: true, globalValue: false }), true);
  assert.equal(isSet({ defaultValue: 1, workspaceFolderValue: 0 }), true);
  assert.equal(isSet({ defaultValue: 1, workspaceLanguageValue: 2 }), true);
});

test("a language is on where it, or all that are not named, are on", () => {
  assert.equal(isWanted({}, "python"), false);
  assert.equal(isWanted({ "*": false }, "python"), false);
  assert.equal(isWanted({ "*": false, python: true }, "python"), true);
  assert.equal(isWanted({ "*": true, python: false }, "python"), false);
});

test("a server that dies is started again later each time, and the fifth time not", () => {
  const waits = [0, 1, 2, 3, 4].map((deaths) => nextTry(deaths, 10).wait_ms);
  assert.deepEqual(waits, [1000, 2000, 4000, 8000, undefined]);
  assert.equal(nextTry(4, 10).deaths, 5);
});

test("one that lived for a minute starts the count anew", () => {
  assert.deepEqual(nextTry(4, 60_001), { deaths: 1, wait_ms: 1000 });
});
