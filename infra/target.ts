/** What the targets differ in: where a run's store, images and cluster come from. The chain of stages is the same. */
import { Provider } from "@pulumi/kubernetes/provider";
import * as pulumi from "@pulumi/pulumi";
import type { RunConfig } from "../configs/schema";
import { type Cluster, connect } from "../jobs/kubernetes/api";
import { mayStart } from "../jobs/kubernetes/estimate";
import type { StageName, StageSpec } from "../jobs/stages";
import type { Settings } from "./settings";
import { type Storage, storage } from "./storage";

export interface Target {
  readonly storage: Storage;
  readonly cluster: Cluster;
  /** Looks at all that could go wrong later, and creates nothing. Throws ConfigError with everything that is wrong. */
  check(config: RunConfig): Promise<void>;
  /** Registers what a run stands on. Resolves once its images are there. */
  ground(config: RunConfig): Promise<Ground>;
}

/** What a run stands on. */
export interface Ground {
  /** The settings as every cluster has them. */
  readonly settings: Settings;
  readonly provider: pulumi.ProviderResource;
  /** To be there before anything is made in the cluster, and gone only after it. */
  readonly dependsOn: readonly pulumi.Resource[];
  /** Resolves once data can be uploaded. */
  storeIsThere(): Promise<void>;
  /** Says what the stages will cost. Throws VisibleError if that is above the budget: nothing is started then. */
  mayStart(stages: readonly StageName[]): Promise<void>;
  /** After success and failure alike: what it did cost, and whether the costs have stopped. */
  close(specs: readonly StageSpec[]): Promise<void>;
}

/** A cluster and a store that exist. */
export async function kubernetesTarget(settings: Settings): Promise<Target> {
  const place = storage(settings.storage);
  const say = (text: string) => void pulumi.log.info(text);
  return {
    storage: place,
    cluster: await connect(settings.context, settings.namespace),
    check: async () => {},
    ground: async (config) => ({
      settings,
      provider: new Provider("cluster", { ...(settings.context && { context: settings.context }) }),
      dependsOn: [],
      storeIsThere: async () => {},
      mayStart: (stages) => mayStart({ config, stages, settings, runs: place.runs, store: place.store, say }),
      close: async () => {},
    }),
  };
}
