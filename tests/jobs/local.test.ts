/** The chain of local stages with real processes: what it keeps, how it ends, and that nothing is left behind. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { localStore, stageState } from "../../jobs/artifacts";
import { STAGES, type StageName, type StageSpec } from "../../jobs/stages";
import type { LauncherFile } from "./launcher";

const ROOT = resolve(__dirname, "../..");
const STAGE = join(__dirname, "stage.py");

let directory: string;
beforeEach(() => {
  mkdirSync(join(ROOT, ".cache"), { recursive: true });
  directory = mkdtempSync(join(ROOT, ".cache/test-local-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

function spec(name: StageName, behaviour: Record<string, unknown> = {}): StageSpec {
  const fingerprint = name[0]?.charCodeAt(0).toString(16).repeat(32) ?? "";
  const output = join(directory, "runs/t", `${name}-${fingerprint.slice(0, 12)}`);
  const inputs = { model: { uri: "none", revision: "1" } };
  return {
    ...{ name, run: "t", fingerprint, image: "local@sha256:0", command: ["python", STAGE], env: { FROM_SPEC: "1" } },
    ...{ resources: { gpus: 0, cpus: 1, memoryGiB: 1, diskGiB: 1 }, inputs: [], output, deadlineHours: 1 },
    document: {
      ...{ stage: name, run: "t", fingerprint, image: "local@sha256:0", lock: "0" },
      ...{ inputs, output },
      config: behaviour,
      settings: {},
    },
  };
}

/** A launcher in a process of its own, as a terminal would start it. */
class Launcher {
  output = "";
  readonly process: ChildProcess;
  readonly exitCode: Promise<number>;

  constructor(file: Omit<LauncherFile, "root">) {
    const path = join(directory, "launcher.json");
    writeFileSync(path, JSON.stringify({ root: directory, ...file }));
    this.process = spawn(process.execPath, ["--import", "tsx", join(__dirname, "launcher.ts"), path], { cwd: ROOT });
    for (const stream of [this.process.stdout, this.process.stderr]) {
      stream?.setEncoding("utf8").on("data", (text: string) => {
        this.output += text;
      });
    }
    this.exitCode = new Promise((done) =>
      this.process.once("close", (code, signal) => done(code ?? (signal ? -1 : 0))),
    );
  }

  async until(text: string): Promise<void> {
    for (const end = Date.now() + 240_000; Date.now() < end; await sleep(50)) {
      if (this.output.includes(text)) return;
    }
    throw new Error(`never printed ${text}:\n${this.output}`);
  }
}

async function launch(file: Omit<LauncherFile, "root">): Promise<{ code: number; output: string }> {
  const launcher = new Launcher(file);
  return { code: await launcher.exitCode, output: launcher.output };
}

const chain = (behaviours: Partial<Record<StageName, Record<string, unknown>>> = {}): StageSpec[] =>
  STAGES.map((name) => spec(name, behaviours[name]));

const log = ({ output, name }: StageSpec): string => readFileSync(join(output, `${name}.log`), "utf8");
const isDone = async (one: StageSpec) => (await stageState(one.output, one.fingerprint, localStore)).done;

/** Processes that have this test's directory in their command line. */
function processesLeft(): string[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        const command = readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
        return command.includes(directory) ? [`${pid} ${command}`] : [];
      } catch {
        return []; // ended meanwhile
      }
    });
}

const isAlive = (pid: number): boolean => {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
};

async function eventually(what: () => boolean, seconds: number): Promise<void> {
  for (const end = Date.now() + seconds * 1000; Date.now() < end; await sleep(50)) if (what()) return;
  throw new Error(`not within ${seconds} s`);
}

test("runs every stage once, in order, keeps its output, and has nothing to do the second time", async () => {
  const specs = chain();
  const first = await launch({ specs });
  expect(first).toMatchObject({ code: 0 });
  const [train, merge, evaluate] = ["train", "merge", "evaluate"].map((name) => first.output.indexOf(`✔ ${name}`));
  expect(train).toBeGreaterThan(-1);
  expect(merge).toBeGreaterThan(train ?? -1);
  expect(evaluate).toBeGreaterThan(merge ?? -1);
  expect(first.output).toContain("train     1/3 updates · loss 1.00\n");
  for (const one of specs) {
    expect(log(one)).toContain(`${one.name} begins`);
    expect(readFileSync(join(one.output, "result.txt"), "utf8")).toBe(`${one.name} from step 0\n`);
    expect(JSON.parse(readFileSync(join(one.output, "stage.json"), "utf8"))).toEqual(one.document);
  }
  const second = await launch({ specs, refuse: "must not be asked" });
  expect(second).toMatchObject({ code: 0 });
  expect(second.output).toContain("nothing to do: every stage is up to date");
  expect(log(specs[0] as StageSpec).match(/begins/g)).toHaveLength(1);
});

test("runs only the stage whose artifact is gone", async () => {
  const specs = chain();
  await launch({ specs });
  rmSync(join((specs[1] as StageSpec).output, "result.txt"));
  const { code, output } = await launch({ specs });
  expect(code).toBe(0);
  expect(specs.map((one) => log(one).match(/begins/g)?.length)).toEqual([1, 2, 1]);
  expect(output.match(/up to date/g)).toHaveLength(2);
});

test("--force-stage runs that stage and those after it from the start", async () => {
  const specs = chain();
  await launch({ specs });
  writeFileSync(join((specs[1] as StageSpec).output, "left-behind"), "");
  const { code } = await launch({ specs, force: "merge" });
  expect(code).toBe(0);
  expect(existsSync(join((specs[1] as StageSpec).output, "left-behind"))).toBe(false);
  expect(log(specs[0] as StageSpec).match(/^--- /gm)).toHaveLength(1);
  expect(await Promise.all(specs.map(isDone))).toEqual([true, true, true]);
});

test("--stage runs that stage alone, and refuses one that lacks its inputs", async () => {
  const specs = chain();
  expect(await launch({ specs, only: ["merge"] })).toEqual({
    code: 2,
    output:
      "error: --stage merge: it reads what train leaves, and that has not run; run --stage train first, or leave --stage out\n",
  });
  expect(existsSync(join(directory, "runs"))).toBe(false);
  expect(await launch({ specs, only: ["train"] })).toMatchObject({ code: 0 });
  expect(await Promise.all(specs.map(isDone))).toEqual([true, false, false]);
});

test("data that cannot be trained on starts nothing and leaves nothing", async () => {
  expect(await launch({ specs: chain(), refuse: "data/x.jsonl:3: no" })).toEqual({
    code: 2,
    output: "error: data/x.jsonl:3: no\n",
  });
  expect(existsSync(join(directory, "runs"))).toBe(false);
  expect(readdirSync(join(directory, ".cache"))).toEqual([]);
});

describe("a stage that fails", () => {
  test("by the user's mistake passes its message and exit code 2 on, and ends the run", async () => {
    const specs = chain({ merge: { mistake: "model.base: no such layer" } });
    const { code, output } = await launch({ specs });
    expect(code).toBe(2);
    expect(output).toContain(
      "\n  model.base: no such layer\n  exit code 2: mend it, then run the same command again\n",
    );
    expect(output).not.toContain("Traceback");
    expect(await Promise.all(specs.map(isDone))).toEqual([true, false, false]);
    expect(existsSync((specs[2] as StageSpec).output)).toBe(false);
  });

  test.each([
    [7, "exit code 7: the same command tries again, from what was saved"],
    ["kill", "exit code 137: it was killed, most likely because memory ran out"],
  ])(
    "otherwise (%s) shows its last words, what to do and where its log is, with exit code 1",
    async (crash, advice) => {
      const specs = chain({ train: { crash } });
      const { code, output } = await launch({ specs });
      expect(code).toBe(1);
      expect(output).toContain("✘ train");
      expect(output).toContain("\n  about to crash\n");
      expect(output).toContain(advice);
      expect(output).toContain("train.log\ngo on with: npm run local\n");
      expect(log(specs[0] as StageSpec)).toContain("about to crash");
    },
  );
});

describe("stopping", () => {
  const slow = { train: { steps: 100, stepSeconds: 0.1, grandchild: true } };

  test("SIGINT lets the stage save, and the same command goes on from there", async () => {
    const first = new Launcher({ specs: chain(slow) });
    await first.until("1/100 updates");
    first.process.kill("SIGINT");
    expect(await first.exitCode).toBe(130);
    expect(first.output).toContain("stopping: what runs saves its work (Ctrl-C again kills it)\n");
    expect(first.output).toContain("  stopped; its work is saved\ngo on with: npm run local\n");
    expect(processesLeft()).toEqual([]);
    const train = spec("train");
    const saved = Number(readFileSync(join(train.output, "saved.log"), "utf8"));
    expect(saved).toBeGreaterThan(0);
    expect(saved).toBeLessThan(100);

    expect(await launch({ specs: chain({ train: { steps: saved + 2 } }) })).toMatchObject({ code: 0 });
    expect(readFileSync(join(train.output, "result.txt"), "utf8")).toBe(`train from step ${saved}\n`);
    expect(log(train).match(/^--- /gm)).toHaveLength(2);
  });

  test("a second SIGINT kills a stage that does not listen, and its server in another session", async () => {
    const launcher = new Launcher({ specs: chain({ train: { ...slow.train, deaf: true } }) });
    await launcher.until("1/100 updates");
    const server = Number(readFileSync(join(spec("train").output, "grandchild.log"), "utf8"));
    expect(isAlive(server)).toBe(true);
    launcher.process.kill("SIGINT");
    await launcher.until("stopping");
    launcher.process.kill("SIGINT"); // npm's echo of the first
    await sleep(1000);
    expect(isAlive(server)).toBe(true);
    launcher.process.kill("SIGINT");
    expect(await launcher.exitCode).toBe(130);
    expect(launcher.output).toContain("killed; it goes on from what it saved last");
    expect(isAlive(server)).toBe(false);
    expect(processesLeft()).toEqual([]);
  });

  test("a launcher that is killed leaves no process: its stage saves, and the next launcher waits for that", async () => {
    const gate = join(directory, "saved");
    const first = new Launcher({ specs: chain({ train: { ...slow.train, savesUntil: gate } }) });
    await first.until("1/100 updates");
    const server = Number(readFileSync(join(spec("train").output, "grandchild.log"), "utf8"));
    first.process.kill("SIGKILL");
    await once(first.process, "exit"); // not its output's end: its stage still holds that
    const second = new Launcher({ specs: chain({ train: { steps: 50 } }) });
    await second.until("an earlier launcher is gone, and its stage saves its work: waiting for it\n");
    writeFileSync(gate, "");
    expect(await second.exitCode).toBe(0);
    expect(isAlive(server)).toBe(false);
    expect(log(spec("train"))).toContain('"event": "stopped"');
    expect(readFileSync(join(spec("train").output, "result.txt"), "utf8")).not.toBe("train from step 0\n");
    await eventually(() => processesLeft().length === 0, 5);
  });

  test("two launchers on one run: the second refuses", async () => {
    const first = new Launcher({ specs: chain(slow) });
    await first.until("1/100 updates");
    const second = await launch({ specs: chain(slow) });
    expect(second).toEqual({
      code: 1,
      output: `error: the run t is in use by process ${first.process.pid}: wait for it, or stop it\n`,
    });
    first.process.kill("SIGTERM");
    expect(await first.exitCode).toBe(143);
  });
});
