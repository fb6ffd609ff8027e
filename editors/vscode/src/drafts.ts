// The suggestion on screen: drafts drawn as a decoration, the final one left to VS Code's own ghost text.
//
// Rule: one suggestion at a time, of the active editor, at its cursor, for its present text; whatever else arrives is
// dropped. While the user types what it says, it only loses its first characters. A decoration is one pseudo-element,
// so undecided spans are a gradient behind it, and the lines after the first are an ellipsis until the final text.
//
//     drafts.receive(params)                // mezzotint/draft
//     drafts.finish(document, position, [text], range)   // the answer: the decoration goes, ghost text comes

import {
  commands,
  type Disposable,
  Position,
  Range,
  type TextDocument,
  type TextDocumentChangeEvent,
  type TextEditor,
  type TextEditorSelectionChangeEvent,
  type ThemableDecorationAttachmentRenderOptions,
  ThemeColor,
  window,
  workspace,
} from "vscode";

import { acceptedOf, drawnText, type Kind, rests, takenBy, typedAt } from "./follow";
import { cssContent, cssShade, moved, type Span } from "./text";

/** The parameters of `mezzotint/draft` that are used here. */
export interface DraftParams {
  uri: string;
  version: number;
  position: { line: number; character: number };
  range: { start: { line: number; character: number }; end: { line: number; character: number } };
  text: string;
  masked: Span[];
  done: boolean;
}

/** A suggestion for `document` as it is at `version`; `replaced` characters after the cursor give way to it. */
interface Suggestion {
  document: TextDocument;
  version: number;
  position: Position;
  text: string;
  others: string[]; // further candidates, one of which VS Code may show
  masked: Span[];
  replaced: number;
  final: boolean;
}

const VISIBLE = "mezzotint.draftVisible";

export class Drafts implements Disposable {
  private readonly decoration = window.createTextEditorDecorationType({});
  private readonly subscriptions: Disposable[];
  private suggestion: Suggestion | undefined;
  private drawnIn: TextEditor | undefined;
  private dismissed: { document: TextDocument; version: number } | undefined;
  /** While the popup menu has the word, no drafts are drawn. */
  popup = false;

  constructor(private readonly accepted: (kind: Kind) => void) {
    this.subscriptions = [
      workspace.onDidChangeTextDocument((event) => { this.documentChanged(event); }),
      window.onDidChangeTextEditorSelection((event) => { this.selectionChanged(event); }),
      window.onDidChangeActiveTextEditor(() => { this.clear(); }),
    ];
  }

  /** Take a draft from the server. */
  receive(params: DraftParams): void {
    const editor = window.activeTextEditor;
    const position = new Position(params.position.line, params.position.character);
    if (params.done || !params.text.trim()) return; // the answer says the last; one without text would only blink
    if (this.popup || editor?.document.uri.toString() !== params.uri) return;
    if (editor.document.version !== params.version || !atCursor(editor, position)) return;
    if (this.isDismissed(editor.document)) return;
    if (this.suggestionAt(editor.document, position)?.final) return; // VS Code shows this text already
    const replaced = params.range.end.character - params.position.character;
    const { version, text, masked } = params;
    const draft = { document: editor.document, version, position, text, others: [], masked, replaced };
    this.suggestion = { ...draft, final: false };
    this.draw(editor);
  }

  /** Take the final texts, which VS Code shows. */
  finish(document: TextDocument, position: Position, texts: string[], range: Range): void {
    const [text = "", ...others] = texts;
    const replaced = range.end.character - position.character;
    const { version } = document;
    this.suggestion = { document, version, position, text, others, masked: [], replaced, final: true };
    this.erase();
  }

  /** Forget the suggestion, if it is not VS Code's already. */
  clearDraft(): void {
    if (this.suggestion?.final === false) this.clear();
  }

  /** Forget the suggestion. */
  clear(): void {
    this.suggestion = undefined;
    this.erase();
  }

  /** Forget the draft and all that the server still says about this text. */
  dismiss(): void {
    const one = this.suggestion;
    this.dismissed = one && { document: one.document, version: one.version };
    this.clear();
  }

  /** Whether the user wants nothing for this text. */
  isDismissed(document: TextDocument): boolean {
    return this.dismissed?.document === document && this.dismissed.version === document.version;
  }

  /** Insert what is drawn of the draft; where its text begins with blanks the key indents, as it always did. */
  accept(): void {
    const one = this.suggestion;
    if (one === undefined || /^\s/.test(one.text)) void commands.executeCommand("tab");
    else void this.insert(one);
  }

  dispose(): void {
    this.clear();
    for (const one of [...this.subscriptions, this.decoration]) one.dispose();
  }

  private suggestionAt(document: TextDocument, position: Position): Suggestion | undefined {
    const one = this.suggestion;
    return one?.document === document && one.version === document.version && one.position.isEqual(position) ? one : undefined;
  }

  /** Follow the user: typed through, accepted in part or whole, or gone. */
  private documentChanged(event: TextDocumentChangeEvent): void {
    const old = this.suggestion;
    if (old?.document !== event.document || event.contentChanges.length === 0) return;
    const typed = typedAt(old.position, event.contentChanges);
    const [text, ...others] = rests([old.text, ...old.others], typed);
    if (text === undefined) {
      this.clear();
      return;
    }
    const taken = old.final ? takenBy(typed, text) : "";
    if (taken) this.accepted(taken);
    const [change] = event.contentChanges;
    const position = event.document.positionAt(event.document.offsetAt(old.position) + (change?.text.length ?? 0));
    const masked = moved(old.masked, typed.length);
    this.suggestion = { ...old, text, others, masked, position, version: event.document.version };
    if (!old.final && window.activeTextEditor) this.draw(window.activeTextEditor);
  }

  private selectionChanged(event: TextEditorSelectionChangeEvent): void {
    const one = this.suggestion;
    if (one?.document === event.textEditor.document && !atCursor(event.textEditor, one.position)) this.clear();
  }

  private draw(editor: TextEditor): void {
    const one = this.suggestion;
    if (!one) return;
    const line = editor.document.lineAt(one.position.line).text;
    const kept = line.slice(one.position.character, one.position.character + one.replaced);
    const atEnd = !line.slice(one.position.character).trim();
    const drawn = ghost(drawnText(one.text, kept), one.masked, Number(editor.options.tabSize), atEnd);
    const renderOptions = atEnd ? { before: drawn } : { after: drawn };
    editor.setDecorations(this.decoration, [{ range: new Range(one.position, one.position), renderOptions }]);
    if (!this.drawnIn) void commands.executeCommand("setContext", VISIBLE, true);
    this.drawnIn = editor;
  }

  private erase(): void {
    if (!this.drawnIn) return;
    this.drawnIn.setDecorations(this.decoration, []);
    this.drawnIn = undefined;
    void commands.executeCommand("setContext", VISIBLE, false);
  }

  /** Insert a draft as one undo step, the cursor behind it. */
  private async insert(draft: Suggestion): Promise<void> {
    const editor = window.activeTextEditor;
    const { text, kind } = acceptedOf(draft.text);
    const stop = draft.position.translate(0, kind === "full" ? draft.replaced : 0);
    this.clear();
    if (editor && (await editor.edit((edit) => { edit.replace(new Range(draft.position, stop), text); }))) this.accepted(kind);
  }
}

/**
 * A draft as a pseudo-element. At the end of a line it takes no room: what is typed next lies upon the same character of
 * the draft, until the draft is drawn anew, and nothing moves meanwhile.
 */
function ghost(text: string, masked: Span[], tabSize: number, atEnd: boolean): ThemableDecorationAttachmentRenderOptions {
  return {
    contentText: cssContent(text, tabSize),
    color: new ThemeColor("editorGhostText.foreground"),
    fontStyle: "italic", // as ghost text is
    textDecoration: `none; ${cssShade(text, masked, tabSize)}${atEnd ? "; position: absolute" : ""}`,
  };
}

/** Whether the editor has one cursor, there, and nothing is selected. */
function atCursor(editor: TextEditor, position: Position): boolean {
  return editor.selections.length === 1 && editor.selection.isEmpty && editor.selection.active.isEqual(position);
}
