/**
 * Karpenter and EC2 on a simulated clock: when a GPU node starts and ends, as the real pool's manifest says. The rules, in
 * the words of AWS's and Karpenter's documentation:
 * - A pod that no node fits makes the pool start one, unless `limits` are reached (aws.md 3).
 * - Without capacity there is a warning event, and the offering counts as unavailable for 3 minutes (aws.md 3).
 * - `WhenEmpty`: a node that is ready and on which no pod has been for `consolidateAfter` is ended, if the budget for
 *   `Empty` lets it. A node that is still starting is not looked at.
 * - A budget of 0 for `Drifted` keeps a node whose machine image is outdated; otherwise its pods go after
 *   `terminationGracePeriod`, whatever `do-not-disrupt` says (aws.md 3, the trap).
 * - A spot machine is told two minutes ahead that it ends (facts.md); its pods are asked to stop at once.
 * EC2 bills from the launch until the machine is told to end.
 */
import { nodePool } from "../../infra/aws/gpuPool";
import { GPU_TYPES, type GpuTypeName } from "../../infra/aws/gpuTypes";
import { AwsSettings, zonesOf } from "../../infra/aws/settings";
import type { Machine } from "../../jobs/aws/gpuNodes";

export type PoolManifest = ReturnType<typeof nodePool>;

export const settingsOf = (more: object = {}): AwsSettings =>
  AwsSettings.parse({ target: "aws", run: "run.yaml", cluster: { accessCidrs: [] }, ...more });

/** The manifest that the program registers. */
export const manifestOf = (settings: AwsSettings): PoolManifest =>
  nodePool({
    gpu: settings.gpu,
    zones: zonesOf(settings),
    nodeRoleName: "node",
    subnetIds: ["subnet-0a"],
    securityGroupId: "sg-0a",
  });

/** What EC2 and the machines do: not the project's to decide. */
export interface Nature {
  /** From the launch until pods can be placed. */
  readonly startSeconds: number;
  /** An image that the node does not have yet. */
  readonly pullSeconds: number;
  /** From being told to end until EC2 says terminated. */
  readonly endSeconds: number;
}

export interface Node {
  readonly name: string;
  readonly type: GpuTypeName;
  readonly launchedAt: number;
  readonly readyAt: number;
  readonly labels: Readonly<Record<string, string>>;
  readonly images: Set<string>;
  emptySince: number;
  /** When it was told to end. */
  endedAt: number | undefined;
  /** Set by a spot notice: it ends then, whatever runs. */
  reclaimedAt: number | undefined;
}

const UNAVAILABLE_SECONDS = 180;
/** Karpenter looks so often whether a node may go. */
const LOOK_SECONDS = 10;

const seconds = (text: string): number => {
  const [, count = "", unit = ""] = /^(\d+)(s|m|h)$/.exec(text) ?? [];
  const factor = { s: 1, m: 60, h: 3600 }[unit];
  if (factor === undefined) throw new Error(`no duration: ${text}`);
  return Number(count) * factor;
};

export class Pool {
  readonly nodes: Node[] = [];
  /** Whether EC2 has a machine now. */
  hasCapacity = true;
  private unavailableUntil = 0;

  constructor(
    private readonly manifest: PoolManifest,
    private readonly nature: Nature,
  ) {}

  /** Those that EC2 has not terminated. */
  there(now: number): Node[] {
    return this.nodes.filter(({ endedAt }) => endedAt === undefined || now < endedAt + this.nature.endSeconds);
  }

  ready(now: number): Node[] {
    return this.nodes.filter(({ readyAt, endedAt, reclaimedAt }) => readyAt <= now && !endedAt && !reclaimedAt);
  }

  /** A pod fits no node. Returns the warning that it gets, if the pool cannot help. */
  wanted(now: number): string | undefined {
    const { limits, template } = this.manifest.spec;
    const type = template.spec.requirements.find(({ key }) => key === "node.kubernetes.io/instance-type")?.values[0];
    const { gpus } = GPU_TYPES[type as GpuTypeName];
    if (this.nodes.some(({ readyAt, endedAt }) => readyAt > now && !endedAt)) return undefined;
    const used = this.there(now).reduce((sum, node) => sum + GPU_TYPES[node.type].gpus, 0);
    if (used + gpus > Number(limits["nvidia.com/gpu"]))
      return "all available instance types exceed limits for nodepool";
    if (now < this.unavailableUntil) return "InsufficientInstanceCapacity: tried a moment ago";
    if (!this.hasCapacity) {
      this.unavailableUntil = now + UNAVAILABLE_SECONDS;
      return "InsufficientInstanceCapacity: We currently do not have sufficient p5.4xlarge capacity";
    }
    const readyAt = now + this.nature.startSeconds;
    this.nodes.push({
      name: `i-${this.nodes.length + 1}`,
      type: type as GpuTypeName,
      launchedAt: now,
      readyAt,
      labels: { "eks.amazonaws.com/compute-type": "auto", ...template.metadata.labels },
      images: new Set(),
      emptySince: readyAt,
      endedAt: undefined,
      reclaimedAt: undefined,
    });
    return undefined;
  }

  /** Ends what has been empty long enough. `isEmpty`: no pod that runs or is about to is on the node. */
  consolidate(now: number, isEmpty: (node: Node) => boolean): void {
    const { consolidationPolicy, consolidateAfter, budgets } = this.manifest.spec.disruption;
    if (consolidationPolicy !== "WhenEmpty") throw new Error(`no rules for ${consolidationPolicy}`);
    for (const node of this.ready(now)) {
      if (!isEmpty(node)) node.emptySince = now;
      const isDue = now - node.emptySince >= seconds(consolidateAfter) && now % LOOK_SECONDS === 0;
      if (isDue && this.allows("Empty", budgets)) node.endedAt = now;
    }
  }

  /** A new machine image comes out. Returns the nodes whose pods have to go, and when. */
  drift(now: number): { node: Node; at: number }[] {
    const { disruption, template } = this.manifest.spec;
    if (!this.allows("Drifted", disruption.budgets)) return [];
    return this.ready(now).map((node) => ({ node, at: now + seconds(template.spec.terminationGracePeriod) }));
  }

  private allows(reason: string, budgets: PoolManifest["spec"]["disruption"]["budgets"]): boolean {
    return budgets.every(({ nodes, reasons }) => nodes !== "0" || !reasons.includes(reason));
  }

  /** As the project's own code sees them in EC2. */
  machines(now: number, at: (second: number) => Date): Machine[] {
    return this.nodes.map(({ name, type, launchedAt, endedAt }) => ({
      id: name,
      type,
      state:
        endedAt === undefined ? "running" : now < endedAt + this.nature.endSeconds ? "shutting-down" : "terminated",
      launchedAt: at(launchedAt),
      endedAt: endedAt === undefined ? undefined : at(endedAt),
    }));
  }
}
