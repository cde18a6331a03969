/** What `pulumi up` would do with each stage, and why: looks at the store and at the live Jobs, changes nothing. */
import type { V1Job } from "@kubernetes/client-node";
import { join, type StageState, stageState } from "./artifacts";
import { type Attempt, attemptsOf, endedUnseen } from "./attempts";
import { documentName, LABELS, REGISTERED, runLabels } from "./job";
import type { Cluster } from "./kubernetes/api";
import { conditionOf } from "./kubernetes/failure";
import type { S3Store } from "./s3";
import type { StageDocument, StageSpec } from "./stages";

/** A live Job that stands for its stage: registered again exactly as it was, so that nothing about it changes. */
export interface KeptJob {
  readonly job: Readonly<Record<string, unknown>>;
  readonly document: Readonly<Record<string, string>>;
  readonly attempt: number;
}

export interface StagePlan {
  readonly spec: StageSpec;
  readonly state: StageState;
  readonly kept: KeptJob | undefined;
  /** The number that a new Job would have. */
  readonly nextAttempt: number;
  readonly attempts: readonly Attempt[];
  /** One line: what happens to the stage, and why. */
  readonly why: string;
}

export async function planStages(
  specs: readonly StageSpec[],
  runs: string,
  store: S3Store,
  cluster: Cluster,
): Promise<StagePlan[]> {
  return Promise.all(specs.map((spec) => planStage(spec, runs, store, cluster)));
}

async function planStage(spec: StageSpec, runs: string, store: S3Store, cluster: Cluster): Promise<StagePlan> {
  const labels = {
    ...runLabels(spec.run),
    [LABELS.stage]: spec.name,
    [LABELS.fingerprint]: spec.fingerprint.slice(0, 12),
  };
  const [state, live, recorded] = await Promise.all([
    stageState(spec.output, spec.fingerprint, store),
    cluster.jobs(labels),
    attemptsOf(spec, store),
  ]);
  const attempts = endedUnseen(recorded, live, state);
  const newest = live.sort((a, b) => attemptOf(a) - attemptOf(b)).at(-1);
  const stands = newest && (state.done || isUnderWay(newest));
  const kept = stands ? await keep(newest, spec, cluster) : undefined;
  // Counted from what exists, not by probing names: a number is never used twice, even if its Job was deleted.
  const nextAttempt = Math.max(0, ...live.map(attemptOf), ...attempts.map(({ attempt }) => attempt)) + 1;
  const why = await reason(spec, state, newest, kept, runs, store);
  return { spec, state, kept, nextAttempt, attempts, why };
}

/** Neither ended well nor badly: a program that starts now attaches to it. */
export const isUnderWay = (job: V1Job): boolean =>
  !conditionOf(job, "Complete") && !conditionOf(job, "Failed") && !job.metadata?.deletionTimestamp;

export const attemptOf = (job: V1Job): number => Number(job.metadata?.labels?.[LABELS.attempt] ?? 0);

async function keep(job: V1Job, spec: StageSpec, cluster: Cluster): Promise<KeptJob | undefined> {
  const registered = job.metadata?.annotations?.[REGISTERED];
  const document = await cluster.configMap(documentName(spec));
  if (!registered || !document) return undefined;
  return { job: JSON.parse(registered) as Record<string, unknown>, document, attempt: attemptOf(job) };
}

async function reason(
  spec: StageSpec,
  state: StageState,
  newest: V1Job | undefined,
  kept: KeptJob | undefined,
  runs: string,
  store: S3Store,
): Promise<string> {
  if (state.done) return `done on ${state.manifest.finishedAt}: nothing to do`;
  if (kept) return `is running (attempt ${kept.attempt}): attaches to it`;
  if (newest && conditionOf(newest, "Failed")) return `runs again: attempt ${attemptOf(newest)} failed`;
  if (state.why !== "has not run") return `runs again: ${state.why}`;
  const last = await lastDocument(spec, runs, store);
  if (!last) return "runs: it has not run before";
  const changed = differences(last, spec.document);
  return changed.length > 0 ? `runs: ${changed.join(", ")}` : "runs again: it did not finish";
}

/** Where the document of a run's newest attempt at a stage lies, whatever its fingerprint. */
export const lastDocumentUri = (spec: StageSpec, runs: string): string =>
  join(runs, spec.run, `last-${spec.name}.json`);

async function lastDocument(spec: StageSpec, runs: string, store: S3Store): Promise<StageDocument | undefined> {
  const text = await store.read(lastDocumentUri(spec, runs));
  try {
    return text === undefined ? undefined : (JSON.parse(text) as StageDocument);
  } catch {
    return undefined;
  }
}

/** What decides a stage's result and is not as it was, in the user's words, such as `evaluate.temperature 0 → 0.7`. */
export function differences(before: StageDocument, after: StageDocument): string[] {
  const { model: oldModel, data: oldData, ...oldStages } = before.inputs;
  const { model, data, ...stages } = after.inputs;
  const [old, now] = [flat(before.config), flat(after.config)];
  const keys = [...new Set([...old.keys(), ...now.keys()])];
  return [
    ...keys.filter((key) => old.get(key) !== now.get(key)).map((key) => `${key} ${old.get(key)} → ${now.get(key)}`),
    ...(before.image === after.image ? [] : ["the image has changed"]),
    ...(oldModel.revision === model.revision && oldModel.uri === model.uri ? [] : ["model.base has changed"]),
    ...Object.entries(data ?? {})
      .filter(([name, file]) => oldData?.[name as keyof typeof oldData]?.sha256 !== file.sha256)
      .map(([name]) => `data.${name} has changed`),
    ...Object.entries(stages)
      .filter(([name, upstream]) => oldStages[name as keyof typeof oldStages]?.fingerprint !== upstream.fingerprint)
      .map(([name]) => `${name} is another one`),
  ];
}

function flat(value: unknown, path: readonly string[] = []): Map<string, string> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return new Map([[path.join("."), JSON.stringify(value) ?? "unset"]]);
  }
  return new Map(Object.entries(value).flatMap(([key, child]) => [...flat(child, [...path, key])]));
}
