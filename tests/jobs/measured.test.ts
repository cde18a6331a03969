/** The newest earlier run with the same model on the same kind of GPU is found, and measured; any other is not. */
import { expect, test } from "vitest";
import { measuredRun } from "../../jobs/measured";
import { memoryStore } from "../day/store";
import { RUNS, storeWith } from "./pastRuns";
import { SOURCES } from "./run";

const alike = { model: SOURCES.model.uri, isLike: (name: string) => name.includes("H100") };

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
  expect(await measuredRun({ ...alike, isLike: (name) => name.includes("H200") }, RUNS, store)).toBeUndefined();
  expect(await measuredRun(alike, RUNS, memoryStore())).toBeUndefined();
});

test("of very many runs the last by name are looked at", async () => {
  const past = Array.from({ length: 25 }, (_, index) => ({ name: `run-${index + 10}`, day: "2026-11-19" }));
  const store = await storeWith({ name: "a-first", day: "2026-11-20" }, ...past);
  const looked = new Set<string>();
  const watched = {
    ...store,
    listing(uri: string) {
      looked.add(uri);
      return store.listing(uri);
    },
  };
  expect((await measuredRun(alike, RUNS, watched))?.source).toMatch(/^run run-/);
  expect([...looked].sort()).toEqual(past.slice(-20).map(({ name }) => `${RUNS}/${name}`));
});
