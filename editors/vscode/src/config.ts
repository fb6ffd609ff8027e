// The settings: which documents are wanted, and the server's `initializationOptions`.
//
// Rule: nothing is decided here, VS Code's settings are only read and written; options.ts says what they mean.
//
//     wanted(document)              // mezzotint.enable, by language
//     serverOptions(manifest)       // { drafts: true, deadlineMs: 3000, ..., status: true }

import { ConfigurationTarget, type TextDocument, workspace } from "vscode";

import { isSet, isWanted, type Manifest, optionNames, SECTION } from "./options";

const SCHEMES = ["file", "untitled", "vscode-notebook-cell", "vscode-vfs", "vscode-remote"]; // refusals.py has the same

/** What the server gets at its start: what the user set here. The rest is the server's own, or in its configuration. */
export function serverOptions(manifest: Manifest): Record<string, unknown> {
  const settings = workspace.getConfiguration(SECTION);
  const wanted = optionNames(manifest).filter((name) => name === "drafts" || isSet(settings.inspect(name) ?? {}));
  const options = wanted.map((name): [string, unknown] => [name, settings.get(name)]);
  return { ...Object.fromEntries<unknown>(options), status: true };
}

/** The command line that the user chose; [] leaves the choice to server.ts. */
export function chosenCommand(): string[] {
  return workspace.getConfiguration(SECTION).get<string[]>("command", []);
}

/** What pip installs. */
export function packageToInstall(): string {
  return workspace.getConfiguration(SECTION).get("package", "mezzotint");
}

/** Whether a language gets completions. */
export function languageWanted(languageId: string): boolean {
  return isWanted(workspace.getConfiguration(SECTION).get("enable", {}), languageId);
}

/** Turn a language on or off for this user. */
export async function toggleLanguage(languageId: string): Promise<void> {
  const settings = workspace.getConfiguration(SECTION);
  const enable = { ...settings.get<Record<string, boolean>>("enable"), [languageId]: !languageWanted(languageId) };
  await settings.update("enable", enable, ConfigurationTarget.Global);
}

/** The schemes of documents that are the server's business at all: its own list, and what the user adds. */
export function schemes(): string[] {
  return [...SCHEMES, ...workspace.getConfiguration(SECTION).get<string[]>("schemes", [])];
}

/** Whether a document is of one of them. */
export function supported(document: TextDocument): boolean {
  return schemes().includes(document.uri.scheme);
}
