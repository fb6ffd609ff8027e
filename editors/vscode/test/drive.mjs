// Drives VS Code in a headless browser for tests/e2e/test_vscode.py: one JSON request a line in, one JSON answer a line out.
//
// Rule: no assertion and no waiting for an outcome here; `look` and `frames` say what is on screen, Python judges.
//
//     {"op": "type", "args": ["self.", 40]}   ->   {"result": null}

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [modules, executablePath, profile, url] = process.argv.slice(2);
const { chromium } = createRequire(`${modules}/`)("playwright-core");
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"];
const QUIET = ["--disable-component-update", "--disable-sync"];

/** In the page: what a user sees. `frames` gathers it for every painted frame in which it changed. */
function watch() {
  const plain = (one) => one.textContent.replace(/\u00a0/g, " ");
  const pseudo = (one) => ["::before", "::after"].map((name) => {
    const style = getComputedStyle(one, name);
    const text = /^"(.*)"$/.exec(style.content)?.[1] ?? "";
    return { text: text.replace(/\\(.)/g, "$1").replace(/\u00a0/g, " "), shaded: style.backgroundImage !== "none" };
  });
  const inZone = (one) => one.closest(".view-zones") !== null;
  const suggestion = () => {
    const drafts = [...document.querySelectorAll('.view-line span[class*="ced-"]')].flatMap(pseudo).filter((one) => one.text);
    const ghosts = [...document.querySelectorAll(".ghost-text-decoration, .ghost-text")].filter((one) => !inZone(one));
    return {
      draft: drafts.map((one) => one.text).join("|"),
      shaded: drafts.some((one) => one.shaded),
      ghost: ghosts.map(plain).join(""),
      ghostBelow: [...document.querySelectorAll(".view-zones .view-line")].map(plain),
    };
  };
  window.mezzotintLook = () => ({
    ...suggestion(),
    lines: [...document.querySelectorAll(".view-lines > .view-line")]
      .sort((a, b) => parseInt(a.style.top) - parseInt(b.style.top))
      .map(plain),
    dirty: document.querySelector(".tab.active.dirty") !== null,
    popup: document.querySelector(".suggest-widget.visible .monaco-list-row") !== null,
    status: document.querySelector('.statusbar-item[aria-label^="Mezzotint"], .statusbar-item [aria-label^="Mezzotint"]')?.getAttribute("aria-label") ?? "",
    messages: [...document.querySelectorAll(".notification-toast .notification-list-item-message")].map(plain),
  });
  window.mezzotintFrames = [];
  let last = "";
  const sample = () => {
    const now = suggestion();
    const key = JSON.stringify(now);
    if (key !== last) window.mezzotintFrames.push({ ...now, ms: Math.round(performance.now()) });
    last = key;
  };
  // The editor draws in animation frames of its own; a resize observer is called after all of them, before the paint.
  const clock = document.createElement("div");
  clock.style.cssText = "position: fixed; height: 1px; width: 1px; opacity: 0";
  const frame = () => {
    if (!clock.isConnected) document.body?.appendChild(clock);
    clock.style.width = clock.style.width === "1px" ? "2px" : "1px";
    requestAnimationFrame(frame);
  };
  new ResizeObserver(sample).observe(clock);
  requestAnimationFrame(frame);
}

const context = await chromium.launchPersistentContext(profile, {
  executablePath, headless: true, viewport: { width: 900, height: 560 }, deviceScaleFactor: 1.5, args: [...FLAGS, ...QUIET],
});
const page = context.pages()[0];

const operations = {
  async load() {
    await page.addInitScript(watch); // also after a reload of the window
    await page.goto(url, { waitUntil: "domcontentloaded" });
    await page.waitForSelector(".monaco-workbench .statusbar", { timeout: 90_000 });
  },
  /** Open a file, at a place if one is given. */
  async open(name, line, column) {
    await page.keyboard.press("Control+P");
    await page.waitForSelector(".quick-input-widget", { timeout: 20_000 });
    await page.keyboard.type(name);
    const row = page.locator(`.quick-input-widget .monaco-list-row[aria-label^="${name}"]`).first();
    await row.waitFor({ timeout: 20_000 });
    if (line) await page.keyboard.type(`:${line}:${column}`);
    await page.waitForTimeout(300);
    await row.click({ timeout: 20_000 }); // not Enter: another file that the letters fit may stand first
    if (line) await page.waitForSelector(".monaco-editor .view-lines", { timeout: 20_000 });
  },
  /** Press a key in the frame after which something (a field of `look`) is on screen. */
  async pressAt(field, key) {
    await page.waitForFunction((name) => window.mezzotintLook()[name], field, { timeout: 30_000, polling: "raf" });
    await page.keyboard.press(key);
  },
  async command(title) {
    await page.keyboard.press("F1");
    await page.waitForSelector(".quick-input-widget .monaco-list-row", { timeout: 20_000 });
    await page.keyboard.type(title);
    await operations.pick(title); // not Enter: another command that the words fit may stand first
  },
  /** Choose an entry of a list that a command shows. */
  pick: (label) => page.locator(`.quick-input-widget .monaco-list-row[aria-label^="${label}"]`).first().click({ timeout: 20_000 }),
  press: (key) => page.keyboard.press(key),
  type: (text, delay_ms = 0) => page.keyboard.type(text, { delay: delay_ms }),
  click: (selector) => page.locator(selector).first().click({ timeout: 60_000 }),
  look: () => page.evaluate(() => window.mezzotintLook()),
  frames: () => page.evaluate(() => window.mezzotintFrames.splice(0)),
  screen: (path) => page.screenshot({ path }),
  html: (selector) => page.evaluate((s) => [...document.querySelectorAll(s)].map((one) => one.outerHTML).join("\n"), selector),
  picture: async (path) => {
    await page.locator(".editor-instance").first().screenshot({ path, caret: "initial", animations: "allow" });
  },
  close: () => context.close(),
};

for await (const line of createInterface({ input: process.stdin })) {
  const { op, args = [] } = JSON.parse(line);
  const answer = await Promise.resolve().then(() => operations[op](...args)).then(
    (result) => ({ result: result ?? null }),
    (error) => ({ error: String(error.message).slice(0, 800) }),
  );
  process.stdout.write(`${JSON.stringify(answer)}\n`);
  if (op === "close") process.exit(0);
}
