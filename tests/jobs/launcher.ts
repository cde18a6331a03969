/** A program for the tests: the real chain of local stages, over the StageSpecs of a JSON file. `launcher.ts FILE`. */
import { readFileSync } from "node:fs";
import { ensureEnvironment } from "../../jobs/environment";
import { runChain } from "../../jobs/local/runChain";
import { screenFor } from "../../jobs/local/screen";
import type { StageName, StageSpec } from "../../jobs/stages";
import { reported, VisibleError } from "../../jobs/visibleError";

export interface LauncherFile {
  readonly root: string;
  readonly specs: readonly StageSpec[];
  readonly only?: readonly StageName[];
  readonly force?: StageName;
  /** What is wrong with the data. */
  readonly refuse?: string;
}

const file = JSON.parse(readFileSync(process.argv[2] ?? "", "utf8")) as LauncherFile;
const screen = screenFor(process.stdout);

runChain({
  specs: file.specs,
  selection: { only: file.only ?? [], force: file.force },
  root: file.root,
  command: "npm run local",
  screen,
  prepare: async () => {
    if (file.refuse) throw new VisibleError(file.refuse, 2);
    return ensureEnvironment();
  },
})
  .catch(reported)
  .then((code) => process.exit(code));
