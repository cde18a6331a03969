/** For the tests: a finished run's folder as its stages leave it, from their specs and from results that a test chooses. */
import { createHash } from "node:crypto";
import type { RunConfig } from "../../../configs/schema";
import { type RunSources, type StageSpec, stageSpecs } from "../../../jobs/stages";

export interface Outcome {
  readonly losses: readonly number[];
  /** Content of the weights. */
  readonly adapter: string;
  readonly model: string;
  /** Responses by row; a row passes if it says "right". */
  readonly base: readonly string[];
  readonly merged: readonly string[];
  readonly resumedFrom?: readonly number[];
  readonly machine?: Readonly<Record<string, unknown>>;
  readonly finishedAt?: string;
}

export const OUTCOME: Outcome = {
  losses: [1.5, 1.25],
  adapter: "a",
  model: "m",
  base: ["wrong", "right"],
  merged: ["right", "right"],
};

/** The text of every file, by its path below the folder of all runs. */
export function filesOf(config: RunConfig, sources: RunSources, outcome: Outcome, runs: string): Map<string, string> {
  const files = new Map<string, string>();
  const specs = stageSpecs(config, sources, runs);
  const results = resultFiles(outcome);
  for (const spec of specs) {
    const folder = spec.output.slice(runs.length + 1);
    for (const [path, text] of Object.entries(results[spec.name])) files.set(`${folder}/${path}`, text);
    files.set(`${folder}/manifest.json`, JSON.stringify(manifestOf(spec, results[spec.name], outcome)));
  }
  return files;
}

export function manifestOf({ document }: StageSpec, results: Readonly<Record<string, string>>, outcome: Outcome) {
  const { output: _, ...told } = document;
  const outputs = Object.entries(results).map(([path, text]) => ({ path, bytes: text.length, sha256: sha256(text) }));
  const { machine = { accelerator: "cpu", cores: 2 }, finishedAt = "2026-11-22T18:00:00+00:00" } = outcome;
  return { ...told, outputs, machine, startedAt: finishedAt, finishedAt, metrics: {} };
}

function resultFiles({ losses, adapter, model, base, merged, resumedFrom = [] }: Outcome) {
  const history = losses.map((loss, index) => ({ step: index + 1, loss }));
  const answers = (name: string, responses: readonly string[]) =>
    responses.map((response, row) => ({ model: name, id: String(row + 1), passed: response === "right", response }));
  const lines = [...answers("base", base), ...answers("merged", merged)];
  return {
    train: {
      "adapter/adapter_model.safetensors": adapter,
      "training_summary.json": JSON.stringify({ history, validation: history.slice(-1), resumedFrom }),
    },
    merge: { "model/model.safetensors": model },
    evaluate: { "responses.jsonl": lines.map((line) => `${JSON.stringify(line)}\n`).join("") },
  };
}

export const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");
