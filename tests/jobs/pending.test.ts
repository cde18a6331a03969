/** Why a Job has no running pod: every case in a person's words. */
import type { CoreV1Event, V1Job, V1Pod } from "@kubernetes/client-node";
import { expect, test } from "vitest";
import type { Cluster } from "../../jobs/kubernetes/api";
import { waitingFor } from "../../jobs/kubernetes/pending";
import { waitingOf } from "../../jobs/kubernetes/waiting";

const job = (given: Partial<V1Job> = {}): V1Job => given;
const pod = (status: V1Pod["status"], spec?: Partial<V1Pod["spec"]>): V1Pod => ({
  status: { phase: "Pending", ...status },
  spec: { containers: [], ...spec },
});
const warning = (reason: string, message: string): CoreV1Event =>
  ({ reason, message, involvedObject: {}, metadata: {} }) as CoreV1Event;
const unscheduled = pod({
  conditions: [
    { type: "PodScheduled", status: "False", message: "0/3 nodes are available: 3 Insufficient nvidia.com/gpu." },
  ],
});
const container = (reason: string, message?: string) =>
  pod({
    containerStatuses: [
      {
        name: "stage",
        image: "",
        imageID: "",
        ready: false,
        restartCount: 0,
        state: { waiting: { reason, ...(message && { message }) } },
      },
    ],
  });

const cases: [string, V1Job, V1Pod | undefined, CoreV1Event[], string, boolean][] = [
  [
    "no node fits",
    job(),
    unscheduled,
    [warning("FailedScheduling", "x")],
    "no node fits: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
    false,
  ],
  [
    "the autoscaler says why it adds none",
    job(),
    unscheduled,
    [warning("NoCompatibleInstanceTypes", "no capacity")],
    "no node fits: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu.; NoCompatibleInstanceTypes: no capacity",
    false,
  ],
  [
    "an image that does not exist",
    job(),
    container("ErrImagePull", "not found\nmore"),
    [],
    "the image cannot be pulled (ErrImagePull): not found",
    false,
  ],
  [
    "a missing Secret",
    job(),
    container("CreateContainerConfigError", 'secret "x" not found'),
    [],
    'the container cannot be made: secret "x" not found',
    true,
  ],
  [
    "a quota",
    job(),
    undefined,
    [warning("FailedCreate", 'pods "a" is forbidden: exceeded quota: gpus')],
    'the namespace\'s quota is used up: pods "a" is forbidden: exceeded quota: gpus',
    false,
  ],
  [
    "a pod that is not allowed",
    job(),
    undefined,
    [warning("FailedCreate", 'violates PodSecurity "restricted:latest"')],
    'the cluster refuses the pod: violates PodSecurity "restricted:latest"',
    true,
  ],
  [
    "a queue",
    job({ spec: { suspend: true, template: {} }, metadata: { labels: { "kueue.x-k8s.io/queue-name": "gpus" } } }),
    undefined,
    [],
    "the Job waits in the queue gpus",
    false,
  ],
  ["an image being pulled", job(), pod({}, { nodeName: "n" }), [], "the node is pulling the image", false],
  ["nothing known yet", job(), undefined, [], "the Job has no pod yet", false],
];

test.each(cases)("%s", (_, given, newest, warnings, reason, hopeless) => {
  expect(waitingFor(given, { pod: newest, warnings })).toEqual({ reason, hopeless });
});

test("a pod that runs or has ended waits for nothing", () => {
  for (const phase of ["Running", "Succeeded", "Failed"]) {
    expect(waitingFor(job(), { pod: pod({ phase }), warnings: [] })).toBeUndefined();
  }
});

test("in a queue, Kueue's own reason", () => {
  const queuedJob = job({
    spec: { suspend: true, template: {} },
    metadata: { labels: { "kueue.x-k8s.io/queue-name": "gpus" } },
  });
  const waiting = waitingFor(queuedJob, {
    pod: undefined,
    warnings: [],
    queued: "LocalQueue gpus doesn't exist\nmore",
  });
  expect(waiting).toEqual({
    reason: "the Job waits in the queue gpus: LocalQueue gpus doesn't exist",
    hopeless: false,
  });
});

test("a Job that was put back into its queue waits, whatever became of the pods that it had", async () => {
  const cluster = { warningsOf: async () => [], queued: async () => "Preempted" } as Partial<Cluster> as Cluster;
  const preempted = job({
    spec: { suspend: true, template: {} },
    metadata: { labels: { "kueue.x-k8s.io/queue-name": "gpus" } },
  });
  const before = pod({ phase: "Failed" });
  expect((await waitingOf(cluster, preempted, before))?.reason).toBe("the Job waits in the queue gpus: Preempted");
  expect(await waitingOf(cluster, job(), before)).toBeUndefined();
});
