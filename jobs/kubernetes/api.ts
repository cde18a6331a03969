/** The Kubernetes API as the chain needs it: Jobs of a run, their pods, events and logs, and ending a Job. */
import http from "node:http";
import https from "node:https";
import { createInterface } from "node:readline";
import type { CoreV1Event, CustomObjectsApi, KubeConfig, V1Job, V1Pod } from "@kubernetes/client-node";
import { ConfigError } from "../../configs/load";

export interface Cluster {
  /** Jobs with all these labels; none if the namespace does not exist. */
  jobs(labels: Readonly<Record<string, string>>): Promise<V1Job[]>;
  job(name: string): Promise<V1Job | undefined>;
  /** Oldest first. */
  podsOf(job: string): Promise<V1Pod[]>;
  /** Such as Running; undefined if there is no such pod. */
  podPhase(name: string): Promise<string | undefined>;
  /** Warnings about a Job or a pod, newest last. */
  warningsOf(name: string): Promise<CoreV1Event[]>;
  /** Why Kueue does not let a Job start yet, as it says it; undefined if it says nothing, or is not there. */
  queued(job: V1Job): Promise<string | undefined>;
  configMap(name: string): Promise<Record<string, string> | undefined>;
  /** Calls back with every line a pod writes, from its first, until it ends or `signal` is aborted. */
  followLog(pod: string, onLine: (line: string) => void, signal: AbortSignal): Promise<void>;
  /** Ends a Job within seconds: its pods are asked to save and stop, and it counts as failed. One in a queue is removed. */
  end(job: string, why: string): Promise<void>;
}

/** Annotation of a Job that was ended on purpose: why. */
export const ENDED = "retort.dev/ended";
/** Tells what a stack has made from what was there. */
export const MADE_HERE = { "app.kubernetes.io/part-of": "retort" } as const;
/** The container of a stage's pods. */
export const CONTAINER = "stage";

/** Reads the kube config as kubectl does. Throws ConfigError if there is no such context. */
export async function kubeConfig(context: string | undefined): Promise<KubeConfig> {
  const { KubeConfig } = await import("@kubernetes/client-node");
  const config = new KubeConfig();
  config.loadFromDefault();
  const names = config.getContexts().map(({ name }) => name);
  if (context !== undefined && !names.includes(context)) {
    const known = names.length > 0 ? `it has ${names.join(", ")}` : "it has none";
    throw new ConfigError([`retort:context: no context "${context}" in the kube config: ${known}`]);
  }
  if (context !== undefined) config.setCurrentContext(context);
  return config;
}

/** The cluster of a context of the kube config. Throws ConfigError if there is no such context. */
export const connect = async (context: string | undefined, namespace: string): Promise<Cluster> =>
  clusterOf(await kubeConfig(context), namespace);

/**
 * Whether a namespace exists that no stack has made. Where this user may not look, it may make none either: then there is
 * one that it was given.
 */
export async function isSomebodyElses(config: KubeConfig, namespace: string): Promise<boolean> {
  const { CoreV1Api } = await import("@kubernetes/client-node");
  try {
    const { metadata } = await config.makeApiClient(CoreV1Api).readNamespace({ name: namespace });
    return Object.entries(MADE_HERE).some(([key, value]) => metadata?.labels?.[key] !== value);
  } catch (error) {
    const { code } = error as { code?: number };
    if (code !== 403 && code !== 404) throw error;
    return code === 403;
  }
}

/** A cluster by its kube config, as far as one namespace goes. */
export async function clusterOf(config: KubeConfig, namespace: string): Promise<Cluster> {
  const { BatchV1Api, CoreV1Api, CustomObjectsApi, PatchStrategy, setHeaderOptions } = await import(
    "@kubernetes/client-node"
  );
  const [batch, core] = [config.makeApiClient(BatchV1Api), config.makeApiClient(CoreV1Api)];
  return {
    async jobs(labels) {
      const labelSelector = Object.entries(labels)
        .map(([key, value]) => `${key}=${value}`)
        .join(",");
      return (await batch.listNamespacedJob({ namespace, labelSelector })).items;
    },
    job: (name) => batch.readNamespacedJob({ name, namespace }).catch(unlessNotFound),
    async podsOf(job) {
      const { items } = await core.listNamespacedPod({
        namespace,
        labelSelector: `batch.kubernetes.io/job-name=${job}`,
      });
      return items.sort((a, b) => created(a) - created(b));
    },
    podPhase: async (name) => (await core.readNamespacedPod({ name, namespace }).catch(unlessNotFound))?.status?.phase,
    async warningsOf(name) {
      const fieldSelector = `involvedObject.name=${name},type=Warning`;
      return (await core.listNamespacedEvent({ namespace, fieldSelector })).items;
    },
    queued: (job) => reservationOf(config.makeApiClient(CustomObjectsApi), namespace, job),
    configMap: async (name) => (await core.readNamespacedConfigMap({ name, namespace }).catch(unlessNotFound))?.data,
    async followLog(pod, onLine, signal) {
      const path = `/api/v1/namespaces/${namespace}/pods/${pod}/log?container=${CONTAINER}&follow=true`;
      const response = await get(config, path, signal);
      if (response.statusCode !== 200) throw new Error(`the log of ${pod} answers ${response.statusCode}`);
      const lines = createInterface({ input: response });
      response.once("error", () => lines.close()).once("close", () => lines.close());
      for await (const line of lines) onLine(line);
    },
    async end(job, why) {
      // A deadline counts from when a Job may start: a suspended one would outlive it, and start unseen.
      const { spec } = (await batch.readNamespacedJob({ name: job, namespace }).catch(unlessNotFound)) ?? {};
      if (spec?.suspend) {
        const propagationPolicy = "Background";
        return void (await batch
          .deleteNamespacedJob({ name: job, namespace, propagationPolicy })
          .catch(unlessNotFound));
      }
      const body = { metadata: { annotations: { [ENDED]: why } }, spec: { activeDeadlineSeconds: 1 } };
      const merge = setHeaderOptions("Content-Type", PatchStrategy.MergePatch);
      await batch.patchNamespacedJob({ name: job, namespace, body }, merge);
    },
  };
}

/** The newer Kueue first: each serves its own version, and some a time of both. */
const KUEUE_VERSIONS = ["v1beta2", "v1beta1"];

interface Workload {
  readonly status?: { readonly conditions?: readonly { type: string; status: string; message?: string }[] };
}

/** Kueue has a Workload for every Job in a queue, whose conditions say how it stands. */
async function reservationOf(api: CustomObjectsApi, namespace: string, job: V1Job): Promise<string | undefined> {
  const labelSelector = `kueue.x-k8s.io/job-uid=${job.metadata?.uid}`;
  for (const version of KUEUE_VERSIONS) {
    const place = { group: "kueue.x-k8s.io", version, namespace, plural: "workloads", labelSelector };
    const found: { items: Workload[] } | undefined = await api.listNamespacedCustomObject(place).catch(unlessNotFound);
    if (!found) continue;
    const conditions = found.items[0]?.status?.conditions ?? [];
    return conditions.find(({ type, status }) => type === "QuotaReserved" && status === "False")?.message;
  }
  return undefined;
}

const created = (pod: V1Pod): number => pod.metadata?.creationTimestamp?.getTime() ?? 0;

export function unlessNotFound(error: unknown): undefined {
  if ((error as { code?: number }).code === 404) return undefined;
  throw error;
}

/** The client's own log reader does not tell when a connection breaks: it would wait for ever. */
async function get(config: KubeConfig, path: string, signal: AbortSignal): Promise<http.IncomingMessage> {
  const url = new URL(`${config.getCurrentCluster()?.server.replace(/\/$/, "")}${path}`);
  const options: https.RequestOptions = {};
  await config.applyToHTTPSOptions(options);
  return new Promise((resolve, reject) => {
    const request = url.protocol === "http:" ? http.get : https.get;
    request(url, { ...options, signal }, resolve).on("error", reject);
  });
}
