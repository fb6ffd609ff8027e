// What `npm run lint` checks. Rule: the strictest sets, no exceptions in the sources.
import js from "@eslint/js";
import ts from "typescript-eslint";

const NAMES = ["process", "window", "document", "getComputedStyle", "performance", "requestAnimationFrame", "ResizeObserver"];
const GLOBALS = Object.fromEntries(NAMES.map((name) => [name, "readonly"]));
const TEST = { from: "package", package: "node:test", name: "test" }; // the runner waits for what it returns

export default ts.config(
  { ignores: ["dist/", "node_modules/"] },
  {
    files: ["src/**/*.ts", "test/**/*.ts"],
    extends: [js.configs.recommended, ts.configs.strictTypeChecked, ts.configs.stylisticTypeChecked],
    languageOptions: { parserOptions: { projectService: true } },
    rules: {
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true }],
      "@typescript-eslint/no-floating-promises": ["error", { allowForKnownSafeCalls: [TEST] }],
    },
  },
  { files: ["*.mjs", "test/*.mjs"], extends: [js.configs.recommended], languageOptions: { globals: GLOBALS } },
);
