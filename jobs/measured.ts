/** What an earlier run of the same store measured: worth more for an estimate than any figure of ours. */
import { z } from "zod";
import { ARTIFACTS, join } from "./artifacts";
import { type FinishedRun, finishedRun, outputOf, type StageRecord } from "./reproduce/finishedRun";
import type { S3Store } from "./s3";

export interface Measured {
  /** Such as "run phase1c of 2026-11-22", for people. */
  readonly source: string;
  /** Of one GPU, validation included. */
  readonly train: { readonly tokensPerSecond: number; readonly loadingMinutes: number };
  readonly merge: { readonly minutes: number };
  readonly evaluate: {
    readonly tokensPerSecond: number;
    readonly tokensPerRow: number;
    readonly loadingMinutes: number;
  };
}

export interface Alike {
  /** The base model's URI. */
  readonly model: string;
  /** Whether a stage on this accelerator ("NVIDIA H100 80GB HBM3", or "cpu") is like one to come. */
  readonly isLike: (accelerator: string) => boolean;
}

/** A store does not say when its folders came: names that end in a number or a date sort the newest last. */
const MOST_LOOKED_AT = 20;

/**
 * The newest finished run with this model on such a machine, out of the last twenty by name below `runs`, so that a
 * store of a thousand runs answers as soon as one of ten; undefined if there is none. Never throws.
 */
export async function measuredRun(alike: Alike, runs: string, store: S3Store): Promise<Measured | undefined> {
  const names = (await store.directories(runs).catch(() => [])).sort().slice(-MOST_LOOKED_AT);
  const found = await Promise.all(names.map((name) => finishedRun(join(runs, name), store).catch(() => undefined)));
  const fitting = found
    .flatMap((run) => (run && isAlike(run, alike) ? [run] : []))
    .sort((a, b) => b.evaluate.finishedAt.localeCompare(a.evaluate.finishedAt));
  for (const run of fitting) {
    const measured = await measuredIn(run, store).catch(() => undefined);
    if (measured) return measured;
  }
  return undefined;
}

const isAlike = ({ train, evaluate }: FinishedRun, { model, isLike }: Alike): boolean =>
  train.inputs.model.uri === model && [train, evaluate].every(({ machine }) => isLike(String(machine["accelerator"])));

const Trained = z.object({ tokens: z.number().positive(), seconds: z.number().positive() });
const Answering = z.object({ seconds: z.number().nonnegative(), completionTokens: z.number().nonnegative() });
const Report = z.object({
  base: z.object({ total: z.number().positive() }),
  answering: z.object({ base: Answering, merged: Answering }),
});

/** Throws if something was not measured. */
async function measuredIn(run: FinishedRun, store: S3Store): Promise<Measured> {
  const { train, merge, evaluate } = run;
  const trained = Trained.parse(train.metrics);
  const text = await store.read(join(outputOf(run, evaluate), ARTIFACTS.evaluate.report));
  const { base, answering } = Report.parse(JSON.parse(text ?? ""));
  const seconds = answering.base.seconds + answering.merged.seconds;
  const tokens = answering.base.completionTokens + answering.merged.completionTokens;
  // Borrowed answers took no time of this stage's.
  const asked = evaluate.metrics["baseAnswersFrom"] === undefined ? seconds : answering.merged.seconds;
  const workers = Math.max(1, Number(train.machine["workers"] ?? 1));
  return {
    source: `run ${run.name} of ${evaluate.finishedAt.slice(0, 10)}`,
    train: {
      tokensPerSecond: trained.tokens / trained.seconds / workers,
      loadingMinutes: Math.max(0, minutesOf(train) - trained.seconds / 60),
    },
    merge: { minutes: minutesOf(merge) },
    evaluate: {
      tokensPerSecond: tokens / seconds,
      tokensPerRow: tokens / base.total / 2,
      loadingMinutes: Math.max(0, minutesOf(evaluate) - asked / 60),
    },
  };
}

/** Of the process that finished the stage: what a stopped one did before is not in it. */
const minutesOf = ({ startedAt, finishedAt }: StageRecord): number =>
  (Date.parse(finishedAt) - Date.parse(startedAt)) / 60_000;
