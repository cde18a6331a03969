/** What a stack may say, and what it is told when it says something else. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { parse } from "yaml";
import { ConfigError } from "../../configs/load";
import { AwsSettings } from "../../infra/aws/settings";
import { parseSettings, Settings } from "../../infra/settings";
import { REQUIRED, ROOT, settings } from "./stack";

test("Pulumi.yaml describes every setting, and no other", () => {
  const { config } = parse(readFileSync(`${ROOT}/Pulumi.yaml`, "utf8")) as {
    config: Record<string, { description: string }>;
  };
  const described = Object.keys(config).map((key) => key.replace(/^retort:/, ""));
  const settings = new Set([...Object.keys(Settings.shape), ...Object.keys(AwsSettings.shape)]);
  expect(described.sort()).toEqual([...settings].sort());
  for (const { description } of Object.values(config)) expect(description.length).toBeGreaterThan(20);
});

test("what Pulumi.yaml gives by default is what the program takes for not set", () => {
  const { config } = parse(readFileSync(`${ROOT}/Pulumi.yaml`, "utf8")) as {
    config: Record<string, { default: unknown }>;
  };
  const defaults = Object.fromEntries(
    Object.entries(config).map(([key, value]) => [key.replace(/^retort:/, ""), value.default]),
  );
  const empty = parseSettings((key) => REQUIRED[key] ?? defaults[key], ROOT);
  expect(empty).toEqual(settings());
});

test("a stack with nothing but the required settings trains on one GPU in the namespace retort", () => {
  const { run, gpu, pod, namespace, queue, context, budget, capacityTimeoutMinutes } = settings();
  expect({ run, namespace, queue, context, budget, capacityTimeoutMinutes }).toEqual({
    run: `${ROOT}/configs/phase1c.yaml`,
    namespace: "retort",
    queue: undefined,
    context: undefined,
    budget: {},
    capacityTimeoutMinutes: 20,
  });
  expect(gpu).toMatchObject({ resource: "nvidia.com/gpu", count: 1, nodes: 1, merge: 0 });
  expect(pod).toEqual({ cpus: 8, memoryGiB: 64, diskGiB: 120 });
});

test("numbers that pulumi config set keeps as text are numbers", () => {
  expect(settings({ pod: { cpus: "0.5" } }).pod.cpus).toBe(0.5);
  expect(settings({ gpu: { count: "2" }, capacityTimeoutMinutes: "5" })).toMatchObject({
    gpu: { count: 2 },
    capacityTimeoutMinutes: 5,
  });
  expect(settings({ storage: { bucket: "b-1", accessKeyId: 123, secretAccessKey: 456 } }).storage.accessKeyId).toBe(
    "123",
  );
});

const mistakes: [string, Record<string, unknown>, string][] = [
  ["a run that is not there", { run: "configs/no.yaml" }, "retort:run: no such file: "],
  [
    "a tag without a digest",
    { images: { ...(REQUIRED["images"] as object), trainer: "x:latest" } },
    "retort:images.trainer: must name an image by its digest",
  ],
  [
    "half of the keys",
    { storage: { bucket: "bbb", accessKeyId: "a" } },
    "retort:storage.secretAccessKey: goes together with storage.accessKeyId",
  ],
  [
    "a bucket beside the stack's own store",
    { storage: { bucket: "bbb", inCluster: {} } },
    "retort:storage.inCluster: has a bucket and keys of its own: remove it, or else every other key of retort:storage",
  ],
  ["a store of its own without its image", { storage: { inCluster: {} } }, "retort:images.store: is needed with"],
  [
    "a namespace that leaves no room for the store's",
    { namespace: "n".repeat(60), storage: { inCluster: {} } },
    "retort:namespace: must be shorter by a few letters",
  ],
  [
    "keys beside an identity",
    { storage: { bucket: "bbb", accessKeyId: "a", secretAccessKey: "b", podIdentity: {} } },
    "retort:storage.podIdentity: does not go together with storage.accessKeyId",
  ],
  ["no way to the store", { storage: { bucket: "bbb" } }, "retort:storage.accessKeyId: needs a value"],
  ["dollars without a price", { budget: { maxUsd: 5 } }, "retort:budget.usdPerHour: is needed with budget.maxUsd"],
  ["a misspelt key", { gpu: { cuont: 2 } }, 'retort:gpu.cuont: unknown key; did you mean "count"?'],
  ["another target", { target: "aws" }, 'retort:target: must be kubernetes, got "aws"'],
  ["text where a block belongs", { pod: "big" }, 'retort:pod: must be a block of keys, got "big"'],
];

test("a stack with a store of its own needs nothing else of it", () => {
  const images = { ...(REQUIRED["images"] as object), store: `registry/x@sha256:${"d".repeat(64)}` };
  const { storage } = settings({ storage: { inCluster: { sizeGiB: "20" } }, images });
  expect(storage).toEqual({ bucket: "retort", region: "us-east-1", inCluster: { sizeGiB: 20 } });
});

test("a secret is in no message, whatever is missing beside it", () => {
  const { message } = failure({ storage: { bucket: "bbb", secretAccessKey: "hidden-word" } });
  expect(message).toContain("retort:storage.accessKeyId: needs a value");
  expect(message).not.toContain("hidden-word");
});

test.each(mistakes)("%s is refused", (_, given, message) => {
  expect(() => settings(given)).toThrow(message);
});

test("everything wrong is said at once, each with the command that mends it", () => {
  const { problems } = failureOf(() => parseSettings(() => undefined, ROOT));
  expect(problems).toHaveLength(6);
  for (const problem of problems) expect(problem).toMatch(/\n {4}(pulumi config (set|rm)|npm run images)/);
  expect(problems.join("\n")).toContain("pulumi config set 'retort:run' configs/phase1c.yaml");
});

const failure = (given: Record<string, unknown>): ConfigError => failureOf(() => settings(given));

function failureOf(act: () => unknown): ConfigError {
  try {
    act();
  } catch (error) {
    if (error instanceof ConfigError) return error;
    throw error;
  }
  throw new Error("nothing was wrong");
}
