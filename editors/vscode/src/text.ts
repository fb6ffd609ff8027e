// A draft's text and its undecided spans as CSS.
//
// Rule: plain functions; spans are [start, end) in UTF-16 units of the text, as the server sends them.
//
//     moved([[1, 3]], 1)                 // [[0, 2]], after one character was typed
//     cssShade("abc", [[1, 3]], 4)       // a gradient behind the second and third column

export type Span = [number, number];

const SHADE = "color-mix(in srgb, var(--vscode-editorGhostText-foreground) 30%, transparent)";
const WIDE = /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1faff}]/u;

/** The spans after so many characters went from the beginning. */
export function moved(masked: Span[], typed: number): Span[] {
  return masked.map(([start, end]): Span => [Math.max(0, start - typed), end - typed]).filter(([, end]) => end > 0);
}

/** The text for `content`: pseudo-elements fold spaces and tabs unless these are other characters. */
export function cssContent(text: string, tabSize: number): string {
  return text.replaceAll("\t", " ".repeat(tabSize)).replaceAll(" ", "\u00a0");
}

/** A background that shades the undecided columns. */
export function cssShade(text: string, masked: Span[], tabSize: number): string {
  const stops = masked.flatMap(([start, end]) => {
    const [from, to] = [columns(text.slice(0, start), tabSize), columns(text.slice(0, end), tabSize)];
    return from === to ? [] : [`transparent ${from}ch`, `${SHADE} ${from}ch ${to}ch`, `transparent ${to}ch`];
  });
  return stops.length === 0 ? "background: none" : `background: linear-gradient(90deg, ${stops.join(", ")}); border-radius: 2px`;
}

/** How many columns of a fixed-width font a text takes. */
function columns(text: string, tabSize: number): number {
  return Array.from(text).reduce((sum, char) => sum + (char === "\t" ? tabSize : WIDE.test(char) ? 2 : 1), 0);
}
