// The language client: starts the server, asks it through VS Code's inline completion, starts it again when it dies.
//
// Rule: a server that dies is started again (restarts.ts says when); after the last death there is one message.
// It is started in the extension's storage, never in the opened folder, where Python would import that folder's files.
//
//     const client = new Client(log, storage, manifest, status, drafts, wanted); await client.start(["mezzotint", "lsp"])

import {
  type CancellationToken,
  type Disposable,
  type InlineCompletionContext,
  type InlineCompletionItem,
  type LogOutputChannel,
  type Position,
  Range,
  type TextDocument,
  window,
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
import type { Kind } from "./follow";
import type { Manifest } from "./options";
import { nextTry } from "./restarts";
import type { ServerStatus } from "./reason";
import type { Status } from "./status";

type Next = Parameters<NonNullable<Middleware["provideInlineCompletionItems"]>>[4];

const BLUR_MS = 100; // a cancelled request leaves its draft so long: a newer one may take it over

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
  private requests = 0;
  private startedAt = 0;
  private timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly log: LogOutputChannel,
    private readonly storage: string,
    private readonly manifest: Manifest,
    private readonly status: Status,
    private readonly drafts: Drafts,
    private readonly wanted: (document: TextDocument) => boolean,
  ) {}

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
    const request = ++this.requests;
    const cancelled = token.onCancellationRequested(() => { this.clearLater(request); });
    try {
      const found = await next(document, position, context, token);
      if (token.isCancellationRequested || this.drafts.isDismissed(document)) return undefined;
      return this.show(document, position, Array.isArray(found) ? found : (found?.items ?? []));
    } catch (error) {
      this.drafts.clearDraft();
      this.log.warn(String(error));
      return undefined;
    } finally {
      cancelled.dispose();
    }
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
    return this.drafts.finish(document, position, items.map(textOf), range) ? [] : items;
  }

  /** A cancelled request that no other follows (the editor lost the focus) takes its draft along. */
  private clearLater(request: number): void {
    setTimeout(() => {
      if (request === this.requests) this.drafts.clearDraft();
    }, BLUR_MS);
  }

  private notify(method: string, params: object): void {
    void this.client?.sendNotification(method, params).catch((error: unknown) => { this.log.warn(String(error)); });
  }
}

function textOf(item: InlineCompletionItem): string {
  return typeof item.insertText === "string" ? item.insertText : item.insertText.value;
}
