/** `npm run reproduce -- RUN`: a finished run again, from its manifests alone, and where the two agree. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join as path, relative, resolve } from "node:path";
import { parseArgs } from "node:util";
import { stringify } from "yaml";
import { ConfigError, isUri } from "../configs/load";
import type { RunConfig } from "../configs/schema";
import { join, localStore, type Store } from "./artifacts";
import { fromUser } from "./data";
import { ROOT } from "./environment";
import { Hashes } from "./hashing";
import { CACHE, launch, RUNS } from "./local/launch";
import { type Screen, screenFor } from "./local/screen";
import { causesOf, UNRECORDED } from "./reproduce/causes";
import { type Comparison, compareResults } from "./reproduce/compare";
import { configAgain, nameAgain } from "./reproduce/config";
import { dataOf, type FinishedRun, finishedRun, recordsOf } from "./reproduce/finishedRun";
import { findInputs, requirementsOf } from "./reproduce/inputs";
import { resultsOf } from "./reproduce/results";
import { machineStore } from "./sources";
import { reported, VisibleError } from "./visibleError";

const HELP = `npm run reproduce -- RUN [options]

Runs a finished run again, from its manifests alone, into a folder beside it (RUN-again); then says where the two agree.
The same command goes on after a stop, and compares again when all is done.

  RUN            its name below runs/, its folder, or s3://bucket/runs/NAME (credentials and AWS_ENDPOINT_URL as for aws);
                 with /evaluate-<12 hex digits> that evaluation, otherwise the newest
  --name NAME    the new run's name
  --data FOLDER  a folder that holds data files which are no longer where they were; may be given more than once
  --local        a run of a cluster on this machine: its code then is this project's, not its images'
  --help

Exit codes: 0 all results agree; 1 some do not, or it failed; 2 yours to mend; 130 stopped by Ctrl-C.`;

interface Options {
  readonly run: string;
  readonly name: string | undefined;
  readonly folders: readonly string[];
  readonly local: boolean;
}

async function main(args: string[], screen: Screen): Promise<number> {
  const options = optionsOf(args);
  if (!options) {
    screen.line(HELP);
    return 0;
  }
  const remote = isUri(options.run);
  const firstStore = remote ? await machineStore() : localStore;
  const first = await finishedRun(options.run, firstStore);
  const local = options.local || !remote;
  const config = await configFrom(first, options);
  const runs = local && remote ? RUNS : dirnameOf(first.uri);
  screen.line(`${config.name}: ${first.name} of ${first.evaluate.finishedAt} again, from its manifests`);
  if (local) {
    const exitCode = await launch({
      config,
      runs,
      selection: { only: [], force: undefined },
      command: ["npm run reproduce --", ...args].join(" "),
      screen,
    });
    if (exitCode !== 0) return exitCode;
  }
  const store = local ? localStore : firstStore;
  const again = await finishedRun(join(runs, config.name), store).catch((error: unknown) => {
    if (local || !(error instanceof ConfigError)) throw error;
    return undefined;
  });
  if (!again) return prepared(first, config, args, screen);
  return compared(first, firstStore, again, store, screen);
}

function optionsOf(args: string[]): Options | undefined {
  try {
    const { values, positionals } = parseArgs({
      args,
      allowPositionals: true,
      options: {
        name: { type: "string" },
        data: { type: "string", multiple: true, default: [] },
        local: { type: "boolean", default: false },
        help: { type: "boolean", default: false },
      },
    });
    if (values.help) return undefined;
    const [run, ...others] = positionals;
    if (run === undefined || others.length > 0) throw new Error("name one run");
    const folders = values.data.map(fromUser);
    const noFolder = folders.find((folder) => !existsSync(folder));
    if (noFolder !== undefined) throw new Error(`--data ${noFolder}: no such folder`);
    return { run: placeOf(run), name: values.name, folders, local: values.local };
  } catch (error) {
    throw new VisibleError(`${(error as Error).message}\n\n${HELP}`, 2);
  }
}

/** A name below runs/, or a place. */
function placeOf(run: string): string {
  const plain = run.replace(/\/+$/, "");
  if (isUri(plain)) return plain;
  return plain.includes("/") || existsSync(fromUser(plain)) ? resolve(fromUser(plain)) : path(RUNS, plain);
}

const dirnameOf = (uri: string): string => uri.slice(0, uri.lastIndexOf("/"));

/** Throws ConfigError with everything that is not as it was, before anything starts. */
async function configFrom(first: FinishedRun, { name = nameAgain(first.name), folders }: Options): Promise<RunConfig> {
  const hashes = await Hashes.load(path(CACHE, "hashes.json"));
  const requirements = requirementsOf(ROOT);
  const { places, problems } = await findInputs(first, { hashes, store: machineStore, folders, requirements });
  await hashes.save();
  const own = name === first.name ? [`--name ${name}: is the first run's own; the new one goes beside it`] : [];
  const before = Object.fromEntries(Object.entries(dataOf(first)).map(([data, file]) => [data, file.uri]));
  const { config, problems: unknown } = configAgain(first, name, { ...before, ...places });
  if (config && own.length + problems.length === 0) return config;
  throw new ConfigError([...own, ...problems, ...unknown]);
}

/** A run of a cluster goes where the first went: by `pulumi up`, with the very images. */
function prepared(first: FinishedRun, config: RunConfig, args: string[], screen: Screen): number {
  const file = path(ROOT, "configs", `${config.name}.yaml`);
  const text = `# ${first.uri} again, from its manifests: npm run reproduce -- ${args.join(" ")}\n${stringify(config)}`;
  if (existsSync(file) && readFileSync(file, "utf8") !== text) {
    throw new VisibleError(`${relative("", file)} is there already, and says something else: choose another --name`, 2);
  }
  writeFileSync(file, text);
  screen.line(`wrote ${relative("", file)}; it runs with the very images, in any stack that reaches this store:`);
  screen.line(`  pulumi config set retort:run ${relative(ROOT, file)}`);
  screen.line(`  pulumi config set --path retort:images.trainer ${first.train.image}`);
  screen.line(`  pulumi config set --path retort:images.evaluator ${first.evaluate.image}`);
  screen.line("  pulumi up");
  screen.line(`and then, to compare the two: npm run reproduce -- ${args.join(" ")}`);
  return 0;
}

async function compared(
  first: FinishedRun,
  firstStore: Store,
  again: FinishedRun,
  store: Store,
  screen: Screen,
): Promise<number> {
  const [before, after] = await Promise.all([resultsOf(first, firstStore), resultsOf(again, store)]);
  const comparisons = compareResults(before, after);
  for (const comparison of comparisons) screen.line(lineOf(comparison));
  const differing = comparisons.filter(({ agrees }) => agrees === false);
  const recorded = recordsOf(first).flatMap((record, index) => {
    const other = recordsOf(again)[index];
    return other ? causesOf(record, other).map((cause) => `${record.stage}: ${cause}`) : [];
  });
  const [stops, stopsAgain] = [before, after].map(({ resumedFrom }) => resumedFrom.join(", ") || "none");
  const resumed = stops === stopsAgain ? [] : [`train: updates it was resumed from: was ${stops}, is ${stopsAgain}`];
  const causes = [...recorded, ...resumed];
  for (const cause of causes) screen.line(`not the same  ${cause}`);
  if (differing.length === 0) screen.line("the two runs agree");
  else if (causes.length === 0) screen.line(UNRECORDED);
  return differing.length === 0 ? 0 : 1;
}

const lineOf = ({ stage, what, agrees, says }: Comparison): string =>
  `${agrees === undefined ? "-" : agrees ? "✔" : "✘"} ${stage.padEnd(9)} ${what.padEnd(17)} ${says}`;

if (require.main === module) {
  const screen = screenFor(process.stdout);
  main(process.argv.slice(2), screen)
    .catch((error: unknown) => {
      screen.clear();
      return reported(error);
    })
    .then((exitCode) => process.exit(exitCode));
}
