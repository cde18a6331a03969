/** What the targets differ in: where a run's store, images and cluster come from. The chain of stages is the same. */
import { Provider } from "@pulumi/kubernetes/provider";
import * as pulumi from "@pulumi/pulumi";
import type { RunConfig } from "../configs/schema";
import { type Cluster, clusterOf, isSomebodyElses, kubeConfig } from "../jobs/kubernetes/api";
import { mayStart } from "../jobs/kubernetes/estimate";
import { type StoreServer, storeServer } from "../jobs/kubernetes/storeServer";
import type { StageName, StageSpec } from "../jobs/stages";
import { InClusterStore } from "./inClusterStore";
import type { Settings } from "./settings";
import { type Storage, storage } from "./storage";

export interface Target {
  readonly storage: Storage;
  readonly cluster: Cluster;
  /** Looks at all that could go wrong later, and creates nothing. Throws ConfigError with everything that is wrong. */
  check(config: RunConfig): Promise<void>;
  /** Registers what a run stands on. Resolves once its images are there and, unless it is a preview, its store. */
  ground(config: RunConfig): Promise<Ground>;
}

/** What a run stands on. */
export interface Ground {
  /** The settings as every cluster has them. */
  readonly settings: Settings;
  readonly provider: pulumi.ProviderResource;
  /** The stack's namespace exists, and is somebody else's: it is used as it is, and left. */
  readonly namespaceIsGiven?: boolean;
  /** To be there before anything is made in the cluster, and gone only after it. */
  readonly dependsOn: readonly pulumi.Resource[];
  /** Of the stack, beside those of the run. */
  readonly outputs?: Readonly<Record<string, unknown>>;
  /** Says what the stages will cost. Throws VisibleError if that is above the budget: nothing is started then. */
  mayStart(stages: readonly StageName[]): Promise<void>;
  /** After success and failure alike: what it did cost, and whether the costs have stopped. */
  close(specs: readonly StageSpec[]): Promise<void>;
}

/** A cluster that exists, with a store that does, or one of its own. */
export async function kubernetesTarget(settings: Settings): Promise<Target> {
  const server = settings.storage.inCluster && (await storeServer(settings));
  const place = { ...storage(settings.storage), ...(server && { store: server.store }) };
  const say = (text: string) => void pulumi.log.info(text);
  const config = await kubeConfig(settings.context);
  const namespaceIsGiven = await isSomebodyElses(config, settings.namespace);
  return {
    storage: place,
    cluster: await clusterOf(config, settings.namespace),
    check: async () => {},
    async ground(run) {
      const context = { ...(settings.context && { context: settings.context }) };
      const provider = new Provider("cluster", context);
      // The namespace and the volume of a store may have outlived an earlier stack: this one takes them over.
      const adopting = { ...context, upsertExistingObjects: true };
      const own = server && (await ownStore(settings, server, say, new Provider("store-cluster", adopting)));
      return {
        settings: own?.settings ?? settings,
        namespaceIsGiven,
        provider,
        dependsOn: own ? [own.component] : [],
        ...(own && { outputs: { store: own.component.command } }),
        mayStart: (stages) => mayStart({ config: run, stages, settings, runs: place.runs, store: place.store, say }),
        close: async () => {},
      };
    },
  };
}

/** The stack's own S3 server, there unless it is a preview, and the settings with which it is as any other. */
async function ownStore(settings: Settings, server: StoreServer, say: (text: string) => void, provider: Provider) {
  const component = new InClusterStore("store", { settings, access: server.access }, { provider });
  if (!pulumi.runtime.isDryRun()) await component.made().then(() => server.comesUp(say));
  else if (!server.isThere())
    say("the store in the cluster is not there: whatever its volume holds is seen by pulumi up");
  return { component, settings: { ...settings, storage: { ...settings.storage, ...server.access } } };
}
