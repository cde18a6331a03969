/** Looks for a program that a stage will start hours from now, so that its absence is known now. */
import { accessSync, constants } from "node:fs";
import { delimiter, resolve } from "node:path";
import type { Environment } from "../environment";
import { VisibleError } from "../visibleError";

/** Throws VisibleError if the command of `key` (a key of the config) starts with a program that is not on the PATH. */
export function requireProgram(key: string, command: readonly string[], { variables }: Environment): void {
  const [program = ""] = command;
  const directories = program.includes("/") ? [""] : (variables["PATH"] ?? "").split(delimiter);
  if (directories.some((directory) => isExecutable(resolve(directory, program)))) return;
  throw new VisibleError(
    `${key}: there is no ${program} on this machine; install it, or name a server that is, as configs/demo.yaml does`,
    2,
  );
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
