/** Starts a command that cannot outlive this process, and reads what it prints line by line. */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";

export interface ChildOptions {
  readonly command: readonly string[];
  readonly cwd: string;
  readonly env: NodeJS.ProcessEnv;
  /** File that everything the command prints is appended to. Its directory exists. */
  readonly log: string;
  /** The Python that holds the leash; any from 3.11 on. */
  readonly python: string;
  readonly onLine?: (line: string) => void;
  /** How long the command may take to save its work when this process is gone. */
  readonly graceSeconds?: number;
}

export interface Child {
  /** The process that holds the leash: it ends last. */
  readonly pid: number;
  /** The command's exit code; 128 + n if signal n ended it. By then all it printed was read, and no descendant is left. */
  readonly exitCode: Promise<number>;
  /** Asks the command to save and exit (SIGTERM); asked again, kills it and all that it started. */
  stop(): void;
}

const LEASH = join(__dirname, "leash.py");

export function startChild({ command, cwd, env, log, python, onLine, graceSeconds = 60 }: ChildOptions): Child {
  // Detached: a Ctrl-C in the terminal reaches this process only, which then decides. -I and -S: a quick, bare Python.
  const leash = spawn(python, ["-I", "-S", LEASH, String(graceSeconds), log, ...command], {
    cwd,
    env,
    detached: true,
    stdio: ["pipe", "pipe", "inherit"],
  });
  const lines = createInterface({ input: leash.stdout });
  lines.on("line", (line) => onLine?.(line));
  const exitCode = new Promise<number>((resolve, reject) => {
    leash.on("error", reject);
    leash.on("close", (code) => resolve(code ?? 1));
  });
  // Without a pid, exitCode rejects with the reason.
  return { pid: leash.pid ?? 0, exitCode, stop: () => void leash.kill("SIGTERM") };
}
