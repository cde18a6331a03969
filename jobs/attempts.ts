/** The attempts at a stage, kept beside its artifacts: how often it was tried, for how long, and how each try ended. */
import type { V1Job } from "@kubernetes/client-node";
import { z } from "zod";
import { join, type StageState } from "./artifacts";
import { conditionOf } from "./kubernetes/failure";
import type { S3Store } from "./s3";
import type { StageSpec } from "./stages";

const Attempt = z.object({
  attempt: z.int(),
  job: z.string(),
  startedAt: z.string(),
  endedAt: z.string().optional(),
  /** Of its pods, all together; unknown where nobody watched it to its end. */
  ranSeconds: z.number().optional(),
  /** That it held together; one, where it does not say. */
  nodes: z.int().positive().optional(),
  outcome: z.enum(["done", "failed"]).optional(),
  message: z.string().optional(),
});

/** Times are ISO 8601. Without an end it is running, or was not watched to its end. */
export type Attempt = z.output<typeof Attempt>;

const DIRECTORY = "attempts";

/** Every attempt at this fingerprint, the first one first. */
export async function attemptsOf(spec: StageSpec, store: S3Store): Promise<Attempt[]> {
  const directory = join(spec.output, DIRECTORY);
  const names = [...(await store.listing(directory)).keys()];
  const texts = await Promise.all(names.map((name) => store.read(join(directory, name))));
  const found = texts.flatMap((text) => (text ? [Attempt.parse(JSON.parse(text))] : []));
  return found.sort((a, b) => a.attempt - b.attempt);
}

export async function record(spec: StageSpec, attempt: Attempt, store: S3Store): Promise<void> {
  await store.write(join(spec.output, DIRECTORY, `${attempt.attempt}.json`), JSON.stringify(attempt));
}

/**
 * The same attempts, each with its end where no program saw it: as its Job tells, or the manifest where the Job is gone.
 * A laptop that was closed on Friday has not used the budget up by Monday.
 */
export function endedUnseen(attempts: readonly Attempt[], live: readonly V1Job[], state: StageState): Attempt[] {
  return attempts.map((attempt, index) => {
    if (attempt.endedAt !== undefined) return attempt;
    const job = live.find(({ metadata }) => metadata?.name === attempt.job);
    const over = job && (conditionOf(job, "Complete") ?? conditionOf(job, "Failed"));
    const finishedAt = state.done && index === attempts.length - 1 ? state.manifest.finishedAt : undefined;
    const endedAt = over?.lastTransitionTime?.toISOString() ?? finishedAt;
    return endedAt === undefined ? attempt : { ...attempt, endedAt };
  });
}

export interface Spent {
  readonly hours: number;
  /** An hour of two nodes is two: what is paid for. */
  readonly nodeHours: number;
}

/** What attempts have held nodes for. One that nobody saw end counts up to the next one's start, or to `now`. */
export function spentOn(attempts: readonly Attempt[], now: Date): Spent {
  const each = attempts.map(({ startedAt, endedAt, nodes = 1 }, index) => {
    const end = endedAt ?? attempts[index + 1]?.startedAt ?? now.toISOString();
    return { hours: Math.max(0, Date.parse(end) - Date.parse(startedAt)) / 3_600_000, nodes };
  });
  return {
    hours: each.reduce((sum, { hours }) => sum + hours, 0),
    nodeHours: each.reduce((sum, { hours, nodes }) => sum + hours * nodes, 0),
  };
}
