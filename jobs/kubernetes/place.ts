/** Where the run of a stack is, whatever its target: what the commands beside `pulumi up` look at. */
import { loadConfig } from "../../configs/load";
import { AwsSettings } from "../../infra/aws/settings";
import { parseSettings, parseTarget, type Settings } from "../../infra/settings";
import { type Storage, storage } from "../../infra/storage";
import { planStages, type StagePlan } from "../plan";
import { stageSpecs } from "../stages";
import { type Cluster, connect } from "./api";
import { clusterSources, imageSources } from "./sources";
import type { Stack } from "./stack";
import { storeServer } from "./storeServer";

export interface Place extends Storage {
  /** The config of the run, an absolute path. */
  readonly run: string;
  readonly cluster: Cluster;
  /** As the next `pulumi up` would use them. */
  images(): Promise<Settings["images"]>;
  /** With the price of an hour, where one is known. */
  budget(): Promise<Settings["budget"]>;
  /** What GPU capacity there is that costs money by the minute; undefined where the cluster is not the stack's own. */
  readonly gpuCapacity: (() => Promise<readonly string[]>) | undefined;
}

/** Throws ConfigError for wrong settings. */
export async function placeOf({ name, read }: Stack, root: string): Promise<Place> {
  if (read("target") === "aws") {
    const { awsPlace } = await import("../aws/place.js");
    return awsPlace(parseTarget(read, root, AwsSettings), name, root);
  }
  const settings = parseSettings(read, root);
  const server = settings.storage.inCluster && (await storeServer(settings));
  if (server && !server.isThere()) console.log("the store in the cluster is not there: pulumi up brings it up");
  return {
    ...storage(settings.storage),
    ...(server && { store: server.store }),
    run: settings.run,
    cluster: await connect(settings.context, settings.namespace),
    images: async () => settings.images,
    budget: async () => settings.budget,
    gpuCapacity: undefined,
  };
}

/** How each stage stands. Throws ConfigError for a mistake in the config, VisibleError if the store is not as it should be. */
export async function plansOf(place: Place, root: string): Promise<readonly StagePlan[]> {
  const { base, runs, store, cluster } = place;
  const config = loadConfig(place.run);
  const [{ sources }, images] = await Promise.all([clusterSources(config, { root, base, store }), place.images()]);
  return planStages(stageSpecs(config, { ...sources, ...imageSources(images) }, runs), runs, store, cluster);
}
