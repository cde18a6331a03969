/** The S3 server of a stack that has no other store (storage.inCluster): what it is reached with, and whether it is there. */
import { randomBytes } from "node:crypto";
import type { KubeConfig, V1Deployment, V1Pod } from "@kubernetes/client-node";
import { ConfigError } from "../../configs/load";
import { type Settings, storeNamespace } from "../../infra/settings";
import { type S3Store, s3Store } from "../s3";
import { VisibleError } from "../visibleError";
import { clusterOf, isSomebodyElses, kubeConfig, unlessNotFound } from "./api";
import { forwarded } from "./forward";
import { podWaitsFor } from "./pending";

/** What the server is made of in the cluster: its Deployment, Service and Secret have one name. */
export const STORE_SERVER = {
  name: "retort-store",
  port: 7070,
  label: "app.kubernetes.io/name",
  /** Keys of the Secret, as the server itself calls them. */
  accessKeyId: "ROOT_ACCESS_KEY",
  secretAccessKey: "ROOT_SECRET_KEY",
} as const;

export interface StoreServer {
  /** How pods reach it. */
  readonly access: { readonly endpoint: string; readonly accessKeyId: string; readonly secretAccessKey: string };
  /** How this program does, through the Kubernetes API: empty before the server is there. */
  readonly store: S3Store;
  /** Whether it can be asked: if not, nobody knows what it holds. */
  isThere(): boolean;
  /**
   * Resolves once it answers, with its bucket. Says what it waits for, and throws VisibleError with the reason if that is
   * longer than capacityTimeoutMinutes.
   */
  comesUp(say: (text: string) => void): Promise<void>;
}

type Known = Pick<Settings, "context" | "namespace" | "storage" | "capacityTimeoutMinutes">;

/** Looks for the server, and creates nothing. Throws ConfigError if there is no such context, or its place is taken. */
export async function storeServer({ context, namespace: home, ...settings }: Known): Promise<StoreServer> {
  const { AppsV1Api } = await import("@kubernetes/client-node");
  const { name, port } = STORE_SERVER;
  const namespace = storeNamespace(home);
  const config = await kubeConfig(context);
  if (await isSomebodyElses(config, namespace)) {
    throw new ConfigError([
      `retort:namespace: storage.inCluster needs ${namespace} for itself, and that is somebody else's, or cannot be looked at`,
    ]);
  }
  const apps = config.makeApiClient(AppsV1Api);
  const isReady = async () => rolledOut(await apps.readNamespacedDeployment({ name, namespace }).catch(unlessNotFound));
  const pod = async () => (await podOf(config, namespace))?.metadata?.name;
  const [keys, local] = await Promise.all([keysOf(config, namespace), forwarded(config, { namespace, port, pod })]);
  const { region, bucket } = settings.storage;
  const store = s3Store({ region, endpoint: `http://127.0.0.1:${local}`, ...keys });
  let there = await isReady();
  return {
    access: { endpoint: `http://${name}.${namespace}.svc:${port}`, ...keys },
    store: emptyUntil(() => there, store),
    isThere: () => there,
    async comesUp(say) {
      const until = Date.now() + settings.capacityTimeoutMinutes * 60_000;
      let said = "";
      while (!(await isReady())) {
        const reason = await reasonOf(config, namespace);
        if (Date.now() >= until) {
          throw new VisibleError(
            `the store was given up after ${settings.capacityTimeoutMinutes} min (retort:capacityTimeoutMinutes): ${reason}`,
          );
        }
        if (reason !== said) say(`the store waits: ${reason}`);
        said = reason;
        await new Promise((resolve) => setTimeout(resolve, 1000));
      }
      await store.makeBucket(`s3://${bucket}`);
      there = true;
    },
  };
}

/** Those that it has; new ones for a server that is still to be made. */
async function keysOf(config: KubeConfig, namespace: string) {
  const { CoreV1Api } = await import("@kubernetes/client-node");
  const { name, accessKeyId, secretAccessKey } = STORE_SERVER;
  const secret = await config.makeApiClient(CoreV1Api).readNamespacedSecret({ name, namespace }).catch(unlessNotFound);
  const read = (key: string) => Buffer.from(secret?.data?.[key] ?? "", "base64").toString();
  return {
    accessKeyId: read(accessKeyId) || "retort",
    secretAccessKey: read(secretAccessKey) || randomBytes(24).toString("base64url"),
  };
}

/** Whether its one pod is of the newest version, and ready. */
function rolledOut(deployment: V1Deployment | undefined): boolean {
  const { observedGeneration = 0, replicas, updatedReplicas, readyReplicas } = deployment?.status ?? {};
  const isSeen = observedGeneration >= (deployment?.metadata?.generation ?? 1);
  return isSeen && replicas === 1 && updatedReplicas === 1 && readyReplicas === 1;
}

/** The newest one that is not on its way out. */
async function podOf(config: KubeConfig, namespace: string): Promise<V1Pod | undefined> {
  const { CoreV1Api } = await import("@kubernetes/client-node");
  const labelSelector = `${STORE_SERVER.label}=${STORE_SERVER.name}`;
  const { items } = await config.makeApiClient(CoreV1Api).listNamespacedPod({ namespace, labelSelector });
  const age = ({ metadata }: V1Pod) => metadata?.creationTimestamp?.getTime() ?? 0;
  return items
    .filter(({ metadata }) => !metadata?.deletionTimestamp)
    .sort((a, b) => age(a) - age(b))
    .at(-1);
}

async function reasonOf(config: KubeConfig, namespace: string): Promise<string> {
  const pod = await podOf(config, namespace);
  if (!pod) return "it has no pod yet";
  const warnings = await (await clusterOf(config, namespace)).warningsOf(pod.metadata?.name ?? "").catch(() => []);
  const { reason } = podWaitsFor(pod, warnings) ?? {};
  // A claim keeps the class that it was made with.
  const mend = `kubectl -n ${namespace} delete pvc ${STORE_SERVER.name}, then set retort:storage.inCluster.storageClass`;
  if (reason?.includes("PersistentVolumeClaim")) return `${reason}\nno such volume can be had here: ${mend}`;
  const ended = pod.status?.containerStatuses?.[0]?.lastState?.terminated?.message;
  return reason ?? (ended ? `its server ends at once: ${ended.trim()}` : "its server starts");
}

/** What is going to be made holds nothing yet, and can be asked so; what a config names in it cannot be there. */
const emptyUntil = (isThere: () => boolean, store: S3Store): S3Store => ({
  ...store,
  revision: (uri) => (isThere() ? store.revision(uri) : missing(uri)),
  sha256: (uri) => (isThere() ? store.sha256(uri) : missing(uri)),
  read: async (uri) => (isThere() ? store.read(uri) : undefined),
  head: async (uri) => (isThere() ? store.head(uri) : undefined),
  listing: async (uri) => (isThere() ? store.listing(uri) : new Map()),
  directories: async (uri) => (isThere() ? store.directories(uri) : []),
});

async function missing(uri: string): Promise<never> {
  throw new VisibleError(`${uri}: nothing is stored there: the store in the cluster is made by the first pulumi up`, 2);
}
