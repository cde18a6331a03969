/** From a run's config to its stages as processes of this machine: what they read, what is checked first, its curves. */
import { join, relative } from "node:path";
import type { RunConfig } from "../../configs/schema";
import { checkData } from "../data";
import { type Environment, ensureEnvironment, ROOT } from "../environment";
import { Hashes } from "../hashing";
import { localSources } from "../sources";
import { type StageSpec, stageSpecs } from "../stages";
import { VisibleError } from "../visibleError";
import type { Selection } from "./plan";
import { requireProgram } from "./requireProgram";
import { resultLines } from "./results";
import { runChain } from "./runChain";
import type { Screen } from "./screen";
import { startTensorBoard } from "./tensorboard";

export const RUNS = join(ROOT, "runs");
export const CACHE = join(ROOT, ".cache");

export interface Launch {
  readonly config: RunConfig;
  /** The directory that holds all runs. */
  readonly runs: string;
  readonly selection: Selection;
  /** What a person would type to go on. */
  readonly command: string;
  readonly screen: Screen;
}

/** Runs the stages that are not done. Returns the launcher's exit code (`runChain`). */
export async function launch({ config, runs, selection, command, screen }: Launch): Promise<number> {
  const specs = await localSpecs(config, runs, screen);
  const exitCode = await runChain({
    specs,
    selection,
    root: ROOT,
    command,
    screen,
    prepare: () => prepare(config, selection, screen),
    beside: (environment) => curves(join(runs, config.name), environment, screen),
  });
  if (exitCode !== 0) return exitCode;
  for (const text of resultLines(specs[2].output)) screen.line(text);
  screen.line(`curves     .venv/bin/tensorboard --logdir ${relative("", join(runs, config.name))}`);
  return 0;
}

async function localSpecs(config: RunConfig, runs: string, screen: Screen): Promise<[StageSpec, StageSpec, StageSpec]> {
  const hashes = await Hashes.load(join(CACHE, "hashes.json"));
  screen.busy("reading data and base model");
  const sources = await localSources(config, ROOT, hashes);
  screen.clear();
  await hashes.save();
  return stageSpecs(config, sources, runs);
}

async function prepare(config: RunConfig, { only }: Selection, screen: Screen): Promise<Environment> {
  const environment = await ensureEnvironment({ print: screen.line });
  if (only.length === 0 || only.includes("evaluate")) {
    requireProgram("evaluate.server.command", config.evaluate.server.command, environment);
  }
  screen.busy("checking the data");
  const { exitCode, report, problems } = await checkData(config, environment, join(CACHE, "models"));
  screen.clear();
  if (exitCode === 2) throw new VisibleError(`the data cannot be trained on\n${problems}`, 2);
  if (exitCode !== 0) throw new VisibleError(`the data could not be checked (exit code ${exitCode})\n${problems}`);
  screen.line(report);
  return environment;
}

async function curves(directory: string, environment: Environment, screen: Screen) {
  const logFile = join(CACHE, "tensorboard.log");
  const tensorboard = await startTensorBoard(directory, { environment, cwd: ROOT, logFile });
  screen.line(`curves     ${tensorboard ? `${tensorboard.url} while this runs` : "no port is free for TensorBoard"}`);
  return tensorboard?.child;
}
