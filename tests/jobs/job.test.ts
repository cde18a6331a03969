/** The Job of a stage: exactly what the cluster is asked for, and what it is not. */
import { expect, test } from "vitest";
import { documentArgs, jobArgs, jobName, type Launch, workersServiceArgs } from "../../jobs/job";
import { stageSpecs } from "../../jobs/stages";
import { settings } from "../infra/stack";
import { CONFIG, SOURCES } from "./run";

const [train, merge, evaluate] = stageSpecs(CONFIG, SOURCES, "s3://results/runs");

const launch = (given: Readonly<Record<string, unknown>> = {}): Launch => ({
  namespace: "retort",
  settings: settings(given),
  credentials: "retort-store",
  deadlineSeconds: 3600,
  attempt: 2,
});

const pod = (job: ReturnType<typeof jobArgs>) => job.spec.template.spec;
const container = (job: ReturnType<typeof jobArgs>) => {
  const [only, ...others] = pod(job).containers;
  expect(others).toEqual([]);
  return only as NonNullable<typeof only>;
};

test("a train Job, in full", () => {
  const fp = train.fingerprint.slice(0, 12);
  const labels = {
    "app.kubernetes.io/part-of": "retort",
    "app.kubernetes.io/name": "retort",
    "retort.dev/run": "phase1c",
    "retort.dev/stage": "train",
    "retort.dev/fingerprint": fp,
    "retort.dev/attempt": "2",
  };
  const amounts = { memory: "64Gi", "ephemeral-storage": "120Gi", "nvidia.com/gpu": "1" };
  expect(jobArgs(train, launch())).toEqual({
    metadata: {
      name: `phase1c-train-${fp}-2`,
      namespace: "retort",
      labels,
      annotations: { "pulumi.com/skipAwait": "true" },
    },
    spec: {
      backoffLimit: 2,
      activeDeadlineSeconds: 3600,
      podReplacementPolicy: "Failed",
      podFailurePolicy: {
        rules: [
          { action: "FailJob", onExitCodes: { containerName: "stage", operator: "In", values: [2] } },
          { action: "Ignore", onExitCodes: { containerName: "stage", operator: "In", values: [143] } },
          { action: "Ignore", onPodConditions: [{ type: "DisruptionTarget", status: "True" }] },
        ],
      },
      template: {
        metadata: {
          labels,
          annotations: {
            "karpenter.sh/do-not-disrupt": "true",
            "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
          },
        },
        spec: {
          restartPolicy: "Never",
          serviceAccountName: "retort-train",
          automountServiceAccountToken: false,
          enableServiceLinks: false,
          terminationGracePeriodSeconds: 120,
          shareProcessNamespace: true,
          securityContext: {
            runAsNonRoot: true,
            runAsUser: 10001,
            runAsGroup: 10001,
            fsGroup: 10001,
            seccompProfile: { type: "RuntimeDefault" },
          },
          nodeSelector: {},
          tolerations: [{ key: "nvidia.com/gpu", operator: "Exists", effect: "NoSchedule" }],
          containers: [
            {
              name: "stage",
              image: "local@sha256:aa",
              command: ["python", "-m", "retort", "/etc/retort/stage.json"],
              env: [
                { name: "PYTHONUNBUFFERED", value: "1" },
                { name: "TOKENIZERS_PARALLELISM", value: "false" },
                { name: "HOME", value: "/work/home" },
                { name: "RETORT_WORK", value: "/work/stages" },
                { name: "RETORT_CACHE", value: "/work/cache" },
                { name: "HF_HOME", value: "/work/cache/hub" },
                { name: "TORCHINDUCTOR_CACHE_DIR", value: "/work/cache/inductor" },
                { name: "TRITON_CACHE_DIR", value: "/work/cache/triton" },
                { name: "AWS_REGION", value: "us-east-1" },
                { name: "AWS_DEFAULT_REGION", value: "us-east-1" },
                { name: "AWS_ENDPOINT_URL_S3", value: "http://store:9000" },
              ],
              envFrom: [{ secretRef: { name: "retort-store" } }],
              resources: { requests: { cpu: "8", ...amounts }, limits: amounts },
              securityContext: {
                allowPrivilegeEscalation: false,
                readOnlyRootFilesystem: true,
                capabilities: { drop: ["ALL"] },
              },
              terminationMessagePolicy: "FallbackToLogsOnError",
              volumeMounts: [
                { name: "document", mountPath: "/etc/retort", readOnly: true },
                { name: "work", mountPath: "/work" },
                { name: "tmp", mountPath: "/tmp" },
                { name: "shm", mountPath: "/dev/shm" },
              ],
            },
          ],
          volumes: [
            { name: "document", configMap: { name: `phase1c-train-${fp}-document` } },
            { name: "work", emptyDir: { sizeLimit: "120Gi" } },
            { name: "tmp", emptyDir: { sizeLimit: "2Gi" } },
            { name: "shm", emptyDir: { medium: "Memory", sizeLimit: "8Gi" } },
          ],
        },
      },
    },
  });
});

test("merge asks for no GPU unless it is set to", () => {
  const amounts = container(jobArgs(merge, launch())).resources.limits;
  expect(amounts).toEqual({ memory: "64Gi", "ephemeral-storage": "120Gi" });
  const set = container(jobArgs(merge, launch({ gpu: { merge: 1 } }))).resources.limits;
  expect(set).toMatchObject({ "nvidia.com/gpu": "1" });
});

test("on CPUs no stage asks for a GPU, a GPU's node or shared memory", () => {
  for (const spec of [train, merge, evaluate]) {
    const job = jobArgs(spec, launch({ gpu: { count: 0 } }));
    expect(JSON.stringify(job)).not.toContain("nvidia.com/gpu");
    expect(pod(job)).not.toHaveProperty("nodeSelector");
    expect(pod(job).volumes.map(({ name }) => name)).toEqual(["document", "work", "tmp"]);
  }
});

test("another resource name is asked for as it is", () => {
  const job = jobArgs(train, launch({ gpu: { resource: "amd.com/gpu", count: 2 } }));
  expect(container(job).resources.limits).toMatchObject({ "amd.com/gpu": "2" });
});

test("the document is the stage's, and no secret is in it or in the Job", () => {
  const { metadata, data, immutable } = documentArgs(train, "retort");
  expect(metadata.name).toBe(`phase1c-train-${train.fingerprint.slice(0, 12)}-document`);
  expect(immutable).toBe(true);
  expect(JSON.parse(data["stage.json"])).toEqual(JSON.parse(JSON.stringify(train.document)));
  const text = JSON.stringify([data, jobArgs(train, launch())]);
  expect(text).not.toContain("hidden-word");
  expect(text.length).toBeGreaterThan(1000);
});

test("a Job waits in the queue that is set, and in none otherwise", () => {
  expect(jobArgs(train, launch({ queue: "gpus" })).metadata.labels).toMatchObject({
    "kueue.x-k8s.io/queue-name": "gpus",
  });
  expect(jobArgs(train, launch()).metadata.labels).not.toHaveProperty("kueue.x-k8s.io/queue-name");
});

test("several GPUs of one node are one pod under torchrun", () => {
  const job = jobArgs(train, launch({ gpu: { count: 4 } }));
  expect(job.spec).not.toHaveProperty("completionMode");
  expect(container(job).command.join(" ")).toBe(
    "python -m retort.spread --nnodes 1 --nproc-per-node 4 --standalone -m retort /etc/retort/stage.json",
  );
});

test("several nodes are an Indexed Job whose workers meet at the first by name", () => {
  const several = launch({ gpu: { nodes: 2, count: 8 } });
  const job = jobArgs(train, several);
  const name = jobName(train, 2);
  expect(job.spec).toMatchObject({ completionMode: "Indexed", completions: 2, parallelism: 2 });
  expect(pod(job)).toMatchObject({ subdomain: name });
  expect(container(job).command.join(" ")).toBe(
    `python -m retort.spread --nnodes 2 --nproc-per-node 8 --node-rank $(JOB_COMPLETION_INDEX) --master-addr ${name}-0.${name} ` +
      "--master-port 29500 -m retort /etc/retort/stage.json",
  );
  expect(workersServiceArgs(train, several)).toMatchObject({
    metadata: { name },
    spec: { clusterIP: "None", publishNotReadyAddresses: true, selector: { "batch.kubernetes.io/job-name": name } },
  });
});

test("only train is spread over nodes", () => {
  for (const spec of [merge, evaluate]) {
    const job = jobArgs(spec, launch({ gpu: { nodes: 2, count: 8 } }));
    expect(job.spec).not.toHaveProperty("completionMode");
    expect(container(job).command[0]).toBe("python");
  }
});

test("the longest name of a run makes no name that Kubernetes refuses", () => {
  const [first, , last] = stageSpecs({ ...CONFIG, name: "r".repeat(32) }, SOURCES, "s3://b/runs");
  for (const spec of [first, last]) expect(jobName(spec, 99).length).toBeLessThanOrEqual(63);
});
