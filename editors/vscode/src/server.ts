// Finds the Python side, or installs it.
//
// Rule: the setting, then `mezzotint` on the PATH, then the active interpreter, then our own installation; nothing is
// installed without a question. No code of the opened folder is run: the interpreter, which may lie there, is not asked
// while the folder is not trusted, and every Python is started in the extension's storage, isolated (-I), since a plain
// `python -m` or `-c` imports from where it is started.
//
//     const command = await findServer(storage)      // ["mezzotint", "lsp"], or undefined
//     await install(storage, log)                    // a private venv in the extension's storage

import { execFile } from "node:child_process";
import { access, constants } from "node:fs/promises";
import { delimiter, isAbsolute, join } from "node:path";
import { promisify } from "node:util";

import { extensions, type LogOutputChannel, ProgressLocation, window, workspace } from "vscode";

import { chosenCommand, packageToInstall } from "./config";

const run = promisify(execFile);
const WINDOWS = process.platform === "win32";
const CHECK_TIMEOUT_MS = 20_000;
const INSTALL_TIMEOUT_MS = 1_800_000;
const START = "import sys; from lsp_server.cli import main; sys.exit(main())";
const CHECK = "import importlib.metadata as m; m.version('mezzotint')";

/** The part of the Python extension's interface that is used here. */
interface PythonExtension {
  environments: {
    getActiveEnvironmentPath(): { path: string };
    resolveEnvironment(path: { path: string }): Promise<{ executable: { uri?: { fsPath: string } } } | undefined>;
  };
}

/** The server's command line, or undefined if there is no server. */
export async function findServer(storage: string): Promise<string[] | undefined> {
  const chosen = chosenCommand();
  if (chosen.length > 0) return chosen;
  const program = await onPath("mezzotint");
  if (program) return [program, "lsp"];
  for (const python of [await activePython(), privatePython(storage)]) {
    if (python && (await hasServer(python, storage))) return [python, "-I", "-c", START, "lsp"];
  }
  return undefined;
}

/** Install the server into a private environment; true if it can be started now. */
export async function install(storage: string, log: LogOutputChannel): Promise<boolean> {
  const title = `Installing ${packageToInstall()}`;
  return window.withProgress({ location: ProgressLocation.Notification, title }, async (progress) => {
    try {
      const python = (await activePython()) ?? (await onPath("python3")) ?? (await onPath("python"));
      if (!python) throw new Error("there is no Python: install Python 3.10 or newer");
      progress.report({ message: "making an environment" });
      await logged(log, storage, python, ["-I", "-m", "venv", join(storage, "venv")]);
      progress.report({ message: "running pip" });
      await logged(log, storage, privatePython(storage), ["-I", "-m", "pip", "install", "--upgrade", packageToInstall()]);
      return true;
    } catch (error) {
      log.error(String(error));
      void window.showErrorMessage(`Mezzotint cannot be installed: ${lastLine(error)}`);
      return false;
    }
  });
}

/** The interpreter that the Python extension uses, if that extension is there and the folder is trusted. */
async function activePython(): Promise<string | undefined> {
  if (!workspace.isTrusted) return undefined; // it may be the folder's own .venv/bin/python
  const extension = extensions.getExtension<PythonExtension>("ms-python.python");
  if (!extension) return undefined;
  try {
    const { environments } = await extension.activate();
    const resolved = await environments.resolveEnvironment(environments.getActiveEnvironmentPath());
    return resolved?.executable.uri?.fsPath;
  } catch {
    return undefined; // another extension's trouble is not ours
  }
}

function privatePython(storage: string): string {
  return WINDOWS ? join(storage, "venv", "Scripts", "python.exe") : join(storage, "venv", "bin", "python");
}

async function hasServer(python: string, cwd: string): Promise<boolean> {
  try {
    await run(python, ["-I", "-c", CHECK], { cwd, timeout: CHECK_TIMEOUT_MS });
    return true;
  } catch {
    return false;
  }
}

async function onPath(name: string): Promise<string | undefined> {
  for (const folder of (process.env.PATH ?? "").split(delimiter).filter(isAbsolute)) {
    const file = join(folder, WINDOWS ? `${name}.exe` : name);
    if (await access(file, constants.X_OK).then(() => true, () => false)) return file;
  }
  return undefined;
}

async function logged(log: LogOutputChannel, cwd: string, program: string, args: string[]): Promise<void> {
  log.info([program, ...args].join(" "));
  const { stdout, stderr } = await run(program, args, { cwd, timeout: INSTALL_TIMEOUT_MS, maxBuffer: 1 << 26 });
  log.info(stdout + stderr);
}

function lastLine(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).trim().split("\n").at(-1) ?? "";
}
