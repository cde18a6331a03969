/** From a StageSpec to the batch/v1 Job that runs it, and the ConfigMap with its document. Pure: what is asked for is all there is. */
import { UNAWAITED } from "../infra/awaiting";
import type { Settings } from "../infra/settings";
import { CONTAINER, MADE_HERE } from "./kubernetes/api";
import type { StageName, StageSpec } from "./stages";

/** What a Job is made of beside its stage: decided once, when the Job is first made. */
export interface Launch {
  readonly namespace: string;
  readonly settings: Pick<Settings, "gpu" | "pod" | "queue" | "storage"> & { readonly pullSecret?: string | undefined };
  /** Names the Secret with the store's keys; none with a pod identity. */
  readonly credentials?: string | undefined;
  /** Hard cap on the Job's run time. */
  readonly deadlineSeconds: number;
  /** From 1: which try of this fingerprint it is. */
  readonly attempt: number;
}

/** Each stage has a service account of its own, so that each can have its own rights. */
export const serviceAccount = (part: StageName | "tensorboard"): string => `retort-${part}`;
export const LABELS = {
  app: "app.kubernetes.io/name",
  run: "retort.dev/run",
  stage: "retort.dev/stage",
  fingerprint: "retort.dev/fingerprint",
  attempt: "retort.dev/attempt",
} as const;
/** Annotation of a Job with all that it was registered with: a kept Job is registered again exactly so. */
export const REGISTERED = "retort.dev/registered";

const DOCUMENT = "/etc/retort/stage.json";
const WORK = "/work";
/** The image's user: no name is needed, only that it is not root. */
const USER = 10001;
/** What every pod of the project runs as. */
export const UNPRIVILEGED = {
  runAsNonRoot: true,
  runAsUser: USER,
  runAsGroup: USER,
  fsGroup: USER,
  seccompProfile: { type: "RuntimeDefault" },
} as const;
/** And every container of it. */
export const LOCKED = {
  allowPrivilegeEscalation: false,
  readOnlyRootFilesystem: true,
  capabilities: { drop: ["ALL"] },
};
const MASTER_PORT = 29500;

const short = (spec: StageSpec): string => `${spec.run}-${spec.name}-${spec.fingerprint.slice(0, 12)}`;

/** What decides a Job is in its name: fingerprint and attempt. At most 63 characters, since a run's name has at most 32. */
export const jobName = (spec: StageSpec, attempt: number): string => `${short(spec)}-${attempt}`;
export const documentName = (spec: StageSpec): string => `${short(spec)}-document`;

/** Labels that select a run's Jobs and pods, or one stage's, whatever the attempt. */
export const runLabels = (run: string) => ({ [LABELS.app]: "retort", [LABELS.run]: run });

function labelsOf(spec: StageSpec, attempt: number) {
  return {
    ...MADE_HERE,
    ...runLabels(spec.run),
    [LABELS.stage]: spec.name,
    [LABELS.fingerprint]: spec.fingerprint.slice(0, 12),
    [LABELS.attempt]: String(attempt),
  };
}

/** The ConfigMap that holds a stage's document. It never changes: another fingerprint has another name. */
export function documentArgs(spec: StageSpec, namespace: string) {
  const metadata = {
    name: documentName(spec),
    namespace,
    labels: { ...runLabels(spec.run), [LABELS.stage]: spec.name },
  };
  return { metadata, immutable: true, data: { "stage.json": `${JSON.stringify(spec.document, undefined, 1)}\n` } };
}

/** Nodes and processes of a stage: only train is spread. */
export function spreadOf(spec: StageSpec, gpu: Settings["gpu"]) {
  if (spec.name === "merge") return { nodes: 1, gpus: gpu.merge, spread: false };
  const nodes = spec.name === "train" ? gpu.nodes : 1;
  return { nodes, gpus: gpu.count, spread: spec.name === "train" && (nodes > 1 || gpu.count > 1) };
}

export function jobArgs(spec: StageSpec, launch: Launch) {
  const { namespace, settings, attempt } = launch;
  const name = jobName(spec, attempt);
  const labels = labelsOf(spec, attempt);
  const { nodes } = spreadOf(spec, settings.gpu);
  return {
    metadata: {
      name,
      namespace,
      labels: { ...labels, ...(settings.queue && { "kueue.x-k8s.io/queue-name": settings.queue }) },
      // The program follows the Job itself: the provider's own waiting misses some failures.
      annotations: UNAWAITED,
    },
    spec: {
      backoffLimit: 2,
      activeDeadlineSeconds: launch.deadlineSeconds,
      // Two pods never hold two GPUs for one stage.
      podReplacementPolicy: "Failed",
      ...(nodes > 1 && { completionMode: "Indexed", completions: nodes, parallelism: nodes }),
      podFailurePolicy: {
        rules: [
          { action: "FailJob", onExitCodes: { containerName: CONTAINER, operator: "In", values: [2] } },
          { action: "Ignore", onExitCodes: { containerName: CONTAINER, operator: "In", values: [143] } },
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
        spec: { ...podSpec(spec, launch), ...(nodes > 1 && { subdomain: name }) },
      },
    },
  };
}

/** Gives the workers of a spread stage names that they find each other by. */
export function workersServiceArgs(spec: StageSpec, launch: Launch) {
  const name = jobName(spec, launch.attempt);
  return {
    metadata: { name, namespace: launch.namespace, labels: labelsOf(spec, launch.attempt) },
    spec: {
      clusterIP: "None",
      publishNotReadyAddresses: true,
      selector: { "batch.kubernetes.io/job-name": name },
      ports: [{ name: "torchrun", port: MASTER_PORT }],
    },
  };
}

function podSpec(spec: StageSpec, launch: Launch) {
  const { settings, credentials } = launch;
  const { gpus } = spreadOf(spec, settings.gpu);
  const { resource, nodeSelector, tolerations } = settings.gpu;
  const { cpus, memoryGiB, diskGiB } = settings.pod;
  const quantities = {
    memory: `${memoryGiB}Gi`,
    "ephemeral-storage": `${diskGiB}Gi`,
    ...(gpus > 0 && { [resource]: String(gpus) }),
  };
  const onGpuNodes = settings.gpu.count > 0;
  return {
    restartPolicy: "Never",
    serviceAccountName: serviceAccount(spec.name),
    automountServiceAccountToken: false,
    enableServiceLinks: false,
    terminationGracePeriodSeconds: 120,
    // A process 1 without a handler ignores SIGTERM: a stage that is still loading Python would hold its GPU on.
    shareProcessNamespace: true,
    securityContext: UNPRIVILEGED,
    ...(settings.pullSecret && { imagePullSecrets: [{ name: settings.pullSecret }] }),
    ...(onGpuNodes && { nodeSelector, tolerations }),
    containers: [
      {
        name: CONTAINER,
        image: spec.image,
        command: commandOf(spec, launch),
        env: environment(spec, launch),
        ...(credentials && { envFrom: [{ secretRef: { name: credentials } }] }),
        resources: { requests: { cpu: String(cpus), ...quantities }, limits: quantities },
        securityContext: LOCKED,
        // A stage's last words outlive its pod's log.
        terminationMessagePolicy: "FallbackToLogsOnError",
        volumeMounts: [
          { name: "document", mountPath: "/etc/retort", readOnly: true },
          { name: "work", mountPath: WORK },
          { name: "tmp", mountPath: "/tmp" },
          ...(gpus > 0 ? [{ name: "shm", mountPath: "/dev/shm" }] : []),
        ],
      },
    ],
    volumes: [
      { name: "document", configMap: { name: documentName(spec) } },
      { name: "work", emptyDir: { sizeLimit: `${diskGiB}Gi` } },
      { name: "tmp", emptyDir: { sizeLimit: "2Gi" } },
      // Workers of one node talk through shared memory; the container runtime's own 64 MiB are too few.
      ...(gpus > 0 ? [{ name: "shm", emptyDir: { medium: "Memory", sizeLimit: "8Gi" } }] : []),
    ],
  };
}

/** The stage's own command, or the same under torchrun where several processes share the work. */
function commandOf(spec: StageSpec, launch: Launch): string[] {
  const { nodes, gpus, spread } = spreadOf(spec, launch.settings.gpu);
  if (!spread) return [...spec.command, DOCUMENT];
  const [, ...module] = spec.command;
  const name = jobName(spec, launch.attempt);
  const meeting =
    nodes > 1
      ? [
          "--node-rank",
          "$(JOB_COMPLETION_INDEX)",
          "--master-addr",
          `${name}-0.${name}`,
          "--master-port",
          `${MASTER_PORT}`,
        ]
      : ["--standalone"];
  const size = ["--nnodes", String(nodes), "--nproc-per-node", String(Math.max(1, gpus))];
  return ["python", "-m", "retort.spread", ...size, ...meeting, ...module, DOCUMENT];
}

function environment(spec: StageSpec, { settings }: Launch) {
  const { endpoint, region } = settings.storage;
  const values = {
    ...spec.env,
    HOME: `${WORK}/home`,
    RETORT_WORK: `${WORK}/stages`,
    RETORT_CACHE: `${WORK}/cache`,
    HF_HOME: `${WORK}/cache/hub`,
    TORCHINDUCTOR_CACHE_DIR: `${WORK}/cache/inductor`,
    TRITON_CACHE_DIR: `${WORK}/cache/triton`,
    AWS_REGION: region,
    AWS_DEFAULT_REGION: region,
    ...(endpoint && { AWS_ENDPOINT_URL_S3: endpoint }),
  };
  return Object.entries(values).map(([name, value]) => ({ name, value }));
}
