/** What a local run says about a stage, once it is known. */
import { relative } from "node:path";
import type { StageSpec } from "../stages";
import { colors } from "./colors";
import type { Event } from "./events";
import type { Step } from "./plan";
import { duration } from "./progressText";
import { logOf, type Outcome } from "./runStage";
import type { Screen } from "./screen";

/** `✔ train     2:31        runs/demo/train-3f9a1c2b7d0e` */
export const doneLine = (spec: StageSpec, seconds: number): string => line(colors.green("✔"), spec, duration(seconds));

/** A stage that is not run. */
export const idleLine = ({ spec, action }: Step): string =>
  action === "keep" ? line(colors.green("✔"), spec, "up to date") : line(colors.dim("-"), spec, "left out");

/** A stage that did not end well: what it said, what to do, and where everything is. */
export function failureLines(spec: StageSpec, outcome: Outcome, wasStopped: boolean): string[] {
  const { exitCode, seconds, message, lastWords } = outcome;
  const after = duration(seconds);
  if (wasStopped) {
    const how = exitCode === 143 ? "stopped; its work is saved" : "killed; it goes on from what it saved last";
    return [line(colors.yellow("■"), spec, after), `  ${how}`];
  }
  const said = message !== undefined ? [message] : lastWords;
  return [
    line(colors.red("✘"), spec, after),
    ...said.flatMap((text) => text.split("\n")).map((text) => `  ${text}`),
    `  exit code ${exitCode}: ${advice(exitCode)}`,
    `  all it printed: ${relative("", logOf(spec))}`,
  ];
}

/** The other events end a stage: its exit code says more. */
export function showEvent(event: Event, screen: Screen): void {
  if (event.event === "progress") screen.progress(event);
  if (event.event === "warning") screen.line(`${colors.yellow("!")} ${event.stage.padEnd(9)} ${event.message}`);
}

/** What a person should know and do about a stage that ended with this code. */
function advice(exitCode: number): string {
  switch (exitCode) {
    case 2:
      return "mend it, then run the same command again";
    case 127:
      return "its program was not found; remove .venv, then run the same command again";
    case 137:
      return "it was killed, most likely because memory ran out; the same command goes on from what was saved";
    case 143:
      return "it was asked to stop, though not by this launcher; the same command goes on from what was saved";
    default:
      return "the same command tries again, from what was saved";
  }
}

const line = (mark: string, { name, output }: StageSpec, what: string): string =>
  `${mark} ${name.padEnd(9)} ${what.padEnd(11)} ${relative("", output)}`;
