/** The Kubernetes API of an EKS cluster that may not be there yet: it is looked for until it is. */
import { DescribeClusterCommand, type EKSClient } from "@aws-sdk/client-eks";
import type { KubeConfig } from "@kubernetes/client-node";
import { kubeconfig } from "../../infra/aws/kubeconfig";
import { type Cluster, clusterOf } from "../kubernetes/api";

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
  let found: Cluster | undefined;
  const cluster = async (): Promise<Cluster | undefined> => {
    if (found) return found;
    const config = await find();
    if (config) found = await clusterOf(config, namespace);
    return found;
  };
  const there = async (): Promise<Cluster> => {
    const now = await cluster();
    if (!now) throw new Error("the EKS cluster is not there yet");
    return now;
  };
  return {
    jobs: async (labels) => (await (await cluster())?.jobs(labels)) ?? [],
    configMap: async (name) => (await cluster())?.configMap(name),
    job: async (name) => (await there()).job(name),
    podsOf: async (job) => (await there()).podsOf(job),
    podPhase: async (name) => (await there()).podPhase(name),
    warningsOf: async (name) => (await there()).warningsOf(name),
    followLog: async (pod, onLine, signal) => (await there()).followLog(pod, onLine, signal),
    end: async (job, why) => (await there()).end(job, why),
  };
}

/** The nodes of a cluster with these labels; none if there is no cluster. */
export async function nodeNames(
  eks: EKSClient,
  clusterName: string,
  region: string,
  labels: Readonly<Record<string, string>>,
): Promise<string[]> {
  const config = await findCluster(eks, clusterName, region);
  if (!config) return [];
  const { CoreV1Api } = await import("@kubernetes/client-node");
  const labelSelector = Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .join(",");
  const { items } = await config.makeApiClient(CoreV1Api).listNode({ labelSelector });
  return items.map(({ metadata }) => metadata?.name ?? "");
}
