/** One run as a stack's settings describe it: its config, its stages, and how each of them stands. Changes nothing. */
import { loadConfig } from "../../configs/load";
import type { RunConfig } from "../../configs/schema";
import type { Settings } from "../../infra/settings";
import { type Storage, storage } from "../../infra/storage";
import { planStages, type StagePlan } from "../plan";
import { stageSpecs } from "../stages";
import { type Cluster, connect } from "./api";
import { checkData, clusterSources, imageSources, type Upload } from "./sources";

export interface Run extends Storage {
  readonly config: RunConfig;
  readonly cluster: Cluster;
  readonly uploads: readonly Upload[];
  readonly plans: readonly StagePlan[];
}

/** Throws ConfigError for a mistake in the config or the data, VisibleError if store or cluster are not as they should. */
export async function readRun(settings: Settings, root: string): Promise<Run> {
  const config = loadConfig(settings.run);
  const cluster = await connect(settings.context, settings.namespace);
  const place = storage(settings.storage);
  const { base, runs, store } = place;
  const { sources, uploads } = await clusterSources(config, { root, base, store });
  await checkData(uploads, root, store);
  const specs = stageSpecs(config, { ...sources, ...imageSources(settings.images) }, runs);
  const plans = await planStages(specs, runs, store, cluster);
  return { ...place, config, cluster, uploads, plans };
}
