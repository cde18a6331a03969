/** A stage is done if and only if its manifest is whole, its own, and all that it names is there. */
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { localStore, stageState } from "../../jobs/artifacts";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "retort-artifacts-"));
  mkdirSync(join(directory, "adapter"));
  writeFileSync(join(directory, "adapter/weights"), "12345");
  writeFileSync(join(directory, "summary.json"), "{}");
  writeManifest(manifest());
});
afterEach(() => rmSync(directory, { recursive: true }));

const manifest = () => ({
  stage: "train",
  fingerprint: "ff",
  outputs: [
    { path: "adapter/weights", bytes: 5, sha256: "x" },
    { path: "summary.json", bytes: 2, sha256: "y" },
  ],
  startedAt: "2026-11-22T10:00:00+00:00",
  finishedAt: "2026-11-22T10:05:00+00:00",
  metrics: { bestStep: 7 },
});

const writeManifest = (value: unknown) => writeFileSync(join(directory, "manifest.json"), JSON.stringify(value));
const why = async (): Promise<string> => {
  const state = await stageState(directory, "ff", localStore);
  return state.done ? "done" : state.why;
};

test("done, with what the manifest says", async () => {
  expect(await stageState(directory, "ff", localStore)).toEqual({ done: true, manifest: manifest() });
});

test.each<[string, () => void, string]>([
  ["no manifest", () => rmSync(join(directory, "manifest.json")), "has not run"],
  ["no directory", () => rmSync(directory, { recursive: true }) ?? mkdirSync(directory), "has not run"],
  ["a torn manifest", () => truncateSync(join(directory, "manifest.json"), 40), "its manifest is torn"],
  ["an empty manifest", () => truncateSync(join(directory, "manifest.json")), "its manifest is torn"],
  ["a manifest of nothing", () => writeManifest({ ...manifest(), outputs: [] }), "its manifest is torn"],
  [
    "another's manifest",
    () => writeManifest({ ...manifest(), fingerprint: "ee" }),
    "its manifest is another fingerprint's",
  ],
  ["an artifact gone", () => rmSync(join(directory, "adapter"), { recursive: true }), "adapter/weights is gone"],
  [
    "an artifact cut short",
    () => truncateSync(join(directory, "adapter/weights"), 4),
    "adapter/weights has 4 bytes, not 5",
  ],
])("%s: to be run", async (_, spoil, expected) => {
  expect(await why()).toBe("done");
  spoil();
  expect(await why()).toBe(expected);
});

test("files that the manifest does not name are no matter", async () => {
  writeFileSync(join(directory, "train.log"), "more and more");
  expect(await why()).toBe("done");
});
