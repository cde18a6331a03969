/** The stages of a run, one after the other: those that are done are kept, the others run, the first failure ends it. */
import { join } from "node:path";
import { localStore, stageState } from "../artifacts";
import type { Environment } from "../environment";
import type { StageSpec } from "../stages";
import type { Child } from "./child";
import { Interrupts } from "./interrupts";
import { type Lock, takeLock } from "./lock";
import { planRun, type Selection, type Step } from "./plan";
import { removeArtifacts, runStage } from "./runStage";
import type { Screen } from "./screen";
import { doneLine, failureLines, idleLine, showEvent } from "./stageText";

export interface Chain {
  readonly specs: readonly StageSpec[];
  readonly selection: Selection;
  /** The project's directory: where the stages' processes start, and where the cache lies. */
  readonly root: string;
  /** What a person would type to go on. */
  readonly command: string;
  readonly screen: Screen;
  /** Called once if anything is to run: makes the environment, and throws if the stages should not start. */
  readonly prepare: () => Promise<Environment>;
  /** What runs beside the stages, and is ended after them. */
  readonly beside?: (environment: Environment) => Promise<Child | undefined>;
}

/** Returns 0, or the exit code of the launcher: 2 for the user's mistake, 130 or 143 if stopped, else 1. */
export async function runChain(chain: Chain): Promise<number> {
  const { screen, prepare, beside } = chain;
  const steps = await planOf(chain);
  if (!steps.some(({ action }) => action === "run")) {
    for (const step of steps) screen.line(idleLine(step));
    screen.line("nothing to do: every stage is up to date");
    return 0;
  }
  const interrupts = new Interrupts(() => screen.line("stopping: what runs saves its work (Ctrl-C again kills it)"));
  const lock = await lockOf(chain);
  process.once("exit", lock.release); // a signal that comes while nothing has to be saved ends this process at once
  let companion: Child | undefined;
  try {
    const environment = await prepare();
    companion = await beside?.(environment);
    for (const step of await planOf(chain)) {
      if (step.action !== "keep" && step.startOver) removeArtifacts(step.spec);
      const exitCode = await runStep(chain, step, { environment, interrupts, lock });
      if (exitCode !== 0) {
        screen.line(`go on with: ${chain.command}`);
        return exitCode;
      }
    }
    return 0;
  } finally {
    screen.clear();
    companion?.stop();
    await companion?.exitCode;
    lock.release();
  }
}

async function planOf({ specs, selection }: Chain): Promise<Step[]> {
  const stages = specs.map(async (spec) => ({
    spec,
    state: await stageState(spec.output, spec.fingerprint, localStore),
  }));
  return planRun(await Promise.all(stages), selection);
}

async function lockOf({ root, specs, screen }: Chain): Promise<Lock> {
  const run = specs[0]?.run ?? "";
  return takeLock(join(root, `.cache/run-${run}.lock`), `the run ${run}`, {
    onWait: () => screen.line("an earlier launcher is gone, and its stage saves its work: waiting for it"),
  });
}

interface Surroundings {
  readonly environment: Environment;
  readonly interrupts: Interrupts;
  readonly lock: Lock;
}

async function runStep(chain: Chain, step: Step, { environment, interrupts, lock }: Surroundings): Promise<number> {
  const { root, screen } = chain;
  const { spec } = step;
  if (step.action !== "run") {
    screen.line(idleLine(step));
    return 0;
  }
  screen.busy(`${spec.name.padEnd(9)} starting`);
  const outcome = await runStage({
    spec,
    environment,
    cwd: root,
    cache: join(root, ".cache/models"),
    onEvent: (event) => showEvent(event, screen),
    onStart(child) {
      lock.setChild(child.pid);
      interrupts.pass(child);
    },
  });
  interrupts.pass(undefined);
  screen.clear();
  const stopped = interrupts.exitCode;
  if (outcome.exitCode === 0) {
    screen.line(doneLine(spec, outcome.seconds));
    return stopped ?? 0;
  }
  for (const text of failureLines(spec, outcome, stopped !== undefined)) screen.line(text);
  return stopped ?? (outcome.exitCode === 2 ? 2 : 1);
}
