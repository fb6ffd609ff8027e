// What becomes of a suggestion while the user types, and how much of it a draft draws.
//
// Rule: plain functions of texts and places; drafts.ts gives them what VS Code says.
//
//     typedAt(place, changes)              // "ab", if just that was inserted there
//     rests(["abc", "abd", "x"], "ab")     // ["c", "d"]

/** A position, as VS Code's own. */
export interface Place {
  readonly line: number;
  readonly character: number;
}

/** A change of a document, as VS Code tells it. */
export interface Change {
  readonly range: { readonly start: Place; readonly end: Place };
  readonly text: string;
}

/** How much of a suggestion was taken. */
export type Kind = "full" | "line" | "word";

const MORE = "  …"; // not how many: the number would jump from draft to draft
// VS Code by itself ends a request of a typed word so long after the key, to offer its popup menu instead
// (`editor.quickSuggestions`, offWhenInlineCompletions); what comes much earlier or later has another reason.
const GIVES_UP_MS = { from: 650, to: 1500 };

function same(one: Place, other: Place): boolean {
  return one.line === other.line && one.character === other.character;
}

/** What was inserted at a place by a change that replaced nothing; "" for any other change. */
export function typedAt(place: Place, changes: readonly Change[]): string {
  const [change] = changes;
  if (change === undefined || changes.length > 1) return "";
  const inserted = same(change.range.start, change.range.end) && same(change.range.start, place);
  return inserted ? change.text.replaceAll("\r\n", "\n") : "";
}

/** What is left of the candidates that say what was typed, and more. */
export function rests(candidates: readonly string[], typed: string): string[] {
  const saying = candidates.filter((text) => typed && text.startsWith(typed) && text !== typed);
  return saying.map((text) => text.slice(typed.length));
}

/** How much was taken of ghost text that has a rest; one character is a key, and "" is returned. */
export function takenBy(typed: string, rest: string): Kind | "" {
  if (typed.length <= 1) return "";
  return rest.startsWith("\n") || typed.includes("\n") ? "line" : "word";
}

/** Whether a cancelled request is one that VS Code does not want to wait for, in a line that reads so before the cursor. */
export function gaveUp(sinceTyped_ms: number, before: string): boolean {
  return /[\p{L}\p{N}_]$/u.test(before) && sinceTyped_ms >= GIVES_UP_MS.from && sinceTyped_ms <= GIVES_UP_MS.to;
}

/** What accepting a draft inserts, which is what is drawn of it: all of a line, or the first of several. */
export function acceptedOf(text: string): { text: string; kind: Kind } {
  const [first = "", ...below] = text.split("\n");
  return { text: first, kind: below.length > 0 ? "line" : "full" };
}

/** The text of a draft on one line: without what stands behind the cursor already, with a mark for further lines. */
export function drawnText(text: string, kept: string): string {
  const [first = "", ...below] = text.split("\n");
  if (below.length > 0) return first + MORE;
  return kept && first.endsWith(kept) ? first.slice(0, -kept.length) : first;
}
