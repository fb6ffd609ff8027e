// What `npm run lint` checks. Rule: the strictest sets, no exceptions in the sources.
import js from "@eslint/js";
import ts from "typescript-eslint";

const NAMES = ["process", "window", "document", "getComputedStyle", "performance", "requestAnimationFrame", "ResizeObserver"];
const GLOBALS = Object.fromEntries(NAMES.map((name) => [name, "readonly"]));

export default ts.config(
  { ignores: ["dist/", "node_modules/"] },
  {
    files: ["src/**/*.ts"],
    extends: [js.configs.recommended, ts.configs.strictTypeChecked, ts.configs.stylisticTypeChecked],
    languageOptions: { parserOptions: { projectService: true } },
    rules: { "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true }] },
  },
  { files: ["*.mjs", "test/*.mjs"], extends: [js.configs.recommended], languageOptions: { globals: GLOBALS } },
);
