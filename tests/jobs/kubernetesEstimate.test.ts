/** On any cluster: an estimate once a run has been measured there, none before; above the budget nothing starts. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { type Asked, mayStart } from "../../jobs/kubernetes/estimate";
import { STAGES } from "../../jobs/stages";
import { RUNS, storeWith } from "./pastRuns";
import { CONFIG } from "./run";

const directory = mkdtempSync(join(tmpdir(), "retort-estimate-"));
afterAll(() => rmSync(directory, { recursive: true }));

/** 100 rows of 300 letters to train on, and as many to answer. */
const file = join(directory, "rows.jsonl");
const row = JSON.stringify({ instruction: "q".repeat(100), reference_answer: "a".repeat(200), category: "c" });
writeFileSync(file, `${row}\n`.repeat(100));
const { selfCritique: _, ...data } = CONFIG.data;
const config = { ...CONFIG, data: { ...data, hardFailures: file, test: file } };

const H100 = { accelerator: "NVIDIA H100 80GB HBM3", workers: 1 };

async function asked(machine: object | undefined, budget: Asked["settings"]["budget"], more: Partial<Asked> = {}) {
  const store = await storeWith(...(machine ? [{ name: "before", day: "2026-11-20", machine }] : []));
  const said: string[] = [];
  const gpu = { resource: "nvidia.com/gpu", count: 1, nodes: 1, merge: 0, nodeSelector: {}, tolerations: [] };
  const say = (text: string) => void said.push(text);
  await mayStart({ config, stages: STAGES, settings: { gpu, budget }, runs: RUNS, store, say, ...more });
  return said;
}

test("what an earlier run took is what this one will; nodes are there, and nothing stands beside them", async () => {
  const said = await asked(H100, { usdPerHour: 3 });
  expect(said.map((text) => text.split(/\s{2,}/)[0])).toEqual([
    "train",
    "merge",
    "evaluate",
    "in all",
    "a node costs 3.00 USD an hour (retort:budget.usdPerHour)",
  ]);
  expect(said[0]).toMatch(/ min .* USD {3}measured: run before of 2026-11-20$/);
});

test("without a price there are minutes and no dollars", async () => {
  const said = await asked(H100, {});
  expect(said).toHaveLength(4);
  expect(said.join("\n")).not.toContain("USD");
});

test("nothing is said before the first run has been measured, nor from one on another kind of machine", async () => {
  expect(await asked(undefined, { maxHours: 0.01 })).toEqual([]);
  expect(await asked({ accelerator: "cpu", workers: 1 }, { maxHours: 0.01 })).toEqual([]);
  expect(await asked(H100, { maxHours: 0.01 }, { stages: [] })).toEqual([]);
});

test("a run that cannot end within the budget is not started, and the message says how to allow it", async () => {
  await expect(asked(H100, { maxUsd: 0.1, usdPerHour: 3 })).rejects.toThrow(
    /retort:budget\.maxUsd is 0\.1: it is not started\. To allow it: pulumi config set --path retort:budget\.maxUsd \d+$/,
  );
  await expect(asked(H100, { maxHours: 0.1 })).rejects.toThrow(/retort:budget\.maxHours is 0\.1: it is not started/);
});
