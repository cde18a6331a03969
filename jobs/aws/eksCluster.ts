/** The Kubernetes API of an EKS cluster that may not be there yet: it is looked for until it is. */
import { DescribeClusterCommand, type EKSClient } from "@aws-sdk/client-eks";
import type { CoreV1Event, KubeConfig } from "@kubernetes/client-node";
import { kubeconfig } from "../../infra/aws/kubeconfig";
import { POOL_LABEL } from "../../infra/aws/settings";
import { type Cluster, clusterOf } from "../kubernetes/api";
import { explainedLaunch } from "./launchFailure";

/** The kube config of an active cluster; undefined while there is none. */
export async function findCluster(eks: EKSClient, clusterName: string, region: string) {
  const found = await eks.send(new DescribeClusterCommand({ name: clusterName })).catch((error: Error) => {
    if (error.name === "ResourceNotFoundException") return undefined;
    throw error;
  });
  const { endpoint, certificateAuthority, status } = found?.cluster ?? {};
  if (!endpoint || !certificateAuthority?.data || !["ACTIVE", "UPDATING"].includes(status ?? "")) return undefined;
  const { KubeConfig } = await import("@kubernetes/client-node");
  const config = new KubeConfig();
  config.loadFromString(kubeconfig({ clusterName, region, endpoint, authority: certificateAuthority.data }));
  return config;
}

/** No Job lives in a cluster that does not exist; anything else asked of it fails, and is asked again. */
export function eksCluster(find: () => Promise<KubeConfig | undefined>, namespace: string): Cluster {
  let found: { readonly config: KubeConfig; readonly cluster: Cluster } | undefined;
  const known = async () => {
    if (found) return found;
    const config = await find();
    if (config) found = { config, cluster: await clusterOf(config, namespace) };
    return found;
  };
  const there = async () => {
    const now = await known();
    if (!now) throw new Error("the EKS cluster is not there yet");
    return now;
  };
  return {
    jobs: async (labels) => (await (await known())?.cluster.jobs(labels)) ?? [],
    configMap: async (name) => (await known())?.cluster.configMap(name),
    job: async (name) => (await there()).cluster.job(name),
    podsOf: async (job) => (await there()).cluster.podsOf(job),
    podPhase: async (name) => (await there()).cluster.podPhase(name),
    queued: async (job) => (await there()).cluster.queued(job),
    async warningsOf(name) {
      const { config, cluster } = await there();
      const [own, launches] = await Promise.all([cluster.warningsOf(name), launchFailures(config, new Date())]);
      return [...own, ...launches];
    },
    followLog: async (pod, onLine, signal) => (await there()).cluster.followLog(pod, onLine, signal),
    end: async (job, why) => (await there()).cluster.end(job, why),
  };
}

/** A node that could not be started is tried again every few minutes: what was said before tells nothing of now. */
const RECENT_MINUTES = 10;

/**
 * Why Karpenter could start no node, newest last. It deletes a NodeClaim that failed: only the event about it stays, in
 * the namespace default, since a NodeClaim has none.
 */
async function launchFailures(config: KubeConfig, now: Date): Promise<CoreV1Event[]> {
  const { CoreV1Api } = await import("@kubernetes/client-node");
  const fieldSelector = "involvedObject.kind=NodeClaim,type=Warning";
  const { items } = await config.makeApiClient(CoreV1Api).listNamespacedEvent({ namespace: "default", fieldSelector });
  return items
    .filter((event) => now.getTime() - lastSeen(event) < RECENT_MINUTES * 60_000)
    .sort((a, b) => lastSeen(a) - lastSeen(b))
    .map((event) => ({ ...event, message: explainedLaunch(event.message ?? "") }));
}

const lastSeen = ({ lastTimestamp, eventTime, metadata }: CoreV1Event): number =>
  new Date(lastTimestamp ?? eventTime ?? metadata.creationTimestamp ?? 0).getTime();

interface Named {
  readonly metadata?: { readonly name?: string };
}

/** The GPU pool's nodes, and those that Karpenter is about to start or to end; none if there is no cluster. */
export async function poolNodes(eks: EKSClient, clusterName: string, region: string): Promise<string[]> {
  const config = await findCluster(eks, clusterName, region);
  if (!config) return [];
  const { CoreV1Api, CustomObjectsApi } = await import("@kubernetes/client-node");
  const labelSelector = Object.entries(POOL_LABEL)
    .map(([key, value]) => `${key}=${value}`)
    .join(",");
  const claims = { group: "karpenter.sh", version: "v1", plural: "nodeclaims", labelSelector };
  const [nodes, claimed] = await Promise.all([
    config.makeApiClient(CoreV1Api).listNode({ labelSelector }),
    config
      .makeApiClient(CustomObjectsApi)
      .listClusterCustomObject(claims)
      .catch((error: { code?: number }) => {
        if (error.code === 404) return { items: [] }; // no such kind yet: then there are no GPU nodes either
        throw error;
      }),
  ]);
  const names = (items: readonly Named[]) => items.map(({ metadata }) => metadata?.name ?? "");
  return [
    ...names(nodes.items).map((name) => `node ${name}`),
    ...names((claimed as { items: Named[] }).items).map((name) => `NodeClaim ${name}`),
  ];
}
