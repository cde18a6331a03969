/** Why a Job has no running pod, in words a person can act on. Pure: from what the API says to a sentence. */
import type { CoreV1Event, V1Job, V1Pod } from "@kubernetes/client-node";

export interface Waiting {
  readonly reason: string;
  /** Waiting will not help: the image does not exist, the pod is not allowed. */
  readonly hopeless: boolean;
}

const IMAGE_TROUBLES = ["ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"];

/** What is known of a Job beside itself. */
export interface Circumstances {
  readonly pod: V1Pod | undefined;
  /** About the Job and the pod, newest last. */
  readonly warnings: readonly CoreV1Event[];
  /** What Kueue says of it, where it waits in a queue. */
  readonly queued?: string | undefined;
}

/** What a Job waits for, or undefined if a pod of it runs or has ended. */
export function waitingFor(job: V1Job, { pod, warnings, queued }: Circumstances): Waiting | undefined {
  if (job.spec?.suspend) return { reason: suspension(job, queued), hopeless: false };
  return pod ? podWaitsFor(pod, warnings) : withoutPod(warnings);
}

/** What a pod waits for, or undefined if it runs or has ended. */
export function podWaitsFor(pod: V1Pod, warnings: readonly CoreV1Event[]): Waiting | undefined {
  if (pod.status?.phase !== "Pending") return undefined;
  const unscheduled = pod.status.conditions?.find(({ type, status }) => type === "PodScheduled" && status === "False");
  if (unscheduled) return { reason: unschedulable(unscheduled.message, warnings), hopeless: false };
  const waiting = pod.status.containerStatuses?.[0]?.state?.waiting;
  if (waiting?.reason && IMAGE_TROUBLES.includes(waiting.reason)) {
    const detail = waiting.message ? `: ${firstLine(waiting.message)}` : "";
    return { reason: `the image cannot be pulled (${waiting.reason})${detail}`, hopeless: false };
  }
  if (waiting?.reason === "CreateContainerConfigError") {
    return { reason: `the container cannot be made: ${firstLine(waiting.message ?? "")}`, hopeless: true };
  }
  const warning = warnings.at(-1);
  if (warning?.message) return { reason: `${warning.reason}: ${firstLine(warning.message)}`, hopeless: false };
  return { reason: pod.spec?.nodeName ? "the node is pulling the image" : "the pod waits for a node", hopeless: false };
}

function suspension(job: V1Job, queued: string | undefined): string {
  const queue = job.metadata?.labels?.["kueue.x-k8s.io/queue-name"];
  if (!queue) return "the Job is suspended";
  return `the Job waits in the queue ${queue}${queued ? `: ${firstLine(queued)}` : ""}`;
}

function withoutPod(warnings: readonly CoreV1Event[]): Waiting {
  const refused = warnings.findLast(({ reason }) => reason === "FailedCreate");
  if (!refused?.message) return { reason: "the Job has no pod yet", hopeless: false };
  const message = firstLine(refused.message);
  if (message.includes("exceeded quota"))
    return { reason: `the namespace's quota is used up: ${message}`, hopeless: false };
  return { reason: `the cluster refuses the pod: ${message}`, hopeless: message.includes("violates PodSecurity") };
}

/** The scheduler says what no node has; an autoscaler says in an event why it adds none. */
function unschedulable(message: string | undefined, warnings: readonly CoreV1Event[]): string {
  const autoscaler = warnings.findLast(({ reason }) => reason !== "FailedScheduling");
  const more = autoscaler?.message ? `; ${autoscaler.reason}: ${firstLine(autoscaler.message)}` : "";
  return `no node fits: ${firstLine(message ?? "not scheduled")}${more}`;
}

const firstLine = (text: string): string => text.split("\n")[0]?.trim() ?? "";
