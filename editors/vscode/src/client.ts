// The language client: starts the server, asks it through VS Code's inline completion, starts it again when it dies.
//
// Rule: a server that dies is started again (restarts.ts says when); after the last death there is one message.
// It is started in the extension's storage, never in the opened folder, where Python would import that folder's files.
//
//     const client = new Client(log, storage, manifest, status, drafts, wanted); await client.start(["mezzotint", "lsp"])

import {
  type CancellationToken,
  CancellationTokenSource,
  commands,
  type Disposable,
  type InlineCompletionContext,
  type InlineCompletionItem,
  type LogOutputChannel,
  type Position,
  Range,
  type TextDocument,
  type TextEditor,
  window,
  workspace,
} from "vscode";
import {
  CloseAction,
  ErrorAction,
  LanguageClient,
  type Middleware,
  RevealOutputChannelOn,
} from "vscode-languageclient/node";

import { schemes, serverOptions, supported } from "./config";
import type { DraftParams, Drafts } from "./drafts";
import { gaveUp, type Kind } from "./follow";
import type { Manifest } from "./options";
import { nextTry } from "./restarts";
import type { ServerStatus } from "./reason";
import type { Status } from "./status";

type Next = Parameters<NonNullable<Middleware["provideInlineCompletionItems"]>>[4];

const REST_MS = 250; // who types next to where the cursor has rested so long need not wait
const BLUR_MS = 100; // a cancelled request leaves its draft so long: a newer one may take it over

/** One question of VS Code's; `running` ends the server's work on it, which may go on when VS Code has given up. */
interface Asked {
  document: TextDocument;
  version: number;
  position: Position;
  running: CancellationTokenSource;
  alone: boolean; // VS Code does not wait for the answer any more
  late: InlineCompletionItem[] | undefined; // the answer, once it came after that
}

/** A language client whose troubles go to the log: the status item and one message are enough. */
class QuietClient extends LanguageClient {
  override error(message: string, data?: unknown): void {
    super.error(message, data, false);
  }
}

export class Client implements Disposable {
  private client: LanguageClient | undefined;
  private command: string[] = [];
  private starts = 0;
  private deaths = 0;
  private asked: Asked | undefined; // the newest question
  private startedAt = 0;
  private timer: NodeJS.Timeout | undefined;
  private resting: NodeJS.Timeout | undefined;
  private typedAt = 0;
  private readonly subscriptions: Disposable[];

  constructor(
    private readonly log: LogOutputChannel,
    private readonly storage: string,
    private readonly manifest: Manifest,
    private readonly status: Status,
    private readonly drafts: Drafts,
    private readonly wanted: (document: TextDocument) => boolean,
  ) {
    this.subscriptions = [
      workspace.onDidChangeTextDocument(() => { this.typedAt = Date.now(); this.moved(); }),
      window.onDidChangeTextEditorSelection((event) => { this.moved(); this.restSoon(event.textEditor); }),
      window.onDidChangeActiveTextEditor((editor) => { this.moved(); if (editor) this.restSoon(editor); }),
    ];
  }

  /** Start the server, in place of one that runs; of several calls at once the last one starts it. */
  async start(command: string[]): Promise<void> {
    const turn = ++this.starts;
    this.status.set("loading");
    await this.stop();
    if (turn !== this.starts) return;
    this.command = command;
    this.deaths = 0;
    await this.launch();
  }

  /** Stop the server. */
  async stop(): Promise<void> {
    clearTimeout(this.timer);
    const client = this.client;
    this.client = undefined;
    this.drafts.clear();
    await client?.dispose().catch((error: unknown) => { this.log.warn(String(error)); });
  }

  /** Tell the server's statistics that a suggestion was taken. */
  accepted(kind: Kind): void {
    this.notify("mezzotint/didAccept", { kind });
  }

  /** Offer nothing by itself for so many minutes; 0 ends that. */
  async snooze(minutes: number): Promise<void> {
    this.drafts.clear();
    await this.client?.sendRequest("mezzotint/snooze", { minutes });
  }

  dispose(): void {
    clearTimeout(this.resting);
    for (const one of this.subscriptions) one.dispose();
    void this.stop();
  }

  private async launch(): Promise<void> {
    const client = this.build();
    this.client = client;
    this.startedAt = Date.now();
    this.status.set("loading");
    try {
      await client.start();
    } catch (error) {
      this.lost(client, String(error));
    }
  }

  private build(): LanguageClient {
    const [program = "", ...args] = this.command;
    const server = { command: program, args, options: { cwd: this.storage } };
    const client: LanguageClient = new QuietClient("mezzotint", "Mezzotint", server, {
      documentSelector: schemes().map((scheme) => ({ scheme })),
      outputChannel: this.log,
      revealOutputChannelOn: RevealOutputChannelOn.Never,
      initializationOptions: () => serverOptions(this.manifest),
      initializationFailedHandler: () => false,
      errorHandler: {
        error: () => ({ action: ErrorAction.Continue, handled: true }),
        closed: () => {
          this.lost(client, "the server stopped");
          return { action: CloseAction.DoNotRestart, handled: true };
        },
      },
      middleware: {
        provideInlineCompletionItems: (...given) => this.provide(...given),
        workspace: { configuration: (asked) => asked.items.map(() => serverOptions(this.manifest)) }, // after a change
      },
    });
    client.onNotification("mezzotint/draft", (draft: DraftParams) => { this.drafts.receive(draft); });
    client.onNotification("mezzotint/status", (now: ServerStatus) => {
      if (client === this.client) this.status.receive(now);
    });
    return client;
  }

  /** The server is gone: start it again, a little later each time. */
  private lost(client: LanguageClient, reason: string): void {
    if (client !== this.client) return; // stopped on purpose, or told before
    this.client = undefined;
    this.drafts.clear();
    const { deaths, wait_ms } = nextTry(this.deaths, Date.now() - this.startedAt);
    this.deaths = deaths;
    this.log.error(reason);
    if (wait_ms === undefined) {
      this.giveUp(reason);
      return;
    }
    this.status.set("error", `${reason}; it is started again in ${wait_ms / 1000} s`);
    this.timer = setTimeout(() => void this.launch(), wait_ms);
  }

  private giveUp(reason: string): void {
    this.status.set("error", `${reason}; ${this.deaths} tries were made`);
    const message = `Mezzotint's server stopped ${this.deaths} times and is not started again.`;
    void window.showErrorMessage(message, "Restart", "Show Log").then((answer) => {
      if (answer === "Restart") void this.start(this.command);
      if (answer === "Show Log") this.log.show();
    });
  }

  /** Answer VS Code: drafts are drawn while the server works, its final items are ghost text. */
  private async provide(
    document: TextDocument,
    position: Position,
    context: InlineCompletionContext,
    token: CancellationToken,
    next: Next,
  ): Promise<InlineCompletionItem[] | undefined> {
    if (!this.client?.isRunning() || !supported(document) || !this.wanted(document)) return undefined;
    this.drafts.popup = context.selectedCompletionInfo !== undefined;
    if (this.drafts.popup) this.drafts.clear();
    const last = this.asked;
    if (last?.late && !this.drafts.popup && isNow(last, document, position)) {
      this.asked = { ...last, late: undefined }; // is given once
      return this.show(document, position, last.late);
    }
    last?.running.cancel();
    const running = new CancellationTokenSource();
    const asked: Asked = { document, version: document.version, position, running, alone: false, late: undefined };
    this.asked = asked;
    const cancelled = token.onCancellationRequested(() => { this.cancelled(asked); });
    try {
      const found = await next(document, position, context, asked.running.token);
      if (!this.isWanted(asked)) return undefined;
      const items = Array.isArray(found) ? found : (found?.items ?? []);
      if (!token.isCancellationRequested || items.length === 0) return this.show(document, position, items);
      asked.late = items;
      await commands.executeCommand("editor.action.inlineSuggest.trigger");
      return undefined;
    } catch (error) {
      if (asked === this.asked) this.drafts.clearDraft();
      this.log.warn(String(error));
      return undefined;
    } finally {
      cancelled.dispose();
    }
  }

  /** Whether the answer to a question may still be shown. */
  private isWanted(asked: Asked): boolean {
    if (asked !== this.asked || asked.running.token.isCancellationRequested || this.drafts.isDismissed(asked.document)) return false;
    return asked.version === asked.document.version && (!asked.alone || isNow(asked, asked.document, asked.position));
  }

  /** VS Code has cancelled a question: a newer one follows, the editor has lost the focus, or it does not wait so long. */
  private cancelled(asked: Asked): void {
    asked.alone = true;
    if (this.isWanted(asked) && gaveUp(Date.now() - this.typedAt, before(asked))) return; // the answer is shown when it comes
    asked.running.cancel();
    setTimeout(() => {
      if (asked === this.asked) this.drafts.clearDraft();
    }, BLUR_MS);
  }

  /** The text, the cursor or the editor is another: nobody waits for the answer that VS Code did not wait for. */
  private moved(): void {
    if (this.asked?.alone && !this.isWanted(this.asked)) this.asked.running.cancel();
  }

  /** Where the cursor rests the server has the model read what stands there, unless it was asked there. */
  private restSoon(editor: TextEditor): void {
    clearTimeout(this.resting);
    this.resting = setTimeout(() => {
      const { document, selection } = editor;
      if (editor !== window.activeTextEditor || !supported(document) || !this.wanted(document)) return;
      if (!this.client?.isRunning() || (this.asked && isNow(this.asked, document, selection.active))) return;
      const converter = this.client.code2ProtocolConverter;
      this.notify("mezzotint/didMove", converter.asTextDocumentPositionParams(document, selection.active));
    }, REST_MS);
  }

  private show(document: TextDocument, position: Position, items: InlineCompletionItem[]): InlineCompletionItem[] {
    const [best] = items;
    if (best === undefined) {
      this.drafts.clearDraft();
      return [];
    }
    const counted = { command: "mezzotint.accepted", title: "Mezzotint", arguments: ["full"] };
    for (const item of items) item.command = counted;
    if (this.drafts.popup) return items;
    this.notify("mezzotint/didShow", {});
    const range = best.range ?? new Range(position, position);
    this.drafts.finish(document, position, items.map(textOf), range);
    return items;
  }

  private notify(method: string, params: object): void {
    void this.client?.sendNotification(method, params).catch((error: unknown) => { this.log.warn(String(error)); });
  }
}

/** Whether a question is about the text as it is, at the cursor of the editor that the user is in. */
function isNow(asked: Asked, document: TextDocument, position: Position): boolean {
  const editor = window.activeTextEditor;
  const here = editor?.document === document && editor.selection.isEmpty && editor.selection.active.isEqual(position);
  return here && asked.document === document && asked.version === document.version && asked.position.isEqual(position);
}

/** The line of a question before the cursor. */
function before(asked: Asked): string {
  return asked.document.lineAt(asked.position.line).text.slice(0, asked.position.character);
}

function textOf(item: InlineCompletionItem): string {
  return typeof item.insertText === "string" ? item.insertText : item.insertText.value;
}
