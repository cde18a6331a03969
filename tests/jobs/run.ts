/** A run for the tests: a config with every default, and sources that are all told apart. */
import { parseConfig } from "../../configs/load";
import type { RunConfig } from "../../configs/schema";
import type { RunSources } from "../../jobs/stages";

export const CONFIG: RunConfig = parseConfig(
  "name: phase1c\nmodel: {base: pypi://m}\ndata: {selfCritique: /d/sc, hardFailures: /d/hf, test: /d/t}\n",
  "/c/run.yaml",
  () => "file",
);

export const SOURCES: RunSources = {
  model: { uri: "pypi://m", revision: "1.0" },
  data: {
    selfCritique: { uri: "/d/sc", sha256: "a1" },
    hardFailures: { uri: "/d/hf", sha256: "b2" },
    test: { uri: "/d/t", sha256: "c3" },
  },
  trainer: { image: "local@sha256:aa", lock: "l1" },
  evaluator: { image: "local@sha256:bb", lock: "l2" },
};
