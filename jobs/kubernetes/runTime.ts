/** How long the pods of a Job have really run: not while they waited for a node, nor between one pod and the next. */
import type { V1Pod } from "@kubernetes/client-node";

export class RunTime {
  /** By pod, in ms: what was last seen of it stays when it is removed with its node. */
  private readonly pods = new Map<string, number>();

  note(pods: readonly V1Pod[], now = new Date()): void {
    for (const { metadata, status } of pods) {
      const { running, terminated } = status?.containerStatuses?.[0]?.state ?? {};
      const from = running?.startedAt ?? terminated?.startedAt;
      if (from === undefined) continue;
      const to = terminated?.finishedAt ?? now;
      this.pods.set(metadata?.name ?? "", Math.max(0, to.getTime() - from.getTime()));
    }
  }

  get seconds(): number {
    return [...this.pods.values()].reduce((sum, milliseconds) => sum + milliseconds, 0) / 1000;
  }
}
