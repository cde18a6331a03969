/** `npm run local`: the stages of a run as processes of this machine, one after the other. */
import { join, relative } from "node:path";
import { parseArgs } from "node:util";
import { loadConfig } from "../configs/load";
import { fromUser } from "./data";
import { ROOT } from "./environment";
import { colors } from "./local/colors";
import { launch, RUNS } from "./local/launch";
import type { Selection } from "./local/plan";
import { type Screen, screenFor } from "./local/screen";
import { STAGES, type StageName } from "./stages";
import { reported, VisibleError } from "./visibleError";

const HELP = `npm run local -- [options]

Trains, merges and evaluates on this machine. A stage that is done is not run again; the same command goes on after
Ctrl-C, a failure or a power cut.

  --config FILE        the run (default: configs/demo.yaml)
  --stage STAGE        run only this stage: train, merge or evaluate; may be given more than once
  --force-stage STAGE  run this stage, and those after it, again from the start
  --help

Exit codes: 0 done; 1 failed, and the same command tries again; 2 yours to mend; 130 stopped by Ctrl-C.`;

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
  const command = ["npm run local", ...(args.length > 0 ? ["--", ...args] : [])].join(" ");
  return launch({ config, runs: RUNS, selection: options.selection, command, screen });
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

if (require.main === module) {
  const screen = screenFor(process.stdout);
  main(process.argv.slice(2), screen)
    .catch((error: unknown) => {
      screen.clear();
      return reported(error);
    })
    .then((exitCode) => process.exit(exitCode));
}
