// Asks server.ts what it would start, for tests/e2e/test_hostile_folder.py: prints the command line as JSON.
//
// Rule: the extension's own code decides; only what VS Code would answer it (trust, the active interpreter) is given here.
//
//     node test/find.mjs '{"storage": "/home/me/storage", "trusted": false, "python": "/project/.venv/bin/python"}'

import { join } from "node:path";

import { build } from "esbuild";

const { storage, trusted, python } = JSON.parse(process.argv[2]);
const environments = {
  getActiveEnvironmentPath: () => ({ path: python }),
  resolveEnvironment: () => ({ executable: { uri: { fsPath: python } } }),
};
globalThis.vscode = {
  ConfigurationTarget: {},
  ProgressLocation: {},
  extensions: { getExtension: () => ({ activate: () => ({ environments }) }) },
  window: {},
  workspace: { isTrusted: trusted, getConfiguration: () => ({ get: (name, fallback) => fallback }) },
};
const standIn = {
  name: "stand-in",
  setup(bundle) {
    bundle.onResolve({ filter: /^vscode$/ }, ({ path }) => ({ path, namespace: "stand-in" }));
    bundle.onLoad({ filter: /.*/, namespace: "stand-in" }, () => ({ contents: "module.exports = globalThis.vscode" }));
  },
};
const entryPoints = [join(import.meta.dirname, "../src/server.ts")];
const { outputFiles } = await build({ entryPoints, plugins: [standIn], bundle: true, write: false, platform: "node", format: "esm" });
const { findServer } = await import(`data:text/javascript,${encodeURIComponent(outputFiles[0].text)}`);
process.stdout.write(JSON.stringify((await findServer(storage)) ?? null));
