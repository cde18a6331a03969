/** What runs the program: Pulumi's real engine where it is installed, or its mock monitor with every resource really applied. */
import { type ChildProcess, spawn } from "node:child_process";
import { ROOT } from "./machine";

export type Command = "up" | "preview" | "refresh" | "destroy";

export interface Ended {
  readonly code: number | null;
  readonly output: string;
  readonly seconds: number;
}

export interface Running {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  /** What was said so far. */
  said(): string;
  /** SIGKILL, to it and to all that it has started. */
  kill(): Promise<Ended>;
}

export interface Engine {
  /** In one line, for the reader of the tests' output. */
  readonly what: string;
  /** Whether it has a state of its own, that can be refreshed and asked whether it expects changes. */
  readonly isReal: boolean;
  /** Sets a setting of the stack; a key with a dot is one of a block. */
  set(key: string, value: string, secret?: "secret"): void;
  start(command: Command, ...options: string[]): Running;
  /** Lifts what one that was killed has left behind. */
  unlock(): void;
  output(name: string): unknown;
  /** For commands that read the stack's settings, such as npm run status. */
  readonly environment: NodeJS.ProcessEnv;
  /** Forgets the stack. */
  remove(): void;
}

/** Starts a process of its own group. */
export function started(program: string, args: readonly string[], env: NodeJS.ProcessEnv): Running {
  const began = Date.now();
  const child = spawn(program, args, { cwd: ROOT, env, stdio: ["ignore", "pipe", "pipe"], detached: true });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
  }
  const ended = new Promise<Ended>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, output, seconds: (Date.now() - began) / 1000 }));
  });
  const kill = () => {
    process.kill(-(child.pid ?? 0), "SIGKILL");
    return ended;
  };
  return { child, ended, kill, said: () => output };
}
