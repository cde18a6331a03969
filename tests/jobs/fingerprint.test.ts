/** A stage's fingerprint changes with everything that decides its result, and with nothing else. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { RunConfig } from "../../configs/schema";
import { canonicalJson } from "../../jobs/fingerprint";
import { type RunSources, STAGES, type StageName, stageSpecs } from "../../jobs/stages";
import { CONFIG, SOURCES } from "./run";

const fingerprints = (config: RunConfig, sources: RunSources, runs = "/runs"): string[] =>
  stageSpecs(config, sources, runs).map((spec) => spec.fingerprint);

const before = fingerprints(CONFIG, SOURCES);

/** The stages whose fingerprint is not what it was. */
const changed = (config: RunConfig, sources: RunSources = SOURCES, runs?: string): StageName[] => {
  const after = fingerprints(config, sources, runs);
  return STAGES.filter((_, index) => after[index] !== before[index]);
};

const ALL: readonly StageName[] = STAGES;

/** What each key of a config decides. Every leaf of the RunConfig is here: a new key must say what it decides. */
const DECIDES: Readonly<Record<string, readonly StageName[]>> = {
  name: [],
  "model.base": [], // its content is among the sources
  "data.selfCritique": [],
  "data.hardFailures": [],
  "data.test": [],
  "data.maxTokens": ALL,
  "data.selfCritiqueFormat": ALL,
  "data.rowLimit": ALL,
  "train.maxEpochs": ALL,
  "train.learningRate": ALL,
  "train.schedule": ALL,
  "train.warmupUpdates": ALL,
  "train.maxGradNorm": ALL,
  "train.rowsPerUpdate": ALL,
  "train.microBatchTokens": [],
  "train.lora.rank": ALL,
  "train.lora.alpha": ALL,
  "train.lora.targets": ALL,
  "train.validationSplit": ALL,
  "train.evalEvery": ALL,
  "train.saveEvery": [],
  "train.earlyStopping.patience": ALL,
  "train.earlyStopping.minDelta": ALL,
  "train.seed": ALL,
  "evaluate.maxNewTokens": ["evaluate"],
  "evaluate.temperature": ["evaluate"],
  "evaluate.concurrency": [],
  "evaluate.server.command": ["evaluate"],
  "evaluate.server.startTimeoutMinutes": [],
};

/** Another value for a key, of the same kind. */
const OTHER: Readonly<Record<string, unknown>> = {
  name: "other",
  "model.base": "/elsewhere/model",
  "data.selfCritiqueFormat": "revise",
  "data.rowLimit": 7,
  "train.schedule": "cosine",
  "train.lora.targets": ["q_proj"],
  "train.validationSplit": 0.25,
  "train.learningRate": 1e-5,
  "evaluate.server.command": ["transformers", "serve", "{model}", "--port", "{port}"],
};

function leaves(value: object, path = ""): [string, unknown][] {
  return Object.entries(value).flatMap(([key, item]) =>
    typeof item === "object" && !Array.isArray(item) ? leaves(item, `${path}${key}.`) : [[`${path}${key}`, item]],
  );
}

function withValue(config: RunConfig, path: string, value: unknown): RunConfig {
  const copy = structuredClone(config);
  const keys = path.split(".");
  const last = keys.pop() ?? "";
  const parent = keys.reduce((node, key) => (node as unknown as Record<string, typeof copy>)[key] as typeof copy, copy);
  (parent as unknown as Record<string, unknown>)[last] = value;
  return RunConfig.parse(copy);
}

const other = (path: string, value: unknown): unknown =>
  OTHER[path] ?? (typeof value === "number" ? value + 1 : typeof value === "string" ? `${value}-moved` : undefined);

describe("each key of a config changes the stages that it decides, and no other", () => {
  const keys = new Map<string, unknown>([...leaves(CONFIG), ["data.rowLimit", undefined]]);

  test("every key has its place in the table", () => {
    expect([...keys.keys()].sort()).toEqual(Object.keys(DECIDES).sort());
  });

  test.each(Object.entries(DECIDES))("%s: %j", (path, stages) => {
    expect(changed(withValue(CONFIG, path, other(path, keys.get(path))))).toEqual(stages);
  });
});

describe("each source changes the stages that read it, and those after them", () => {
  const { model, data, trainer, evaluator } = SOURCES;
  const file = (sha256: string) => ({ uri: "/d", sha256 });
  test.each<[string, Partial<RunSources>, readonly StageName[]]>([
    ["the model's revision", { model: { ...model, revision: "2.0" } }, ALL],
    ["the model's name", { model: { ...model, uri: "pypi://n" } }, ALL],
    ["self-critique rows", { data: { ...data, selfCritique: file("x") } }, ALL],
    ["hard failures", { data: { ...data, hardFailures: file("x") } }, ALL],
    ["the two files swapped", { data: { ...data, hardFailures: file("a1"), selfCritique: file("b2") } }, ALL],
    ["test rows", { data: { ...data, test: file("x") } }, ["evaluate"]],
    ["the trainer", { trainer: { ...trainer, image: "local@sha256:cc" } }, ALL],
    ["the trainer's lock", { trainer: { ...trainer, lock: "l3" } }, ALL],
    ["the evaluator", { evaluator: { ...evaluator, image: "local@sha256:cc" } }, ["evaluate"]],
    ["the evaluator's lock", { evaluator: { ...evaluator, lock: "l3" } }, ["evaluate"]],
  ])("%s", (_, sources, stages) => {
    expect(changed(CONFIG, { ...SOURCES, ...sources })).toEqual(stages);
  });

  test("a model that is known by its content may move", () => {
    const at = (uri: string) => fingerprints(CONFIG, { ...SOURCES, model: { uri, revision: "sha256:ff" } });
    expect(at("/models/m")).toEqual(at("s3://bucket/m"));
    expect(at("/models/m")).not.toEqual(before);
  });
});

describe("for any run", () => {
  const uri = fc.constantFrom("/a", "/b/c", "s3://bucket/key", "/d with space");

  test("where data, runs and config lie, and what they are called, decides nothing", () => {
    fc.assert(
      fc.property(uri, uri, uri, fc.constantFrom("x", "run-7"), (train, evaluation, runs, name) => {
        const { selfCritique, hardFailures, test: testFile } = SOURCES.data;
        const moved = {
          ...SOURCES,
          data: {
            ...(testFile && { test: { ...testFile, uri: evaluation } }),
            ...(hardFailures && { hardFailures: { ...hardFailures, uri: train } }),
            ...(selfCritique && { selfCritique: { ...selfCritique, uri: train } }),
          },
        };
        expect(changed({ ...CONFIG, name }, moved, runs)).toEqual([]);
      }),
    );
  });

  test("two configs have equal fingerprints only if they decide the same", () => {
    const train = fc.record({
      seed: fc.nat(3),
      rank: fc.integer({ min: 1, max: 3 }),
      rowLimit: fc.option(fc.constant(2)),
    });
    fc.assert(
      fc.property(train, train, (a, b) => {
        const [one, two] = [a, b].map(({ seed, rank, rowLimit }) =>
          fingerprints(
            {
              ...CONFIG,
              data: { ...CONFIG.data, ...(rowLimit !== null && { rowLimit }) },
              train: { ...CONFIG.train, seed, lora: { ...CONFIG.train.lora, rank } },
            },
            SOURCES,
          ),
        );
        expect(one?.[0] === two?.[0]).toBe(JSON.stringify(a) === JSON.stringify(b));
        expect(one?.[2] === two?.[2]).toBe(JSON.stringify(a) === JSON.stringify(b));
      }),
    );
  });
});

describe("canonicalJson", () => {
  /** The same value with the keys of every object in reverse. */
  const reversed = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(reversed);
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(
      Object.entries(value)
        .reverse()
        .map(([key, item]) => [key, reversed(item)]),
    );
  };

  test("does not depend on the order of keys, and loses nothing", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const text = canonicalJson(value);
        expect(canonicalJson(reversed(value))).toBe(text);
        expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(value)));
      }),
    );
  });

  test("a key that is undefined is a key that is not there", () => {
    expect(canonicalJson({ b: undefined, a: [1, { d: 2, c: null }] })).toBe('{"a":[1,{"c":null,"d":2}]}');
  });
});
