/** Runs one stage as a process of this machine. What the stage does is the command's affair. */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { ARTIFACTS, join } from "../artifacts";
import type { Environment } from "../environment";
import type { StageSpec } from "../stages";
import { type Child, startChild } from "./child";
import { type Event, eventOf } from "./events";

export interface StageRun {
  readonly spec: StageSpec;
  readonly environment: Environment;
  readonly cwd: string;
  /** Directory of what is downloaded or converted once and used by every run. */
  readonly cache: string;
  readonly onEvent: (event: Event) => void;
  readonly onStart: (child: Child) => void;
}

export interface Outcome {
  /** 0: done; 2: the user's mistake; 143: stopped and saved; 128 + n: ended by signal n; else: may be tried again. */
  readonly exitCode: number;
  readonly seconds: number;
  /** What the stage said was wrong, if it did. */
  readonly message: string | undefined;
  /** The last lines it printed for people. */
  readonly lastWords: readonly string[];
}

const LAST_WORDS = 15;

/** The file that everything a stage prints is kept in, over all its attempts. */
export const logOf = ({ output, name }: StageSpec): string => join(output, `${name}.log`);

export async function runStage({ spec, environment, cwd, cache, onEvent, onStart }: StageRun): Promise<Outcome> {
  const startedAt = Date.now();
  const document = join(spec.output, ARTIFACTS.document);
  mkdirSync(spec.output, { recursive: true });
  mkdirSync(cache, { recursive: true });
  writeFileSync(document, `${JSON.stringify(spec.document, null, 2)}\n`);
  writeFileSync(logOf(spec), `--- ${new Date().toISOString()} ${spec.command.join(" ")}\n`, { flag: "a" });

  let message: string | undefined;
  const lastWords: string[] = [];
  const child = startChild({
    command: [...spec.command, document],
    cwd,
    env: { ...environment.variables, ...spec.env, RETORT_CACHE: cache },
    log: logOf(spec),
    python: environment.python,
    onLine(line) {
      const event = eventOf(line);
      if (event?.event === "failed") message = event.message;
      if (event) return onEvent(event);
      lastWords.push(line);
      if (lastWords.length > LAST_WORDS) lastWords.shift();
    },
  });
  onStart(child);
  const exitCode = await child.exitCode;
  return { exitCode, seconds: (Date.now() - startedAt) / 1000, message, lastWords };
}

/** Removes what earlier attempts left, the manifest first: half a removal must not look like a finished stage. */
export function removeArtifacts({ output }: StageSpec): void {
  rmSync(join(output, ARTIFACTS.manifest), { force: true });
  rmSync(output, { recursive: true, force: true });
}
