// Why the server offers nothing, as the status item shows it.
//
// Rule: plain functions of what `mezzotint/status` said last; a reason that names a document is for that one alone.
//
//     shownOf({ state: "idle", message: "paused until 10:05", uri: "", kind: "Inactive", reason: "paused" }, "", "file:///a.py")
//     // { look: "off", words: "paused until 10:05" }

/** What the server or the client is doing. */
export type State = "loading" | "idle" | "denoising" | "error";

/** What the status item looks like. */
export type Look = State | "warning" | "off";

/** The parameters of `mezzotint/status`. */
export interface ServerStatus {
  state: State;
  message: string;
  uri: string;
  kind: "Normal" | "Warning" | "Error" | "Inactive";
  reason: string;
}

export const WORDS: Record<Look, string> = {
  loading: "loading the model",
  idle: "ready",
  denoising: "denoising",
  error: "error",
  warning: "warning",
  off: "off",
};

/** What is shown while a document (a URI, "" for none) is active; `off`: why it is not asked for, an error aside. */
export function shownOf(now: ServerStatus, off: string, active: string): { look: Look; words: string } {
  if (now.state === "error") return { look: "error", words: now.message || WORDS.error };
  if (off) return { look: "off", words: off };
  const concerned = now.uri === "" || now.uri === active;
  if (concerned && now.kind === "Inactive") return { look: "off", words: now.message };
  if (concerned && now.kind === "Warning") return { look: "warning", words: now.message };
  const answered = now.reason === "" && now.message ? `, ${now.message}` : "";
  return { look: now.state, words: WORDS[now.state] + answered };
}
