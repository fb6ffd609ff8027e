// Mezzotint in VS Code: puts the parts together and answers the commands.
//
// Rule: no logic here beyond what a command does.
//
//     settings (config.ts) -> the server (server.ts) -> the client (client.ts) -> drafts.ts, status.ts

import { commands, type ExtensionContext, type QuickPickItem, type TextDocument, window, workspace } from "vscode";

import { Client } from "./client";
import { languageWanted, supported, toggleLanguage } from "./config";
import { Drafts } from "./drafts";
import type { Kind } from "./follow";
import type { Manifest } from "./options";
import { findServer, install } from "./server";
import { Status } from "./status";

const SNOOZE_MINUTES = ["5 minutes", "15 minutes", "30 minutes", "60 minutes", "240 minutes"];

/** Start everything. */
export async function activate(context: ExtensionContext): Promise<void> {
  const manifest = context.extension.packageJSON as Manifest;
  const storage = context.globalStorageUri.fsPath;
  const log = window.createOutputChannel("Mezzotint", { log: true });
  const status = new Status();
  const off = new Set<string>();
  const wanted = (document: TextDocument): boolean => !off.has(document.uri.toString()) && languageWanted(document.languageId);
  const drafts = new Drafts((kind) => { client.accepted(kind); });
  const client = new Client(log, storage, manifest, status, drafts, wanted);
  context.subscriptions.push(client, drafts, status, log);

  const showOff = (): void => {
    drafts.clearDraft();
    const document = window.activeTextEditor?.document;
    status.setOff(document === undefined ? "" : whyOff(document, off));
  };

  const start = async (): Promise<void> => {
    const command = await findServer(storage);
    if (command) await client.start(command);
    else await offerInstall();
  };

  const installAndStart = async (): Promise<void> => {
    if (await install(storage, log)) await start();
  };

  const offerInstall = async (): Promise<void> => {
    if (!workspace.isTrusted) {
      status.set("error", "no server: `mezzotint` is not on the PATH; trust this folder to look into its Python interpreter");
      return;
    }
    status.set("error", "no server: `mezzotint` is not on the PATH and not in the active Python interpreter");
    const question = "Mezzotint needs its Python package. Install it into a private environment of this extension?";
    if ((await window.showInformationMessage(question, "Install", "Not Now")) === "Install") await installAndStart();
  };

  const snooze = async (): Promise<void> => {
    const title = "Mezzotint: no suggestions by themselves for so many minutes";
    const minutes = Number((await window.showQuickPick(SNOOZE_MINUTES, { title }))?.split(" ")[0]);
    if (!minutes) return;
    await client.snooze(minutes);
    void commands.executeCommand("editor.action.inlineSuggest.hide");
  };

  const toggleFile = (): void => {
    const uri = window.activeTextEditor?.document.uri.toString();
    if (uri === undefined) return;
    if (!off.delete(uri)) off.add(uri);
    showOff();
    void commands.executeCommand("editor.action.inlineSuggest.hide");
  };

  const menu = async (): Promise<void> => {
    const document = window.activeTextEditor?.document;
    const onOff = (isOn: boolean, what: string): string => `$(${isOn ? "circle-slash" : "check"}) Turn ${isOn ? "Off" : "On"} for ${what}`;
    const entries: (QuickPickItem & { run: () => unknown })[] = [
      ...(document ? [{ label: onOff(!off.has(document.uri.toString()), "This File"), run: toggleFile }] : []),
      ...(document ? [{ label: onOff(languageWanted(document.languageId), document.languageId), run: () => toggleLanguage(document.languageId) }] : []),
      status.isPaused ? { label: "End Snooze", run: () => client.snooze(0) } : { label: "Snooze", run: snooze },
      { label: "$(debug-restart) Restart Server", run: start },
      { label: "$(output) Show Log", run: () => { log.show(); } },
    ];
    await (await window.showQuickPick(entries, { placeHolder: "Mezzotint" }))?.run();
  };

  const answers: Record<string, (...args: never[]) => unknown> = {
    menu,
    toggleFile,
    toggleLanguage: () => window.activeTextEditor && toggleLanguage(window.activeTextEditor.document.languageId),
    restart: start,
    showLog: () => { log.show(); },
    install: installAndStart,
    accepted: (kind: Kind) => { drafts.clear(); client.accepted(kind); },
    snooze,
    endSnooze: () => client.snooze(0),
    acceptDraft: () => { drafts.accept(); },
    dismissDraft: () => { drafts.dismiss(); },
  };
  for (const [name, answer] of Object.entries(answers)) {
    context.subscriptions.push(commands.registerCommand(`mezzotint.${name}`, answer));
  }

  const restarting = ["command", "package", "schemes"]; // the server takes the others as they change
  context.subscriptions.push(
    window.onDidChangeActiveTextEditor(showOff),
    workspace.onDidCloseTextDocument((document) => off.delete(document.uri.toString())),
    workspace.onDidGrantWorkspaceTrust(() => void start()), // now the active interpreter may be asked
    workspace.onDidChangeConfiguration((event) => {
      if (event.affectsConfiguration("mezzotint.enable")) showOff();
      if (restarting.some((name) => event.affectsConfiguration(`mezzotint.${name}`))) void start();
    }),
  );
  showOff();
  await workspace.fs.createDirectory(context.globalStorageUri); // where the server is started
  await start();
}

/** Why a document gets no completions, or "". */
function whyOff(document: TextDocument, off: Set<string>): string {
  if (!supported(document)) return "off: only files have completions";
  if (off.has(document.uri.toString())) return "off for this file";
  return languageWanted(document.languageId) ? "" : `off for ${document.languageId}`;
}
