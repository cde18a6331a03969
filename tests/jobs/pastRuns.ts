/** For the tests: a store in memory with finished runs that took known times on known machines. */
import type { S3Store } from "../../jobs/s3";
import { memoryStore } from "../day/store";
import { filesOf, OUTCOME } from "./reproduce/writeRun";
import { CONFIG, SOURCES } from "./run";

export const RUNS = "s3://results/runs";
const H100 = { accelerator: "NVIDIA H100 80GB HBM3", workers: 2 };

export interface Past {
  readonly name: string;
  readonly day: string;
  readonly machine?: object;
  readonly report?: unknown;
}

const REPORT = {
  base: { total: 100 },
  answering: { base: { seconds: 60, completionTokens: 30_000 }, merged: { seconds: 40, completionTokens: 20_000 } },
};

/** Stages of 10 minutes each; 12,000 tokens trained in 300 seconds by two workers. */
export async function storeWith(...past: readonly Past[]): Promise<S3Store> {
  const store = memoryStore();
  for (const { name, day, machine = H100, report = REPORT } of past) {
    const finishedAt = `${day}T12:10:00+00:00`;
    const outcome = { ...OUTCOME, machine: { ...machine }, finishedAt };
    for (const [path, text] of filesOf({ ...CONFIG, name }, SOURCES, outcome, RUNS)) {
      const isManifest = path.endsWith("manifest.json");
      const more = { startedAt: `${day}T12:00:00+00:00`, metrics: { tokens: 12_000, seconds: 300 } };
      await store.write(`${RUNS}/${path}`, isManifest ? JSON.stringify({ ...JSON.parse(text), ...more }) : text);
      if (path.includes("/evaluate-") && isManifest) {
        await store.write(`${RUNS}/${path.replace("manifest.json", "report.json")}`, JSON.stringify(report));
      }
    }
  }
  return store;
}
