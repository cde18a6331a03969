/** What a stage is told, and where it writes: exactly, with nothing that it has no use for. */
import { expect, test } from "vitest";
import { stageSpecs } from "../../jobs/stages";
import { CONFIG, SOURCES } from "./run";

const [train, merge, evaluate] = stageSpecs(CONFIG, SOURCES, "s3://bucket/runs/");

test("the stages run in this order, from the image and with the module that is theirs", () => {
  expect([train, merge, evaluate].map(({ name, image, command }) => [name, image, ...command])).toEqual([
    ["train", "local@sha256:aa", "python", "-m", "retort"],
    ["merge", "local@sha256:aa", "python", "-m", "retort"],
    ["evaluate", "local@sha256:bb", "python", "-m", "retort_evaluate"],
  ]);
});

test("each writes below runs/<run>, in a directory named by stage and fingerprint", () => {
  for (const { name, fingerprint, output } of [train, merge, evaluate]) {
    expect(fingerprint).toMatch(/^[0-9a-f]{64}$/);
    expect(output).toBe(`s3://bucket/runs/phase1c/${name}-${fingerprint.slice(0, 12)}`);
  }
});

test("train is told its part of the config, and what only decides how the result is come by apart", () => {
  const { data, train: settings } = CONFIG;
  const { microBatchTokens, saveEvery, ...deciding } = settings;
  expect(train.document).toEqual({
    stage: "train",
    run: "phase1c",
    fingerprint: train.fingerprint,
    image: "local@sha256:aa",
    lock: "l1",
    config: {
      data: { maxTokens: data.maxTokens, selfCritiqueFormat: data.selfCritiqueFormat, rowLimit: null },
      train: deciding,
    },
    settings: { microBatchTokens: 8192, saveEvery: 100 },
    inputs: {
      model: SOURCES.model,
      data: { selfCritique: SOURCES.data.selfCritique, hardFailures: SOURCES.data.hardFailures },
    },
    output: train.output,
  });
  expect(microBatchTokens).toBe(8192);
  expect(saveEvery).toBe(100);
});

test("merge reads the base model and what train leaves, and has nothing to be told", () => {
  const upstream = { uri: train.output, fingerprint: train.fingerprint };
  expect(merge.document).toMatchObject({ config: {}, settings: {} });
  expect(merge.document.inputs).toEqual({ model: SOURCES.model, train: upstream });
  expect(merge.inputs).toEqual(["pypi://m", train.output]);
});

test("evaluate reads the test rows, base and merged model; concurrency and time-outs are no part of its result", () => {
  expect(evaluate.document).toMatchObject({
    config: {
      data: { rowLimit: null },
      evaluate: { maxNewTokens: 1024, temperature: 0, server: { command: CONFIG.evaluate.server.command } },
    },
    settings: { concurrency: 64, startTimeoutMinutes: 15 },
  });
  expect(evaluate.document.inputs).toEqual({
    model: SOURCES.model,
    data: { test: SOURCES.data.test },
    train: { uri: train.output, fingerprint: train.fingerprint },
    merge: { uri: merge.output, fingerprint: merge.fingerprint },
  });
});
