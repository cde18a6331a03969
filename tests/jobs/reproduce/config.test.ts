/** The manifests of a run say its whole config: what is made from them alone leads to the very same stages. */
import fc from "fast-check";
import { expect, test } from "vitest";
import type { RunConfig } from "../../../configs/schema";
import { configAgain, nameAgain } from "../../../jobs/reproduce/config";
import type { FinishedRun, StageRecord } from "../../../jobs/reproduce/finishedRun";
import { stageSpecs } from "../../../jobs/stages";
import { CONFIG, SOURCES } from "../run";
import { manifestOf, OUTCOME } from "./writeRun";

function finished(config: RunConfig): FinishedRun {
  const [train, merge, evaluate] = stageSpecs(config, SOURCES, "/runs").map(
    (spec) => JSON.parse(JSON.stringify(manifestOf(spec, {}, OUTCOME))) as StageRecord,
  );
  if (!train || !merge || !evaluate) throw new Error("a run has three stages");
  return { uri: `/runs/${config.name}`, name: config.name, train, merge, evaluate };
}

const positive = fc.double({ min: 1e-9, max: 1, noNaN: true });
const configs: fc.Arbitrary<RunConfig> = fc
  .record({
    maxTokens: fc.integer({ min: 16, max: 9999 }),
    selfCritiqueFormat: fc.constantFrom("answer" as const, "revise" as const),
    rowLimit: fc.option(fc.integer({ min: 2, max: 99 }), { nil: undefined }),
    maxEpochs: fc.integer({ min: 1, max: 9 }),
    learningRate: positive,
    microBatchTokens: fc.integer({ min: 16, max: 9999 }),
    saveEvery: fc.integer({ min: 1, max: 99 }),
    rank: fc.integer({ min: 1, max: 64 }),
    seed: fc.integer({ min: 0, max: 99 }),
    maxNewTokens: fc.integer({ min: 1, max: 9999 }),
    concurrency: fc.integer({ min: 1, max: 99 }),
    startTimeoutMinutes: fc.integer({ min: 1, max: 99 }),
    command: fc.constantFrom<string[]>(
      ["serve", "{model}", "{port}"],
      ["vllm", "serve", "{model}", "--port", "{port}"],
    ),
  })
  .map(({ maxTokens, selfCritiqueFormat, rowLimit, rank, maxNewTokens, concurrency, ...more }) => {
    const { maxEpochs, learningRate, microBatchTokens, saveEvery, seed, startTimeoutMinutes, command } = more;
    const { data, train, evaluate } = CONFIG;
    return {
      ...CONFIG,
      data: { ...data, maxTokens, selfCritiqueFormat, ...(rowLimit !== undefined && { rowLimit }) },
      train: {
        ...train,
        ...{ maxEpochs, learningRate, microBatchTokens, saveEvery, seed, lora: { ...train.lora, rank } },
      },
      evaluate: { ...evaluate, maxNewTokens, concurrency, server: { command, startTimeoutMinutes } },
    };
  });

test("any config comes back whole, and leads to the same fingerprints", () => {
  fc.assert(
    fc.property(configs, (config) => {
      const { selfCritique = "", hardFailures = "", test: questions } = config.data;
      const again = configAgain(finished(config), "again", { selfCritique, hardFailures, test: questions });
      expect(again).toEqual({ config: { ...config, name: "again" }, problems: [] });
      const prints = (one: RunConfig) => stageSpecs(one, SOURCES, "/elsewhere").map(({ fingerprint }) => fingerprint);
      expect(prints(again.config ?? CONFIG)).toEqual(prints(config));
    }),
  );
});

test("a manifest that this version cannot follow is a problem in the user's words, not a crash", () => {
  const run = finished(CONFIG);
  const strange = { ...run, train: { ...run.train, settings: { ...run.train.settings, tempo: 3 } } };
  const { config, problems } = configAgain(strange, "again", { hardFailures: "/d/hf", test: "/d/t" });
  expect(config).toBeUndefined();
  expect(problems).toEqual([expect.stringContaining("train.tempo: unknown key")]);
});

test("the new run's name is a run's name, however long the first one's is", () => {
  expect(nameAgain("demo")).toBe("demo-again");
  expect(nameAgain(`${"a".repeat(25)}-${"b".repeat(6)}`)).toBe(`${"a".repeat(25)}-again`);
});
