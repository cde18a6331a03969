/** `npm run local` itself, with the real stages and the demo's model on a few of its rows: stopped, resumed, done. */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parse, stringify } from "yaml";

const ROOT = resolve(__dirname, "../..");
const NAME = `test-${process.pid}`;
const RUN = join(ROOT, "runs", NAME);
const MINUTES = 60_000;

let directory: string;
let config: string;
beforeAll(() => {
  mkdirSync(join(ROOT, ".cache"), { recursive: true });
  directory = mkdtempSync(join(ROOT, ".cache/test-e2e-"));
  config = writeConfig(NAME, {});
});
afterAll(() => {
  rmSync(directory, { recursive: true, force: true });
  for (const run of [RUN, `${RUN}-again`]) rmSync(run, { recursive: true, force: true });
});

/** The demo with a few rows and a checkpoint after every update. */
function writeConfig(name: string, data: Record<string, string>): string {
  const demo = parse(readFileSync(join(ROOT, "configs/demo.yaml"), "utf8"));
  for (const file of ["selfCritique", "hardFailures", "test"]) demo.data[file] = join(ROOT, "configs", demo.data[file]);
  Object.assign(demo, { name });
  Object.assign(demo.data, { rowLimit: 6 }, data);
  Object.assign(demo.train, { rowsPerUpdate: 2, evalEvery: 3, saveEvery: 1, validationSplit: 0.2 });
  const file = join(directory, `${name}.yaml`);
  writeFileSync(file, stringify(demo));
  return file;
}

/** The command as a person in a terminal runs it: a signal goes to npm and to all that it started in the foreground. */
class Command {
  output = "";
  readonly exitCode: Promise<number>;
  private readonly process: ChildProcess;

  constructor(...args: string[]) {
    this.process = spawn("npm", ["run", "--silent", ...args], { cwd: ROOT, detached: true });
    for (const stream of [this.process.stdout, this.process.stderr]) {
      stream?.setEncoding("utf8").on("data", (text: string) => {
        this.output += text;
      });
    }
    this.exitCode = new Promise((done) => this.process.once("close", (code) => done(code ?? -1)));
  }

  interrupt(): void {
    process.kill(-(this.process.pid ?? 0), "SIGINT");
  }

  async until(pattern: RegExp): Promise<RegExpExecArray> {
    for (const end = Date.now() + 5 * MINUTES; Date.now() < end; await sleep(100)) {
      const found = pattern.exec(this.output);
      if (found) return found;
    }
    throw new Error(`never printed ${pattern}:\n${this.output}`);
  }
}

const stageDirectory = (stage: string): string => {
  const found = readdirSync(RUN).filter((name) => name.startsWith(`${stage}-`));
  expect(found).toHaveLength(1);
  return join(RUN, found[0] ?? "");
};
const read = (stage: string, file: string) => JSON.parse(readFileSync(join(stageDirectory(stage), file), "utf8"));

describe.sequential("a run", () => {
  test("shows its curves, and on Ctrl-C saves its work", { timeout: 20 * MINUTES }, async () => {
    const run = new Command("local", "--", "--config", config);
    const [, url = ""] = await run.until(/curves +(http:\S+) while this runs/);
    await run.until(/train +[1-9]\d*\/\d+ updates/);
    const page = await fetch(url);
    expect(page.status).toBe(200);
    expect(await page.text()).toContain("TensorBoard");
    run.interrupt();
    expect(await run.exitCode).toBe(130);
    expect(run.output).toContain("stopped; its work is saved");
    expect(run.output).toContain(`go on with: npm run local -- --config ${config}`);
    expect(readdirSync(join(stageDirectory("train"), "checkpoints"))).not.toEqual([]);
    await expect(fetch(url)).rejects.toThrow();
  });

  test("goes on with the same command, to the pass rates and the report", { timeout: 20 * MINUTES }, async () => {
    const run = new Command("local", "--", "--config", config);
    expect(await run.exitCode, run.output).toBe(0);
    expect(read("train", "training_summary.json").resumedFrom).toHaveLength(1);
    for (const stage of ["train", "merge", "evaluate"]) {
      expect(run.output).toMatch(new RegExp(`✔ ${stage} +\\d+:\\d\\d +runs/${NAME}/${stage}-[0-9a-f]{12}\n`));
      expect(read(stage, "manifest.json")).toMatchObject({ stage, run: NAME });
    }
    const { base, merged } = read("evaluate", "report.json");
    expect([base.total, merged.total]).toEqual([6, 6]);
    expect(run.output).toContain(`(${base.passed} of 6) before → `);
    const [, report = ""] = await run.until(/report +(\S+)/);
    expect(existsSync(join(ROOT, report))).toBe(true);
  });

  test("that is finished has nothing to do, and says so in seconds", { timeout: MINUTES }, async () => {
    const started = Date.now();
    const run = new Command("local", "--", "--config", config);
    expect(await run.exitCode).toBe(0);
    expect(run.output).toContain("nothing to do: every stage is up to date");
    expect(run.output).toMatch(/pass rate .* before → .* after\nreport /);
    expect(Date.now() - started).toBeLessThan(20_000); // on a busy machine; a second or two on an idle one
  });

  test("can be reproduced from its manifests, to the same bytes, though the first was stopped in between", {
    timeout: 20 * MINUTES,
  }, async () => {
    const run = new Command("reproduce", "--", NAME);
    const code = await run.exitCode;
    for (const stage of ["train", "merge", "evaluate"]) {
      const [first, again] = [RUN, `${RUN}-again`].map((folder) =>
        readdirSync(folder).find((n) => n.startsWith(stage)),
      );
      expect(again).toBe(first); // the same fingerprint: nothing that decides the result is another
    }
    expect(run.output).toMatch(/✔ train +losses +identical \(5\)/);
    expect(run.output).toMatch(/✔ train +adapter +identical bytes/);
    expect(run.output).toMatch(/✔ merge +model +identical bytes/);
    expect(run.output).toMatch(/. evaluate +answers after +/);
    expect(run.output).toMatch(/not the same {2}train: updates it was resumed from: was \d+, is none/);
    // The order of requests in a batch is not fixed: an answer may differ, and then that is said.
    expect(run.output.includes("the two runs agree")).toBe(code === 0);
  });
});

test("bad data is reported as file:line, with exit code 2, and nothing is started", {
  timeout: 5 * MINUTES,
}, async () => {
  const file = join(directory, "bad.jsonl");
  writeFileSync(
    file,
    '{"instruction": "a", "reference_answer": "b", "category": "c"}\n{"instruction": "a", "category": ""}\n',
  );
  const bad = writeConfig(`${NAME}-bad`, { hardFailures: file });
  for (const command of [
    ["local", "--", "--config", bad],
    ["data", "--", bad],
  ]) {
    const run = new Command(...command);
    expect(await run.exitCode).toBe(2);
    expect(run.output).toContain("bad.jsonl:2: ");
    expect(run.output).not.toMatch(/Traceback|at \S+\.ts/);
  }
  expect(existsSync(join(ROOT, "runs", `${NAME}-bad`))).toBe(false);
});

test("a server that is not on this machine is missed before training, not after it", {
  timeout: 5 * MINUTES,
}, async () => {
  const file = writeConfig(`${NAME}-server`, {});
  writeFileSync(file, readFileSync(file, "utf8").replace("- transformers\n", "- vllm-nowhere\n"));
  const run = new Command("local", "--", "--config", file);
  expect(await run.exitCode).toBe(2);
  expect(run.output).toContain("error: evaluate.server.command: there is no vllm-nowhere on this machine; install it");
  expect(existsSync(join(ROOT, "runs", `${NAME}-server`))).toBe(false);
});

test.each([
  [["local", "--", "--config", "nowhere.yaml"], /nowhere\.yaml: no such file/],
  [["local", "--", "--stage", "trian"], /error: --stage trian: must be train, merge, evaluate/],
  [["local", "--", "--force"], /error: Unknown option '--force'[\s\S]*--force-stage STAGE/],
  [["local", "--", "--stage", "train", "--force-stage", "merge"], /error: --force-stage merge: --stage leaves it out/],
  [["data"], /usage: npm run data -- configs\/demo\.yaml/],
])("npm run %j is a mistake", async (args, message) => {
  const run = new Command(...args);
  expect(await run.exitCode).toBe(2);
  expect(run.output).toMatch(message);
  expect(run.output).not.toMatch(/\bat \S+\.ts/);
});
