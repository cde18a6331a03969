/** Asks a cluster why a Job has no running pod. */
import type { V1Job, V1Pod } from "@kubernetes/client-node";
import type { Cluster } from "./api";
import { type Waiting, waitingFor } from "./pending";

/** What the Job waits for, or undefined if a pod of it runs or has ended. A question that fails changes no answer. */
export async function waitingOf(cluster: Cluster, job: V1Job, pod: V1Pod | undefined): Promise<Waiting | undefined> {
  if (!job.spec?.suspend && pod && pod.status?.phase !== "Pending") return undefined; // nothing to ask about
  const [warnings, queued] = await Promise.all([
    cluster.warningsOf(pod?.metadata?.name ?? job.metadata?.name ?? "").catch(() => []),
    job.spec?.suspend ? cluster.queued(job).catch(() => undefined) : undefined,
  ]);
  return waitingFor(job, { pod, warnings, queued });
}
