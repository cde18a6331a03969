/**
 * What `pulumi up` does with a run, on a simulated clock: the project's own plan, chain, attempts, budget, estimate and
 * receipt, in the order of infra/index.ts. Pulumi's mocks stand for the engine, and a `World` for cluster and EC2.
 */
import { mock } from "node:test";
import type { V1Job } from "@kubernetes/client-node";
import * as pulumi from "@pulumi/pulumi";
import type { RunConfig } from "../../configs/schema";
import { type AwsSettings, onCluster } from "../../infra/aws/settings";
import { attemptsOf } from "../../jobs/attempts";
import { untilGone } from "../../jobs/aws/gpuNodes";
import type { Price } from "../../jobs/aws/prices";
import { type Receipt, receiptOf } from "../../jobs/aws/receipt";
import { runStages } from "../../jobs/chain";
import { estimateRun } from "../../jobs/estimate";
import { withinBudget } from "../../jobs/estimateText";
import { LABELS } from "../../jobs/job";
import { planStages } from "../../jobs/plan";
import { STAGES, type StageName, type StageSpec, stageSpecs } from "../../jobs/stages";
import { CONFIG, SOURCES } from "../jobs/run";
import { manifestOf, type Nature } from "./pool";
import { memoryStore } from "./store";
import { World } from "./world";

const RUNS = "s3://results/runs";
const DIGEST = `@sha256:${"0".repeat(64)}`;
const IMAGES = { trainer: `trainer${DIGEST}`, evaluator: `evaluator${DIGEST}`, tensorboard: `board${DIGEST}` };

export type Mishaps = Partial<Record<StageName, { afterSeconds: number; exitCode: number }[]>>;

/** A run as its user describes it: how long each stage works, and what goes wrong. */
export interface Wish {
  readonly name: string;
  readonly workSeconds: Readonly<Record<StageName, number>>;
  readonly mishaps?: Mishaps;
  /** Another one is another config: only evaluate runs again. */
  readonly maxNewTokens?: number;
}

/** How a program ended, and what it said at its end. */
export interface Ended {
  readonly error: string | undefined;
  readonly receipt: Receipt | undefined;
}

/** A program that runs; killing it is Ctrl-C twice, or a laptop that is closed. */
export interface Up {
  readonly ended: Promise<Ended>;
  kill(): void;
}

export class Day {
  readonly world: World;
  private readonly store = memoryStore();
  /** By the stage's output: runs share a fingerprint, not what they have saved. */
  private readonly works = new Map<string, { left: number; mishaps: { afterSeconds: number; exitCode: number }[] }>();

  constructor(
    readonly settings: AwsSettings,
    readonly price: Price,
    nature: Nature,
  ) {
    this.world = new World(manifestOf(settings), nature, new Date(Date.UTC(2026, 10, 23)));
    mock.timers.enable({ apis: ["setTimeout", "Date"], now: this.world.midnight });
    for (const level of ["log", "warn"] as const) mock.method(console, level, () => {}); // what `pulumi up` would show
    pulumi.runtime.setMocks(
      { newResource: (args) => this.made(args), call: ({ inputs }) => inputs },
      "retort",
      "day",
      false,
    );
  }

  /** Gives the clock back. */
  end(): void {
    mock.timers.reset();
    mock.restoreAll();
  }

  async advance(seconds: number): Promise<void> {
    for (let second = 0; second < seconds; second += 1) await this.tick();
  }

  async until<T>(what: Promise<T>): Promise<T> {
    let over = false;
    const done = () => {
      over = true;
    };
    what.then(done, done);
    for (let second = 0; !over; second += 1) {
      if (second > 86_400) throw new Error("a day has passed, and it has not ended");
      await this.tick();
    }
    return what;
  }

  async untilQuiet(): Promise<void> {
    for (let second = 0; !this.world.isQuiet; second += 1) {
      if (second > 86_400) throw new Error("a day has passed, and it is not quiet");
      await this.tick();
    }
  }

  up(wish: Wish): Up {
    let gone = false;
    const ended = this.program(wish, () => gone);
    return {
      ended,
      kill() {
        gone = true;
      },
    };
  }

  /** `npm run cancel`: ends the Job that runs. */
  async cancel(): Promise<void> {
    const running = this.world.jobs.find(({ condition, deleted }) => !condition && !deleted);
    if (running) await this.world.cluster(() => false).end(running.name, "cancelled by npm run cancel");
  }

  private async tick(): Promise<void> {
    await this.world.step();
    mock.timers.tick(1000);
    for (let turn = 0; turn < 3; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  }

  private async program(wish: Wish, isGone: () => boolean): Promise<Ended> {
    const { world, store, settings, price } = this;
    const since = new Date();
    const config: RunConfig = {
      ...CONFIG,
      name: wish.name,
      evaluate: { ...CONFIG.evaluate, maxNewTokens: wish.maxNewTokens ?? 1024 },
    };
    const sources = {
      ...SOURCES,
      trainer: { image: IMAGES.trainer, lock: "" },
      evaluator: { image: IMAGES.evaluator, lock: "" },
    };
    const specs = stageSpecs(config, sources, RUNS);
    for (const spec of specs) this.expect(spec, wish);
    const cluster = world.cluster(isGone);
    try {
      const plans = await planStages(specs, RUNS, store, cluster);
      const open = plans.filter(({ state }) => !state.done).map(({ spec }) => spec.name);
      withinBudget(
        estimateRun({ config, workload: WORKLOAD, price, gpus: 1, nodes: 1, startsNodes: true, stages: open }),
        settings.budget,
      );
      const onThis = onCluster(settings, { bucket: "results", images: IMAGES, usdPerHour: price.high });
      await runStages({ plans, settings: onThis, credentials: undefined, runs: RUNS, store, cluster }, {});
      return { error: undefined, receipt: await this.close(specs, since, isGone) };
    } catch (error) {
      return { error: (error as Error).message, receipt: await this.close(specs, since, isGone) };
    }
  }

  /** As RunMoney does. */
  private async close(specs: readonly StageSpec[], since: Date, isGone: () => boolean): Promise<Receipt | undefined> {
    const { world, store, price } = this;
    const machines = () => world.pool.machines(world.now, world.at);
    const look = async () =>
      machines()
        .filter(({ state }) => state !== "terminated" && !isGone())
        .map(({ id }) => id);
    await untilGone({ look, minutes: 20, pollSeconds: 10, say: () => {} });
    const stages = await Promise.all(
      specs.map(async (spec) => ({ name: spec.name, attempts: await attemptsOf(spec, store) })),
    );
    return receiptOf({ stages, machines: machines(), since, now: new Date(), price });
  }

  /** The work of a stage outlives its attempts: what is saved is not done again. */
  private expect({ name, output }: StageSpec, { workSeconds, mishaps }: Wish): void {
    const work = this.works.get(output) ?? { left: workSeconds[name], mishaps: [] };
    work.mishaps.splice(0, work.mishaps.length, ...(mishaps?.[name] ?? []));
    this.works.set(output, work);
  }

  /** The engine makes what was registered. A replaced Job is deleted. */
  private made({ type, name, inputs }: pulumi.runtime.MockResourceArgs) {
    const { metadata = {}, data } = inputs as V1Job & { data?: Record<string, string> };
    if (type === "kubernetes:core/v1:ConfigMap") this.world.documents.set(metadata.name ?? "", data ?? {});
    if (type === "kubernetes:batch/v1:Job") {
      const job = structuredClone(inputs) as V1Job;
      const label = (one: V1Job, key: string) => one.metadata?.labels?.[key];
      for (const other of this.world.jobs) {
        const sameStage = [LABELS.run, LABELS.stage].every((key) => label(other.args, key) === label(job, key));
        if (sameStage && other.name !== metadata.name) other.deleted = true;
      }
      this.world.create(job, this.workOf(job));
    }
    return { id: name, state: { ...inputs, metadata: { ...metadata, uid: name } } };
  }

  private workOf(job: V1Job) {
    const document = JSON.parse(this.documentOf(job)) as { fingerprint: string; output: string };
    const work = this.works.get(document.output);
    if (!work) throw new Error("no stage that anybody wished for");
    const { store } = this;
    const { fingerprint, output } = document;
    const onDone = async () => {
      await store.write(`${output}/result`, "x");
      const finishedAt = new Date().toISOString();
      const outputs = [{ path: "result", bytes: 1 }];
      const manifest = { stage: "", fingerprint, outputs, startedAt: finishedAt, finishedAt, metrics: {} };
      await store.write(`${output}/manifest.json`, JSON.stringify(manifest));
    };
    return Object.assign(work, { onDone });
  }

  private documentOf({ spec }: V1Job): string {
    const volume = spec?.template.spec?.volumes?.find(({ configMap }) => configMap !== undefined);
    return this.world.documents.get(volume?.configMap?.name ?? "")?.["stage.json"] ?? "";
  }
}

/** The hand-run job: 7,426 rows of about 460 tokens, 20,000 test rows, an 8B model. */
export const WORKLOAD = {
  train: { rows: 7426, prompt: 7426 * 700, answer: 7426 * 1100 },
  test: { rows: 20_000, prompt: 20_000 * 700, answer: 20_000 * 1100 },
  modelBytes: 16.06e9,
  assumed: [],
};

/** Minutes that pods have run, and minutes that EC2 bills. */
export function truthOf(world: World, sinceSecond: number) {
  const pods = world.jobs.flatMap(({ pods: all }) => all).filter(({ createdAt }) => createdAt >= sinceSecond);
  const ran = pods.flatMap(({ runsFrom, endedAt = world.now }) =>
    runsFrom === undefined || endedAt < runsFrom ? [] : [{ from: runsFrom, to: endedAt }],
  );
  const nodes = world.pool.nodes.filter(({ launchedAt }) => launchedAt >= sinceSecond);
  const usedMinutes = ran.reduce((sum, { from, to }) => sum + (to - from) / 60, 0);
  const paidMinutes = nodes.reduce((sum, { launchedAt, endedAt = world.now }) => sum + (endedAt - launchedAt) / 60, 0);
  return {
    usedMinutes,
    paidMinutes,
    nodes,
    pods,
    lastUse: Math.max(0, ...ran.map(({ to }) => to)),
    stages: STAGES.length,
  };
}
