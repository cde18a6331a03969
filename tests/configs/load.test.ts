/** What a user is told about a wrong config, word for word, and that right ones load. */
import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { describe, expect, test } from "vitest";
import { ConfigError, loadConfig, parseConfig } from "../../configs/load";

const CONFIGS = resolve(__dirname, "../../configs");
const GOOD = "name: x\nmodel: {base: pypi://m}\ndata: {selfCritique: a.jsonl, test: b.jsonl}\n";

function problemsOf(text: string, kindOf: Parameters<typeof parseConfig>[2] = () => "file"): readonly string[] {
  try {
    parseConfig(text, "configs/x.yaml", kindOf);
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
  return [];
}

test("a config that names only what it must gets every default, and absolute paths", () => {
  const { data, train, evaluate } = parseConfig(GOOD, "/team/run.yaml", () => "file");
  expect(data).toEqual({
    selfCritique: "/team/a.jsonl",
    test: "/team/b.jsonl",
    maxTokens: 2048,
    selfCritiqueFormat: "answer",
  });
  expect(train).toEqual({
    maxEpochs: 3,
    learningRate: 3e-6,
    schedule: "linear",
    warmupUpdates: 0,
    maxGradNorm: 1,
    rowsPerUpdate: 32,
    microBatchTokens: 8192,
    lora: { rank: 64, alpha: 16, targets: "all-linear" },
    validationSplit: 0.05,
    evalEvery: 50,
    saveEvery: 100,
    earlyStopping: { patience: 3, minDelta: 0 },
    seed: 17,
  });
  expect(evaluate).toEqual({
    maxNewTokens: 1024,
    temperature: 0,
    concurrency: 64,
    server: { command: ["vllm", "serve", "{model}", "--port", "{port}"], startTimeoutMinutes: 15 },
  });
});

test("all problems are named at once, in the order of the file", () => {
  const text = `name: Phase 1c
model: {base: "hf://org/name"}
data:
  tst: test.jsonl
  maxTokens: 1_000
train:
  patience: 3
  max_epoch: 3
  lora: {rnak: 3, targets: []}
  earlyStopping:
    patience: 0
  learningRate: 0
  validationSplit: 0.9
  seed: 1.5
  schedule: liner
evaluate:
  server: {command: [vllm, serve]}
notifications: none
`;
  expect(problemsOf(text)).toEqual([
    'configs/x.yaml:1:7: name: must be 1 to 32 lower-case letters, digits and inner hyphens (it names folders and Kubernetes Jobs), got "Phase 1c"',
    'configs/x.yaml:2:15: model.base: must be hf://org/name@revision, with a commit or tag after the @, got "hf://org/name"',
    "configs/x.yaml:3:1: data.selfCritique: is missing, and so is hardFailures: there is nothing to train on",
    'configs/x.yaml:4:3: data.tst: unknown key; did you mean "test"?',
    'configs/x.yaml:5:14: data.maxTokens: must be a number, got "1_000"',
    'configs/x.yaml:7:3: train.patience: unknown key; did you mean "train.earlyStopping.patience"?',
    'configs/x.yaml:8:3: train.max_epoch: unknown key; did you mean "maxEpochs"?',
    'configs/x.yaml:9:10: train.lora.rnak: unknown key; did you mean "rank"?',
    "configs/x.yaml:9:28: train.lora.targets: must not be empty, got []",
    "configs/x.yaml:11:15: train.earlyStopping.patience: must be at least 1, got 0",
    "configs/x.yaml:12:17: train.learningRate: must be more than 0, got 0",
    "configs/x.yaml:13:20: train.validationSplit: must be at most 0.5, got 0.9",
    "configs/x.yaml:14:9: train.seed: must be a whole number, got 1.5",
    'configs/x.yaml:15:13: train.schedule: must be linear or cosine or constant, got "liner"',
    'configs/x.yaml:17:21: evaluate.server.command: must contain {model} and {port}, which become the model\'s directory and the port to listen on, got ["vllm","serve"]',
    "configs/x.yaml:18:1: notifications: unknown key",
  ]);
});

describe("one problem each", () => {
  test.each([
    ["", ["1:1: must be a block of keys, such as name: and model:"]],
    ["- name: x", ["1:1: must be a block of keys, such as name: and model:"]],
    ["name: x\nname: y", ["2:1: name: is given twice"]],
    ["name: x\nname: y\nname: z", ["2:1: name: is given twice", "3:1: name: is given twice"]],
    ["train:\n\tseed: 1", ["2:1: not YAML: Tabs are not allowed as indentation"]],
    ["name: x\n---\nname: y", ["2:1: a second document begins; a run is one"]],
    ["model: [1", ["1:10: not YAML: Flow sequence in block collection must be sufficiently indented and end with a ]"]],
    ["name: *nobody", ["1:7: no &nobody comes before it"]],
    [`${GOOD}train:\n`, ["4:7: train: must be a block of keys, got nothing"]],
    [`${GOOD}train: 3\n`, ["4:8: train: must be a block of keys, got 3"]],
    [`${GOOD}train: {learningRate: .inf}\n`, ["4:23: train.learningRate: must be a number, got Infinity"]],
    [`${GOOD}train: {learningRate: .nan}\n`, ["4:23: train.learningRate: must be a number, got NaN"]],
    [`${GOOD}train: {seed: no}\n`, ['4:15: train.seed: must be a number, got "no"']],
    [
      `${GOOD}train: {lora: {targets: all}}\n`,
      ['4:25: train.lora.targets: must be "all-linear" or a list of module names, such as [q_proj, v_proj], got "all"'],
    ],
    [`${GOOD}evaluate: {server: {command: [x, 7]}}\n`, ["4:34: evaluate.server.command.1: must be text, got 7"]],
    [
      "name: x\nmodel: {base: pypi://m}\ndata: {selfCritque: a, test: b}",
      ['3:8: data.selfCritque: unknown key; did you mean "selfCritique"?'],
    ],
    ["name: x\nmodel: {base: pypi://m}\ndata: {hardFailures: a}", ["3:1: data.test: is missing"]],
    [
      "name: x\nmodel: {base: pypi://m}\ndata: {hardFailures: gs://b/a, test: b}",
      ['3:22: data.hardFailures: must be a path or s3://bucket/key, got "gs://b/a"'],
    ],
    [
      "model: {base: hf://a/b@main}\nname: x\ndata: {hardFailures: a, test: b}",
      ['1:15: model.base: must name a commit or tag: "main" moves, got "hf://a/b@main"'],
    ],
    [
      "model: {base: gs://a/b}\nname: x\ndata: {hardFailures: a, test: b}",
      ['1:15: model.base: must be a local directory or one of s3://, hf://, pypi://, got "gs://a/b"'],
    ],
  ])("%j", (text, problems) => {
    expect(problemsOf(text)).toEqual(problems.map((problem) => `configs/x.yaml:${problem}`));
  });

  test("a value behind an anchor is named where it was written", () => {
    const text = `${GOOD}train: {lora: &l {rank: 0}}\nevaluate: {server: *l}`;
    expect(problemsOf(text)).toEqual([
      'configs/x.yaml:4:19: evaluate.server.rank: unknown key; did you mean "train.lora.rank"?',
      "configs/x.yaml:4:25: train.lora.rank: must be at least 1, got 0",
    ]);
  });

  test("data that is not there is named at its key, with the path it came to", () => {
    const text = "name: x\nmodel: {base: ./models/m}\ndata:\n  hardFailures: s3://bucket/a.jsonl\n  test: ../b.jsonl\n";
    expect(problemsOf(text, () => undefined)).toEqual([
      `configs/x.yaml:2:15: model.base: no such directory: ${CONFIGS}/models/m`,
      `configs/x.yaml:5:9: data.test: no such file: ${resolve(CONFIGS, "../b.jsonl")}`,
    ]);
    expect(problemsOf(text, (path) => (path.endsWith("m") ? "file" : "directory"))).toEqual([
      `configs/x.yaml:2:15: model.base: must be a directory: ${CONFIGS}/models/m is a file`,
      `configs/x.yaml:5:9: data.test: must be a file: ${resolve(CONFIGS, "../b.jsonl")} is a directory`,
    ]);
  });

  test("a config file that is not there", () => {
    expect(() => loadConfig("/nowhere/x.yaml")).toThrow(new ConfigError(["/nowhere/x.yaml: no such file"]));
    expect(() => loadConfig(CONFIGS)).toThrow(/EISDIR/);
  });
});

describe("numbers mean what YAML 1.2 says", () => {
  test.each([
    ["3e-6", 3e-6],
    ["2E-4", 2e-4],
    ["0.5", 0.5],
    ["1", 1],
  ])("learningRate: %s", (text, value) => {
    expect(parseConfig(`${GOOD}train: {learningRate: ${text}}`, "x.yaml", () => "file").train.learningRate).toBe(value);
  });
});

describe("every shipped config", () => {
  const shipped = readdirSync(CONFIGS).filter((name) => name.endsWith(".yaml") && name !== "prices.yaml");

  test("is seen by these tests", () => expect(shipped).toEqual(["demo.yaml", "phase1c.yaml"]));

  test.each(shipped)("%s is valid", (name) => {
    // The data of a team are not in the project; those of the demo are.
    const kindOf = name === "demo.yaml" ? undefined : () => "file" as const;
    const file = join(CONFIGS, name);
    const config = kindOf ? parseConfig(readFileSync(file, "utf8"), file, kindOf) : loadConfig(file);
    expect(config.name).toBe(name.replace(".yaml", ""));
    expect(readFileSync(file, "utf8")).toContain("# yaml-language-server: $schema=./run.schema.json\n");
  });
});
