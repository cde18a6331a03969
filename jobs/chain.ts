/** train → merge → evaluate as Kubernetes Jobs, one after the other: registered with Pulumi, followed by this program. */

import { Job } from "@pulumi/kubernetes/batch/v1/job";
import { ConfigMap } from "@pulumi/kubernetes/core/v1/configMap";
import { Service } from "@pulumi/kubernetes/core/v1/service";
import * as pulumi from "@pulumi/pulumi";
import { engineKnows } from "../infra/awaiting";
import type { Settings } from "../infra/settings";
import { type Manifest, stageState } from "./artifacts";
import { type Attempt, record, spentOn } from "./attempts";
import { costText, deadlineSeconds } from "./budget";
import { follow, type Say } from "./follow";
import { documentArgs, jobArgs, jobName, type Launch, REGISTERED, spreadOf, workersServiceArgs } from "./job";
import type { Cluster } from "./kubernetes/api";
import { RunTime } from "./kubernetes/runTime";
import { lastDocumentUri, type StagePlan } from "./plan";
import type { S3Store } from "./s3";
import { VisibleError } from "./visibleError";

export interface ChainArgs {
  readonly plans: readonly StagePlan[];
  readonly settings: Settings;
  readonly credentials: string | undefined;
  /** The URI below which the artifacts of all runs lie. */
  readonly runs: string;
  readonly store: S3Store;
  readonly cluster: Cluster;
}

/** How the stages stand at the end, by their names; what a preview cannot know yet is undefined. */
export type Results = Readonly<Record<string, Manifest | undefined>>;

/**
 * Registers a Job for every stage that needs one, in order, each only once the stage before it is done. In a preview
 * nothing is followed. Throws VisibleError if a stage fails: the ones after it are not registered then.
 */
export async function runStages(args: ChainArgs, opts: pulumi.CustomResourceOptions): Promise<Results> {
  const results: Record<string, Manifest | undefined> = {};
  const attempts = args.plans.flatMap((plan) => [...plan.attempts]);
  const ground = (opts.dependsOn ?? []) as pulumi.Resource[];
  let before: pulumi.Resource[] = [];
  for (const plan of args.plans) {
    const { spec, state } = plan;
    const stage = stageJob(plan, args, attempts);
    if (stage) {
      // One order for people, the engine and destroy alike: a stage goes after, and is removed before, the one it reads.
      const job = stage.register({ ...opts, dependsOn: [...ground, ...before] });
      before = [job];
      if (!state.done && !pulumi.runtime.isDryRun()) await watch(plan, stage.attempt, job, args, attempts);
    }
    results[spec.name] = await manifestOf(plan, args.store);
  }
  return results;
}

interface StageJob {
  readonly attempt: number;
  register(opts: pulumi.CustomResourceOptions): Job;
}

/** A live Job as it is, a new one where the stage has to run, none where it is done and its Job is gone. */
function stageJob(plan: StagePlan, args: ChainArgs, attempts: readonly Attempt[]): StageJob | undefined {
  const { spec, state, kept } = plan;
  if (state.done && !kept) return undefined;
  const launch = launchOf(plan, args, kept ? undefined : attempts);
  const attempt = kept?.attempt ?? plan.nextAttempt;
  return {
    attempt,
    register(opts) {
      const document = documentArgs(spec, launch.namespace);
      const data = kept?.document ?? document.data;
      const configMap = new ConfigMap(`${spec.name}-document`, { ...document, data }, opts);
      const after = { ...opts, dependsOn: [configMap, ...((opts.dependsOn ?? []) as pulumi.Resource[])] };
      if (spreadOf(spec, launch.settings.gpu).nodes > 1) {
        new Service(`${spec.name}-workers`, workersServiceArgs(spec, { ...launch, attempt }), opts);
      }
      const registered = kept?.job ?? jobArgs(spec, launch);
      // A failed or outdated Job goes first: it may hold the GPU that the new one needs.
      return new Job(spec.name, withRegistered(registered), { ...after, deleteBeforeReplace: true });
    },
  };
}

function launchOf({ spec, nextAttempt }: StagePlan, args: ChainArgs, attempts: readonly Attempt[] | undefined): Launch {
  const { settings, credentials } = args;
  const spent = spentOn(attempts ?? [], new Date());
  const { nodes } = spreadOf(spec, settings.gpu);
  const seconds = deadlineSeconds(spec.deadlineHours, settings.budget, spent, nodes);
  if (seconds < 60) {
    const cost = costText(spent, settings.budget);
    throw new VisibleError(
      `${spec.name} was not started: the run's budget is used up (${cost}); raise retort:budget`,
      2,
    );
  }
  return {
    namespace: settings.namespace,
    settings: { ...settings, pullSecret: settings.images.pullSecret },
    credentials,
    deadlineSeconds: seconds,
    attempt: nextAttempt,
  };
}

type JobArgs = ReturnType<typeof jobArgs>;

/** The Job remembers what it was registered with, so that a later program can register it again without a change. */
function withRegistered(args: object): JobArgs {
  const plain = JSON.parse(JSON.stringify(args)) as JobArgs;
  const annotations = { ...plain.metadata.annotations, [REGISTERED]: JSON.stringify(args) };
  return { ...plain, metadata: { ...plain.metadata, annotations } };
}

async function watch(plan: StagePlan, attempt: number, job: Job, args: ChainArgs, attempts: Attempt[]): Promise<void> {
  const { spec } = plan;
  const { cluster, store, settings, runs } = args;
  await engineKnows(job.metadata.uid);
  const name = jobName(spec, attempt);
  const known = attempts.find((other) => other.job === name);
  const { nodes } = spreadOf(spec, settings.gpu);
  const begun: Attempt = known ?? { attempt, job: name, startedAt: new Date().toISOString(), nodes };
  if (!known) {
    attempts.push(begun);
    await record(spec, begun, store);
    await store.write(lastDocumentUri(spec, runs), JSON.stringify(spec.document));
  }
  const isDone = async () => (await stageState(spec.output, spec.fingerprint, store)).done;
  const ran = new RunTime();
  const end = async (outcome: "done" | "failed", message?: string) => {
    const endedAt = new Date().toISOString();
    const ended = { ...begun, endedAt, ranSeconds: ran.seconds, outcome, ...(message && { message }) };
    attempts[attempts.indexOf(begun)] = ended;
    await record(spec, ended, store);
  };
  try {
    await follow(spec, name, {
      cluster,
      say: rowOf(job),
      capacityTimeoutMinutes: settings.capacityTimeoutMinutes,
      isDone,
      ran,
    });
  } catch (error) {
    await end("failed", (error as Error).message).catch(() => undefined);
    throw error;
  }
  await end("done");
}

/** Shows on the Job's own row of `pulumi up`: the stream's id lets a new line take the place of the one before. */
function rowOf(job: Job): Say {
  const stream = Math.floor(Math.random() * 0x7fffffff);
  const quietly = (promise: Promise<void>) => void promise.catch(() => undefined);
  return {
    status: (text) => quietly(pulumi.log.info(text, job, stream, true)),
    info: (text) => quietly(pulumi.log.info(text, job)),
    warn: (text) => quietly(pulumi.log.warn(text, job)),
  };
}

async function manifestOf({ spec, state }: StagePlan, store: S3Store): Promise<Manifest | undefined> {
  if (state.done) return state.manifest;
  if (pulumi.runtime.isDryRun()) return undefined;
  const now = await stageState(spec.output, spec.fingerprint, store);
  return now.done ? now.manifest : undefined;
}
