/** The attempts at a stage, kept beside its artifacts: how often it was tried, for how long, and how each try ended. */
import { z } from "zod";
import { join } from "./artifacts";
import type { S3Store } from "./s3";
import type { StageSpec } from "./stages";

const Attempt = z.object({
  attempt: z.int(),
  job: z.string(),
  startedAt: z.string(),
  endedAt: z.string().optional(),
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

/** Hours that attempts have held a node. One that nobody saw end counts up to the next one's start, or to `now`. */
export function hoursOf(attempts: readonly Attempt[], now: Date): number {
  return attempts.reduce((hours, { startedAt, endedAt }, index) => {
    const end = endedAt ?? attempts[index + 1]?.startedAt ?? now.toISOString();
    return hours + Math.max(0, Date.parse(end) - Date.parse(startedAt)) / 3_600_000;
  }, 0);
}
