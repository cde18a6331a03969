/** What a run on some cluster will take, as the last finished one with its model took it; above the budget it does not start. */
import type { RunConfig } from "../../configs/schema";
import type { Settings } from "../../infra/settings";
import { estimateRun } from "../estimate";
import { estimateLines, withinBudget } from "../estimateText";
import { measuredRun } from "../measured";
import type { S3Store } from "../s3";
import type { StageName } from "../stages";
import { workloadOf } from "../workload";

export interface Asked {
  readonly config: RunConfig;
  /** Those that are to run. */
  readonly stages: readonly StageName[];
  readonly settings: Pick<Settings, "gpu" | "budget">;
  readonly runs: string;
  readonly store: S3Store;
  readonly say: (text: string) => void;
}

/**
 * Says what the stages will take. Throws VisibleError if that is more than the budget allows. Whatever GPU a cluster has,
 * only what was measured on it counts: before its first finished run there is no estimate, and the budget's deadline alone.
 */
export async function mayStart({ config, stages, settings, runs, store, say }: Asked): Promise<void> {
  if (stages.length === 0) return;
  const { gpu, budget } = settings;
  const isLike = (accelerator: string) => (accelerator === "cpu") === (gpu.count === 0);
  const measured = await measuredRun({ model: config.model.base, isLike }, runs, store);
  if (!measured) return;
  const sizeOf = async (uri: string) => (await store.head(uri).catch(() => undefined))?.size;
  const workload = await workloadOf(config, sizeOf);
  const { usdPerHour = 0 } = budget;
  const price = { low: usdPerHour, high: usdPerHour, standing: 0, source: "retort:budget.usdPerHour", notes: [] };
  const gpus = Math.max(1, gpu.count) * gpu.nodes;
  const args = { config, workload, price, gpus, nodes: gpu.nodes, stages, startsNodes: false, measured };
  const estimate = estimateRun(args);
  // The size of the model is not reckoned with: it is the same one.
  const assumed = workload.assumed.filter((what) => !what.startsWith(config.model.base));
  for (const line of estimateLines(estimate, price, assumed)) say(line);
  const warning = withinBudget(estimate, budget);
  if (warning) say(warning);
}
