// The item in the status bar: what the server does, and why it does nothing.
//
// Rule: "off" is the document's state and hides the server's, except that an error is always shown.
//
//     status.set("error", "the server stopped"); status.setOff("off for markdown")

import { type Disposable, MarkdownString, StatusBarAlignment, ThemeColor, window } from "vscode";

/** What the server or the client is doing. */
export type State = "loading" | "idle" | "denoising" | "error";

const ICONS = { loading: "$(loading~spin)", idle: "$(circle-filled)", denoising: "$(color-mode)", error: "$(error)", off: "$(circle-slash)" };
const WORDS = {
  loading: "loading the model",
  idle: "ready",
  denoising: "denoising",
  error: "error",
  off: "off",
};

export class Status implements Disposable {
  private readonly item = window.createStatusBarItem("mezzotint.status", StatusBarAlignment.Right, 100);
  private state: State = "loading";
  private reason = "";
  private off = "";

  constructor() {
    this.item.name = "Mezzotint";
    this.item.command = "mezzotint.menu";
    this.draw();
    this.item.show();
  }

  /** Show a state, with its reason if there is one. */
  set(state: State, reason = ""): void {
    this.state = state;
    this.reason = reason;
    this.draw();
  }

  /** Show that the active document gets no completions; "" shows that it does. */
  setOff(reason: string): void {
    this.off = reason;
    this.draw();
  }

  dispose(): void {
    this.item.dispose();
  }

  private draw(): void {
    const shown = this.off && this.state !== "error" ? "off" : this.state;
    const reason = shown === "off" ? this.off : this.reason;
    const words = reason || WORDS[shown];
    this.item.text = `${ICONS[shown]} Mezzotint`;
    this.item.tooltip = new MarkdownString().appendText(`Mezzotint: ${words}`);
    this.item.accessibilityInformation = { label: `Mezzotint, ${shown}: ${words}` };
    this.item.backgroundColor = shown === "error" ? new ThemeColor("statusBarItem.errorBackground") : undefined;
  }
}
