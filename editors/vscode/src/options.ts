// Which of package.json's settings the server gets, and which languages are wanted: what config.ts reads, as values.
//
// Rule: plain functions; package.json is the one list of settings, and all but CLIENT_ONLY are the server's options.
//
//     optionNames(manifest)                     // ["drafts", "deadlineMs", ...]
//     isWanted({ "*": true, c: false }, "c")    // false

export const SECTION = "mezzotint";
const CLIENT_ONLY = ["command", "package", "enable"];

/** What this extension reads of its own package.json. */
export interface Manifest {
  contributes: { configuration: { properties: Record<string, unknown> } };
}

/** The names of the settings that are the server's options. */
export function optionNames(manifest: Manifest): string[] {
  const names = Object.keys(manifest.contributes.configuration.properties).map((key) => key.slice(SECTION.length + 1));
  return names.filter((name) => !CLIENT_ONLY.includes(name));
}

/** Whether a setting has a value besides its default, of all that VS Code knows about it. */
export function isSet(inspected: object): boolean {
  return Object.entries(inspected).some(([name, value]) => /^(global|workspace).*Value$/.test(name) && value !== undefined);
}

/** Whether a language is on; "*" stands for those that are not named. */
export function isWanted(enable: Readonly<Record<string, boolean>>, languageId: string): boolean {
  return enable[languageId] ?? enable["*"] ?? false;
}
