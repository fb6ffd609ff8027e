// The item in the status bar: what the server does, and why it does nothing.
//
// Rule: reason.ts decides what is shown, of what the server said, of the active document, and of what is off here.
//
//     status.set("error", "the server stopped"); status.setOff("off for markdown"); status.receive(params)

import { type Disposable, MarkdownString, StatusBarAlignment, ThemeColor, window } from "vscode";

import { type ServerStatus, shownOf, type State } from "./reason";

const ICONS = {
  loading: "$(loading~spin)",
  idle: "$(circle-filled)",
  denoising: "$(color-mode)",
  error: "$(error)",
  warning: "$(warning)",
  off: "$(circle-slash)",
};
const BACKGROUNDS: Record<string, string> = { error: "statusBarItem.errorBackground", warning: "statusBarItem.warningBackground" };

export class Status implements Disposable {
  private readonly item = window.createStatusBarItem("mezzotint.status", StatusBarAlignment.Right, 100);
  private now: ServerStatus = { state: "loading", message: "", uri: "", kind: "Normal", reason: "" };
  private off = "";

  constructor() {
    this.item.name = "Mezzotint";
    this.item.command = "mezzotint.menu";
    this.draw();
    this.item.show();
  }

  /** Show a state of the client's own, with its reason if there is one. */
  set(state: State, message = ""): void {
    this.receive({ state, message, uri: "", kind: state === "error" ? "Error" : "Normal", reason: "" });
  }

  /** Show what the server said. */
  receive(now: ServerStatus): void {
    this.now = now;
    this.draw();
  }

  /** Show that the active document gets no completions; "" shows that it does. */
  setOff(reason: string): void {
    this.off = reason;
    this.draw();
  }

  /** Whether the user has paused it. */
  get isPaused(): boolean {
    return this.now.reason === "paused";
  }

  dispose(): void {
    this.item.dispose();
  }

  private draw(): void {
    const { look, words } = shownOf(this.now, this.off, window.activeTextEditor?.document.uri.toString() ?? "");
    const background = BACKGROUNDS[look];
    this.item.text = `${ICONS[look]} Mezzotint`;
    this.item.tooltip = new MarkdownString().appendText(`Mezzotint: ${words}`);
    this.item.accessibilityInformation = { label: `Mezzotint, ${look}: ${words}` };
    this.item.backgroundColor = background === undefined ? undefined : new ThemeColor(background);
  }
}
