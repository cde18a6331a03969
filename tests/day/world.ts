/** A cluster with a GPU pool on a simulated clock: real Jobs are put into it, and the project's own code looks at it. */
import type { CoreV1Event, V1Job } from "@kubernetes/client-node";
import { type Cluster, ENDED } from "../../jobs/kubernetes/api";
import { type Pod, SimulatedJob, shownJob, shownPod, type Work } from "./pods";
import { type Nature, type Node, Pool, type PoolManifest } from "./pool";

export class World {
  /** Seconds since the day began. */
  now = 0;
  readonly jobs: SimulatedJob[] = [];
  readonly documents = new Map<string, Record<string, string>>();
  readonly pool: Pool;
  /** The most machines that EC2 has billed at once. */
  mostMachines = 0;
  private readonly evictions: { node: Node; at: number }[] = [];

  constructor(
    readonly manifest: PoolManifest,
    private readonly nature: Nature,
    readonly midnight: Date,
  ) {
    this.pool = new Pool(manifest, nature);
  }

  readonly at = (second: number): Date => new Date(this.midnight.getTime() + second * 1000);

  async step(): Promise<void> {
    this.now += 1;
    const { now } = this;
    for (const job of this.jobs) {
      await job.step(now);
      const pod = job.active;
      if (pod && !pod.node) this.place(job, pod);
    }
    for (const node of this.pool.nodes) this.endIfReclaimed(node);
    for (const { node, at } of this.evictions) if (at === now && !node.endedAt) this.evict(node);
    this.pool.consolidate(now, (node) => this.podsOn(node).length === 0);
    const billed = this.pool.nodes.filter(({ endedAt }) => endedAt === undefined).length;
    this.mostMachines = Math.max(this.mostMachines, billed);
  }

  /** Whether nothing will happen by itself any more. */
  get isQuiet(): boolean {
    return this.pool.there(this.now).length === 0 && this.jobs.every((job) => job.active === undefined);
  }

  create(args: V1Job, work: Work): void {
    if (this.jobs.some(({ name, deleted }) => name === args.metadata?.name && !deleted)) return; // attached to
    this.jobs.push(new SimulatedJob(args, work, this.now));
  }

  /** The spot notice, two minutes ahead, for whatever runs now. */
  reclaim(): void {
    for (const node of this.pool.ready(this.now)) {
      node.reclaimedAt = this.now + 120;
      this.disturb(node);
    }
  }

  drift(): void {
    this.evictions.push(...this.pool.drift(this.now));
  }

  private podsOn(node: Node): Pod[] {
    return this.jobs.flatMap(({ active }) => (active?.node === node ? [active] : []));
  }

  private place(job: SimulatedJob, pod: Pod): void {
    const { containers, nodeSelector = {}, tolerations = [] } = job.args.spec?.template.spec ?? { containers: [] };
    const image = containers[0]?.image ?? "";
    const fits = this.pool
      .ready(this.now)
      .find(
        (node) =>
          this.podsOn(node).length === 0 &&
          Object.entries(nodeSelector).every(([key, value]) => node.labels[key] === value) &&
          tolerations.some(({ key }) => key === "nvidia.com/gpu"),
      );
    if (!fits) {
      pod.warning = this.pool.wanted(this.now);
      return;
    }
    pod.node = fits;
    pod.runsFrom = this.now + (fits.images.has(image) ? 1 : this.nature.pullSeconds);
    fits.images.add(image);
  }

  private endIfReclaimed(node: Node): void {
    if (node.endedAt || !node.reclaimedAt) return;
    if (this.podsOn(node).length === 0 || this.now >= node.reclaimedAt) this.evict(node);
  }

  private disturb(node: Node): void {
    for (const job of this.jobs) if (job.active?.node === node) job.disrupt(job.active, this.now);
  }

  private evict(node: Node): void {
    this.disturb(node);
    for (const pod of this.podsOn(node)) pod.endsAt = this.now;
    node.endedAt = this.now;
  }

  /** What the project's code sees. Once `isGone`, nothing is answered any more: the program was killed. */
  cluster(isGone: () => boolean): Cluster {
    const find = (name: string) => this.jobs.find((job) => job.name === name && !job.deleted);
    const pod = (name: string) => this.jobs.flatMap(({ pods }) => pods).find((one) => one.name === name);
    const answer = <T>(value: T): Promise<T> => (isGone() ? new Promise(() => {}) : Promise.resolve(value));
    return {
      jobs: (labels) => {
        const fits = ({ args, deleted }: SimulatedJob) =>
          !deleted && Object.entries(labels).every(([key, value]) => args.metadata?.labels?.[key] === value);
        return answer(this.jobs.filter(fits).map((job) => shownJob(job, this.at)));
      },
      job: (name) => {
        const job = find(name);
        return answer(job && shownJob(job, this.at));
      },
      podsOf: (name) => answer(find(name)?.pods.map((one) => shownPod(one, this.now, this.at)) ?? []),
      podPhase: async (name) => {
        const one = pod(name);
        return answer(one && shownPod(one, this.now, this.at).status?.phase);
      },
      warningsOf: (name) => {
        const message = pod(name)?.warning;
        return answer(message ? [{ reason: "FailedScheduling", message } as CoreV1Event] : []);
      },
      queued: () => answer(undefined),
      configMap: (name) => answer(this.documents.get(name)),
      followLog: () => answer(undefined),
      end: async (name, why) => {
        const job = find(name);
        if (!job?.args.metadata) return;
        job.args.metadata.annotations = { ...job.args.metadata.annotations, [ENDED]: why };
        if (job.args.spec) job.args.spec.activeDeadlineSeconds = 1;
      },
    };
  }
}
