/** The newest earlier run with the same model on the same kind of GPU is found, and measured; any other is not. */
import { expect, test } from "vitest";
import { measuredRun } from "../../jobs/measured";
import { memoryStore } from "../day/store";
import { filesOf, OUTCOME } from "./reproduce/writeRun";
import { CONFIG, SOURCES } from "./run";

const RUNS = "s3://results/runs";
const H100 = { accelerator: "NVIDIA H100 80GB HBM3", workers: 2 };

interface Past {
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
async function storeWith(...past: readonly Past[]) {
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

const alike = { model: SOURCES.model.uri, accelerator: "H100" };

test("its throughput, its answers' length, and what its stages took beside", async () => {
  const store = await storeWith({ name: "old", day: "2026-11-19" }, { name: "new", day: "2026-11-20" });
  expect(await measuredRun(alike, RUNS, store)).toEqual({
    source: "run new of 2026-11-20",
    train: { tokensPerSecond: 20, loadingMinutes: 5 },
    merge: { minutes: 10 },
    evaluate: { tokensPerSecond: 500, tokensPerRow: 250, loadingMinutes: 10 - 100 / 60 },
  });
});

test("not of another model, another GPU, or a run whose report says too little; the next newest counts then", async () => {
  const past = [
    { name: "good", day: "2026-11-18" },
    { name: "cpu", day: "2026-11-19", machine: { accelerator: "cpu" } },
    { name: "torn", day: "2026-11-20", report: {} },
  ];
  const store = await storeWith(...past);
  expect((await measuredRun(alike, RUNS, store))?.source).toBe("run good of 2026-11-18");
  expect(await measuredRun({ ...alike, model: "s3://other/model" }, RUNS, store)).toBeUndefined();
  expect(await measuredRun({ ...alike, accelerator: "H200" }, RUNS, store)).toBeUndefined();
  expect(await measuredRun(alike, RUNS, memoryStore())).toBeUndefined();
});
