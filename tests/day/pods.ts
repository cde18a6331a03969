/**
 * Jobs and their pods on a simulated clock, by the rules of batch/v1: `podFailurePolicy` in order, `backoffLimit` with its
 * growing pause, `activeDeadlineSeconds` from the Job's start, no second pod before the first is gone.
 */
import type { V1Job, V1Pod } from "@kubernetes/client-node";
import { CONTAINER } from "../../jobs/kubernetes/api";
import type { Node } from "./pool";

/** What a stage does in one pod, given the seconds of work still to do. */
export interface Work {
  /** Seconds of work that are left: less, once a pod has saved. */
  left: number;
  /** Ends with this code after so many seconds in a pod; each is used once. */
  readonly mishaps: { readonly afterSeconds: number; readonly exitCode: number }[];
  /** Called when it is done: it writes its manifest. */
  readonly onDone: () => Promise<void>;
}

export interface Pod {
  readonly name: string;
  node: Node | undefined;
  /** When its container starts: the image has been pulled. */
  runsFrom: number | undefined;
  endsAt: number | undefined;
  exitCode: number | undefined;
  endedAt: number | undefined;
  disrupted: boolean;
  warning: string | undefined;
  readonly createdAt: number;
}

/** A stage that is asked to stop saves and is gone after so long. */
export const SAVE_SECONDS = 15;

export class SimulatedJob {
  readonly pods: Pod[] = [];
  condition: { type: "Complete" | "Failed"; reason: string; at: number } | undefined;
  deleted = false;
  private failures = 0;
  private pauseUntil = 0;

  constructor(
    readonly args: V1Job,
    readonly work: Work,
    readonly createdAt: number,
  ) {}

  get name(): string {
    return this.args.metadata?.name ?? "";
  }

  /** The pod that holds, or wants, a node. */
  get active(): Pod | undefined {
    return this.pods.find(({ endedAt }) => endedAt === undefined);
  }

  async step(now: number): Promise<void> {
    const pod = this.active;
    if (pod) await this.advance(pod, now);
    const over = this.condition !== undefined || this.deleted;
    if (over && pod?.node) this.stop(pod, now);
    if (over && pod && !pod.node) this.end(pod, 143, now);
    if (over) return;
    const deadline = this.args.spec?.activeDeadlineSeconds ?? Number.POSITIVE_INFINITY;
    if (now - this.createdAt >= deadline) this.condition = { type: "Failed", reason: "DeadlineExceeded", at: now };
    else if (!this.active && now >= this.pauseUntil) this.replace(now);
  }

  /** Asks the pod to save and stop, as SIGTERM does. */
  stop(pod: Pod, now: number): void {
    if (pod.runsFrom === undefined || pod.runsFrom > now) {
      this.end(pod, 143, now);
    } else {
      pod.endsAt = Math.min(pod.endsAt ?? Number.POSITIVE_INFINITY, now + SAVE_SECONDS);
      pod.exitCode ??= 143;
    }
  }

  disrupt(pod: Pod, now: number): void {
    pod.disrupted = true;
    this.stop(pod, now);
  }

  private async advance(pod: Pod, now: number): Promise<void> {
    if (pod.runsFrom === undefined || now < pod.runsFrom) return;
    const ran = now - pod.runsFrom;
    const mishap = this.work.mishaps[0];
    if (pod.endsAt !== undefined) {
      if (now >= pod.endsAt) {
        this.work.left = Math.max(1, this.work.left - ran); // it has saved: the next pod goes on from there
        this.end(pod, pod.exitCode ?? 143, now);
      }
    } else if (mishap && ran >= mishap.afterSeconds) {
      this.work.mishaps.shift();
      this.end(pod, mishap.exitCode, now);
    } else if (ran >= this.work.left) {
      await this.work.onDone();
      this.end(pod, 0, now);
    }
  }

  private end(pod: Pod, exitCode: number, now: number): void {
    pod.exitCode = exitCode;
    pod.endedAt = now;
    if (exitCode === 0) this.condition ??= { type: "Complete", reason: "CompletionsReached", at: now };
  }

  /** What becomes of the Job once its pod has ended: another pod, or none. */
  private replace(now: number): void {
    const last = this.pods.at(-1);
    const verdict = last && this.verdict(last);
    if (verdict === "FailJob") {
      this.condition = { type: "Failed", reason: "PodFailurePolicy", at: now };
      return;
    }
    if (last && verdict === "Count" && last.endedAt === now) {
      this.failures += 1;
      if (this.failures > (this.args.spec?.backoffLimit ?? 6)) {
        this.condition = { type: "Failed", reason: "BackoffLimitExceeded", at: now };
        return;
      }
      this.pauseUntil = now + 10 * 2 ** (this.failures - 1);
      return;
    }
    this.pods.push({
      name: `${this.name}-${this.pods.length}`,
      ...{ node: undefined, runsFrom: undefined, endsAt: undefined, exitCode: undefined, endedAt: undefined },
      ...{ disrupted: false, warning: undefined, createdAt: now },
    });
  }

  private verdict({ exitCode, disrupted }: Pod): "FailJob" | "Ignore" | "Count" {
    for (const { action, onExitCodes, onPodConditions } of this.args.spec?.podFailurePolicy?.rules ?? []) {
      const byCode = onExitCodes?.containerName === CONTAINER && onExitCodes.values.includes(exitCode ?? 0);
      const byCondition = disrupted && onPodConditions?.some(({ type }) => type === "DisruptionTarget");
      if (byCode || byCondition) return action as "FailJob" | "Ignore";
    }
    return "Count";
  }
}

/** As the API server shows them. */
export function shownJob(job: SimulatedJob, at: (second: number) => Date): V1Job {
  const { condition } = job;
  const conditions = condition
    ? [{ type: condition.type, status: "True", reason: condition.reason, lastTransitionTime: at(condition.at) }]
    : [];
  return { ...job.args, status: { conditions } };
}

export function shownPod(pod: Pod, now: number, at: (second: number) => Date): V1Pod {
  const { name, node, runsFrom, endedAt, exitCode, createdAt } = pod;
  const runs = runsFrom !== undefined && runsFrom <= now;
  const started = runs ? at(runsFrom) : undefined;
  const phase = endedAt !== undefined ? (exitCode === 0 ? "Succeeded" : "Failed") : runs ? "Running" : "Pending";
  const unplaced = {
    type: "PodScheduled",
    status: "False",
    message: "0/1 nodes are available: Insufficient nvidia.com/gpu",
  };
  const terminated = { exitCode: exitCode ?? 0, reason: "Error", startedAt: started, finishedAt: at(endedAt ?? now) };
  const state =
    endedAt !== undefined ? (started ? { terminated } : {}) : runs ? { running: { startedAt: started } } : {};
  return {
    metadata: { name, creationTimestamp: at(createdAt) },
    spec: { containers: [], ...(node && { nodeName: node.name }) },
    status: {
      phase,
      conditions: node ? [] : [unplaced],
      containerStatuses: [{ name: CONTAINER, image: "", imageID: "", ready: runs, restartCount: 0, state }],
    },
  } as V1Pod;
}
