/** What a finished run came to, as far as two runs can be compared: losses, weights, pass rates, every answer. */
import { z } from "zod";
import { ARTIFACTS, join, type Store } from "../artifacts";
import { type FinishedRun, outputOf, type StageRecord } from "./finishedRun";

export interface Answer {
  readonly passed: boolean;
  readonly response: string;
}

/** Maps are by update, by file (below the stage's folder), and by test row. A part that is gone is undefined. */
export interface Results {
  readonly losses: ReadonlyMap<string, number> | undefined;
  readonly validation: ReadonlyMap<string, number> | undefined;
  /** sha256 of the files that hold weights. */
  readonly adapter: ReadonlyMap<string, string>;
  readonly model: ReadonlyMap<string, string>;
  readonly base: ReadonlyMap<string, Answer> | undefined;
  readonly merged: ReadonlyMap<string, Answer> | undefined;
  /** Updates at which training went on after a stop. */
  readonly resumedFrom: readonly number[];
}

const Loss = z.looseObject({ step: z.number(), loss: z.number() });
const Summary = z.looseObject({
  history: z.array(Loss),
  validation: z.array(Loss),
  resumedFrom: z.array(z.number()).default([]),
});
const Line = z.looseObject({
  model: z.enum(["base", "merged"]),
  id: z.string(),
  passed: z.boolean(),
  response: z.string(),
});

export async function resultsOf(run: FinishedRun, store: Store): Promise<Results> {
  const [summary, responses] = await Promise.all([
    read(join(outputOf(run, run.train), ARTIFACTS.train.summary), store, (text) => Summary.parse(JSON.parse(text))),
    read(join(outputOf(run, run.evaluate), ARTIFACTS.evaluate.responses), store, (text) =>
      text
        .split("\n")
        .filter((line) => line)
        .map((line) => Line.parse(JSON.parse(line))),
    ),
  ]);
  const bySteps = (steps: z.output<typeof Summary>["history"] | undefined) =>
    steps && new Map(steps.map(({ step, loss }) => [String(step), loss]));
  const answersOf = (model: "base" | "merged") =>
    responses &&
    new Map(
      responses
        .filter((line) => line.model === model)
        .map(({ id, passed, response }) => [id, { passed, response }] as const),
    );
  return {
    losses: bySteps(summary?.history),
    validation: bySteps(summary?.validation),
    adapter: weightsOf(run.train, ARTIFACTS.train.adapter),
    model: weightsOf(run.merge, ARTIFACTS.merge.model),
    base: answersOf("base"),
    merged: answersOf("merged"),
    resumedFrom: summary?.resumedFrom ?? [],
  };
}

/** Other files beside weights name times and machines, or list sets in any order: their bytes say nothing. */
const weightsOf = ({ outputs }: StageRecord, folder: string): Map<string, string> =>
  new Map(
    outputs
      .filter(({ path }) => path.startsWith(`${folder}/`) && path.endsWith(".safetensors"))
      .map(({ path, sha256 }) => [path.slice(folder.length + 1), sha256]),
  );

async function read<T>(uri: string, store: Store, parse: (text: string) => T): Promise<T | undefined> {
  const text = await store.read(uri);
  try {
    return text === undefined ? undefined : parse(text);
  } catch {
    return undefined; // torn: as good as gone
  }
}
