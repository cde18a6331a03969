/** The money of a run on AWS: said before it starts, capped while it runs, and proven to have stopped after. */
import { join } from "node:path";
import type { RunConfig } from "../../configs/schema";
import { clusterNameOf } from "../../infra/aws/names";
import type { AwsSettings } from "../../infra/aws/settings";
import { attemptsOf } from "../attempts";
import { type Estimate, estimateRun } from "../estimate";
import { estimateLines, withinBudget } from "../estimateText";
import { askHub } from "../hub";
import { measuredRun } from "../measured";
import type { S3Store } from "../s3";
import type { StageName, StageSpec } from "../stages";
import { type Workload, workloadOf } from "../workload";
import type { AwsClients } from "./clients";
import { gpuCapacity } from "./gpuCapacity";
import { hasGpu, machinesOf, untilGone } from "./gpuNodes";
import { livePrices } from "./livePrices";
import { loadPrices, nodePrice, type Price } from "./prices";
import { receiptLines, receiptOf } from "./receipt";

export interface MoneyArgs {
  readonly settings: AwsSettings;
  readonly clients: AwsClients;
  /** The project's directory. */
  readonly root: string;
  readonly stack: string;
  readonly store: S3Store;
  /** The URI below which runs lie; undefined if nobody can say, for want of credentials. */
  readonly runs: string | undefined;
  readonly say: (text: string) => void;
  /** Says what makes the program fail. */
  readonly complain: (text: string) => void;
  /** How long and how often to look whether the GPU is gone. */
  readonly patience?: { readonly minutes: number; readonly pollSeconds: number };
  /** When the program began, if that was not just now. */
  readonly since?: Date;
}

export class RunMoney {
  private readonly since: Date;
  private known: Promise<Price> | undefined;
  private estimate: Estimate | undefined;

  constructor(private readonly args: MoneyArgs) {
    this.since = args.since ?? new Date();
  }

  /** Asked once: a program's figures agree with each other. */
  price(): Promise<Price> {
    const { settings, clients, root } = this.args;
    const table = loadPrices(join(root, "configs/prices.yaml"));
    this.known ??= livePrices(settings, clients).then((live) => nodePrice(settings, table, live));
    return this.known;
  }

  /** Bytes of what lies at an s3:// URI, or of a model's weights on the hub; undefined if it cannot be looked at. */
  readonly sizeOf = async (uri: string): Promise<number | undefined> => {
    if (uri.startsWith("hf://")) {
      const answer = await askHub(uri);
      return answer.is === "there" ? answer.bytes : undefined;
    }
    if (!uri.startsWith("s3://")) return undefined;
    const directory = uri.slice(0, uri.lastIndexOf("/"));
    const below = await this.args.store.listing(uri).catch(() => new Map<string, number>());
    const weights = [...below].filter(([name]) => name.endsWith(".safetensors"));
    if (below.size > 0) return sum((weights.length > 0 ? weights : [...below]).map(([, bytes]) => bytes));
    const beside = await this.args.store.listing(directory).catch(() => new Map<string, number>());
    return beside.get(uri.slice(directory.length + 1));
  };

  workload(config: RunConfig): Promise<Workload> {
    return workloadOf(config, this.sizeOf);
  }

  /** Says what the stages will take. Throws VisibleError if that is more than the budget allows. */
  async mayStart(config: RunConfig, stages: readonly StageName[]): Promise<void> {
    const { settings, say, store, runs } = this.args;
    const alike = { model: config.model.base, isLike: (name: string) => name.includes(gpuName(settings)) };
    const [price, workload, measured] = await Promise.all([
      this.price(),
      this.workload(config),
      runs === undefined ? undefined : measuredRun(alike, runs, store),
    ]);
    const { count, nodes } = settings.gpu;
    const args = { config, workload, price, gpus: count * nodes, nodes, stages, startsNodes: true, measured };
    this.estimate = estimateRun(args);
    if (stages.length === 0) return;
    for (const line of estimateLines(this.estimate, price, workload.assumed)) say(line);
    const warning = withinBudget(this.estimate, settings.budget);
    if (warning) say(warning);
  }

  /** Looks until the GPU machines are gone, and only then says so. It throws nothing: how a stage failed matters more. */
  async close(specs: readonly StageSpec[]): Promise<void> {
    await this.settle(specs).catch((error: Error) =>
      this.args.complain(
        `nobody could look whether the GPU capacity is gone (${error.message}): npm run teardown:check -- --gpu`,
      ),
    );
  }

  private async settle(specs: readonly StageSpec[]): Promise<void> {
    const { clients, stack, store, say, complain, patience = PATIENCE } = this.args;
    const clusterName = clusterNameOf(stack);
    const left = await untilGone({ look: () => gpuCapacity(clients, stack), say, ...patience });
    const [stages, machines, price] = await Promise.all([
      Promise.all(specs.map(async (spec) => ({ name: spec.name, attempts: await attemptsOf(spec, store) }))),
      machinesOf(clients.ec2, clusterName),
      this.price(),
    ]);
    const receipt = receiptOf({
      stages,
      machines: machines.filter(hasGpu),
      since: this.since,
      now: new Date(),
      price,
    });
    if (this.estimate) for (const line of receiptLines(receipt, this.estimate)) say(line);
    if (left.length === 0)
      return say("the GPU capacity is gone: no such node is in the cluster, no such instance in EC2");
    complain(
      `GPU capacity is still there after ${patience.minutes} minutes, and is billed: ${left.join(", ")}\n` +
        "look again with npm run teardown:check -- --gpu; kubectl delete nodeclaims --all ends it",
    );
  }
}

/** A node that is still starting when its stage is cancelled goes only once it is ready. */
const PATIENCE = { minutes: 15, pollSeconds: 10 };

/** As CUDA names the GPUs of the pool's first instance type. */
const gpuName = ({ gpu }: AwsSettings): string => (gpu.instanceTypes[0]?.startsWith("p5e") ? "H200" : "H100");

const sum = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0);
