/** `npm run local`: the stages of a run as processes of this machine, one after the other. */
import { join, relative } from "node:path";
import { parseArgs } from "node:util";
import { loadConfig } from "../configs/load";
import type { RunConfig } from "../configs/schema";
import { checkData, fromUser } from "./data";
import { type Environment, ensureEnvironment, ROOT } from "./environment";
import { Hashes } from "./hashing";
import { colors } from "./local/colors";
import type { Selection } from "./local/plan";
import { requireProgram } from "./local/requireProgram";
import { resultLines } from "./local/results";
import { runChain } from "./local/runChain";
import { type Screen, screenFor } from "./local/screen";
import { startTensorBoard } from "./local/tensorboard";
import { localSources } from "./sources";
import { STAGES, type StageName, type StageSpec, stageSpecs } from "./stages";
import { reported, VisibleError } from "./visibleError";

const HELP = `npm run local -- [options]

Trains, merges and evaluates on this machine. A stage that is done is not run again; the same command goes on after
Ctrl-C, a failure or a power cut.

  --config FILE        the run (default: configs/demo.yaml)
  --stage STAGE        run only this stage: train, merge or evaluate; may be given more than once
  --force-stage STAGE  run this stage, and those after it, again from the start
  --help

Exit codes: 0 done; 1 failed, and the same command tries again; 2 yours to mend; 130 stopped by Ctrl-C.`;

const RUNS = join(ROOT, "runs");
const CACHE = join(ROOT, ".cache");

interface Options {
  readonly help: boolean;
  readonly config: string;
  readonly selection: Selection;
}

async function main(args: string[], screen: Screen): Promise<number> {
  const options = optionsOf(args);
  if (options.help) {
    screen.line(HELP);
    return 0;
  }
  const config = loadConfig(options.config);
  screen.line(`${colors.bold(config.name)}  ${relative("", options.config)}`);
  const specs = await localSpecs(config, screen);
  const exitCode = await runChain({
    specs,
    selection: options.selection,
    root: ROOT,
    command: ["npm run local", ...(args.length > 0 ? ["--", ...args] : [])].join(" "),
    screen,
    prepare: () => prepare(config, options.selection, screen),
    beside: (environment) => curves(config, environment, screen),
  });
  if (exitCode !== 0) return exitCode;
  for (const text of resultLines(specs[2].output)) screen.line(text);
  screen.line(`curves     .venv/bin/tensorboard --logdir ${relative("", join(RUNS, config.name))}`);
  return 0;
}

function optionsOf(args: string[]): Options {
  const stageNamed = (option: string, name: string): StageName => {
    const stage = STAGES.find((known) => known === name);
    if (stage) return stage;
    throw new VisibleError(`${option} ${name}: must be ${STAGES.join(", ")}`, 2);
  };
  try {
    const { values } = parseArgs({
      args,
      options: {
        config: { type: "string", default: join(ROOT, "configs/demo.yaml") },
        stage: { type: "string", multiple: true, default: [] },
        "force-stage": { type: "string" },
        help: { type: "boolean", default: false },
      },
    });
    const force = values["force-stage"];
    return {
      help: values.help,
      config: fromUser(values.config),
      selection: {
        only: values.stage.map((name) => stageNamed("--stage", name)),
        force: force === undefined ? undefined : stageNamed("--force-stage", force),
      },
    };
  } catch (error) {
    if (error instanceof VisibleError) throw error;
    throw new VisibleError(`${(error as Error).message}\n\n${HELP}`, 2);
  }
}

async function localSpecs(config: RunConfig, screen: Screen): Promise<[StageSpec, StageSpec, StageSpec]> {
  const hashes = await Hashes.load(join(CACHE, "hashes.json"));
  screen.busy("reading data and base model");
  const sources = await localSources(config, ROOT, hashes);
  screen.clear();
  await hashes.save();
  return stageSpecs(config, sources, RUNS);
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

async function curves({ name }: RunConfig, environment: Environment, screen: Screen) {
  const logFile = join(CACHE, "tensorboard.log");
  const tensorboard = await startTensorBoard(join(RUNS, name), { environment, cwd: ROOT, logFile });
  screen.line(`curves     ${tensorboard ? `${tensorboard.url} while this runs` : "no port is free for TensorBoard"}`);
  return tensorboard?.child;
}

if (require.main === module) {
  const screen = screenFor(process.stdout);
  main(process.argv.slice(2), screen)
    .catch((error: unknown) => {
      screen.clear();
      return reported(error);
    })
    .then((exitCode) => process.exit(exitCode));
}
