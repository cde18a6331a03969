/** `pulumi up` of the real program with the real engine, on a real Kubernetes, with the real images: what holds a run together. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { isInstalled, type Machine, machine } from "./machine";
import { type Ended, Stack } from "./stack";
import { writeRun } from "./tinyRun";

const directory = mkdtempSync(join(tmpdir(), "retort-cluster-"));
let cluster: Machine;
let stack: Stack;

/** Stacks and runs of their own for every execution, whatever an earlier one has left in the store. */
const RUN = `t${Date.now().toString(36)}`;
const figure = (text: string) => console.log(`    ${text}`);

beforeAll(() => {
  if (!isInstalled("pulumi"))
    throw new Error("pulumi and its Kubernetes provider must be on the PATH: these tests run the real engine");
  cluster = machine();
  stack = new Stack("retort-test", directory, cluster);
  stack.set("run", writeRun(directory, { name: RUN }));
});

afterAll(async () => {
  await stack?.remove();
  rmSync(directory, { recursive: true, force: true });
});

const expectDone = (ended: Ended) => expect(ended.code, ended.output).toBe(0);

interface Summary {
  readonly bestLoss: number;
  readonly resumedFrom: number[];
  readonly history: { step: number; loss: number }[];
}

/** The training summary of a run's newest train stage. */
async function summaryOf(run: string): Promise<Summary> {
  const base = `s3://${cluster.storage.bucket}/runs/${run}`;
  const [stage] = (await cluster.store.directories(base)).filter((name) => name.startsWith("train-"));
  return JSON.parse((await cluster.store.read(`${base}/${stage}/training_summary.json`)) ?? "") as Summary;
}

/** Waits until the stage's own words contain the text. */
async function hears(running: { ended: Promise<Ended> }, stage: string, text: string): Promise<string> {
  let over: Ended | undefined;
  void running.ended.then((ended) => {
    over = ended;
  });
  while (!over) {
    for (const pod of stack.pods(stage)) {
      if (read(pod).includes(text)) return pod;
    }
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
  throw new Error(`it ended before ${stage} said ${text}: ${over.output}`);
}

function read(pod: string): string {
  try {
    return stack.kubectl("logs", pod);
  } catch {
    return ""; // not started yet
  }
}

test("a mistake in the config or a data file creates nothing", async () => {
  const run = writeRun(directory, { name: RUN });
  writeFileSync(join(directory, "hard.jsonl"), '{"instruction": "x", "reference_answer": ""}\n');
  const { code, output } = await stack.up();
  expect(code).not.toBe(0);
  expect(output).toContain('hard.jsonl:1: "reference_answer" is empty');
  writeFileSync(run, "name: x\nmodle: {}\n");
  const wrong = await stack.up();
  expect(wrong.output).toMatch(/2:1: modle: unknown key; did you mean "model"\?/);
  expect(() => stack.kubectl("get", "namespace", stack.name)).toThrow("not found");
  writeRun(directory, { name: RUN });
});

test("a stage that no node can take says why, and stops at its deadline", async () => {
  stack.set("pod.cpus", "1000");
  stack.set("capacityTimeoutMinutes", "1");
  const { code, output, seconds } = await stack.up();
  expect(code).not.toBe(0);
  expect(output).toContain("train waits: no node fits: 0/1 nodes are available");
  expect(output).toContain("train was given up after 1 min (retort:capacityTimeoutMinutes)");
  expect(stack.pods("train")).toEqual([]);
  figure(`given up after ${seconds.toFixed(0)} s`);
  stack.set("pod.cpus", "1");
  stack.set("capacityTimeoutMinutes", "20");
});

test("up that is killed in mid-training and run again attaches; a lost pod and a restarted kubelet cost no update", async () => {
  const first = stack.start("up", "--yes", "--skip-preview");
  const pod = await hears(first, "train", '"step": 3,');
  process.kill(-(first.child.pid ?? 0), "SIGKILL");
  await first.ended;
  stack.unlock();
  const second = stack.start("up", "--yes", "--skip-preview");
  await hears(second, "train", '"step": 5,');
  expect(stack.pods("train")).toEqual([pod]);
  cluster.restart?.("kubelet");
  stack.kubectl("delete", "--wait=false", pod);
  const ended = await second.ended;
  expectDone(ended);
  expect(ended.output).toContain("another one goes on");
  const { resumedFrom, history } = await summaryOf(RUN);
  expect(resumedFrom.length).toBeGreaterThan(0);
  expect(history.map(({ step }) => step)).toEqual(history.map((_, index) => index + 1));
  figure(`the whole chain, with a kill and a lost pod: ${ended.seconds.toFixed(0)} s after the second up`);
  figure(`resumed from step ${resumedFrom.join(", ")} of ${history.length}`);
  expect(stack.output("passRates")).toEqual({ base: expect.any(Number), merged: expect.any(Number) });
  const report = JSON.parse((await cluster.store.read(String(stack.output("report")).replace("html", "json"))) ?? "");
  expect(report).toMatchObject({ base: { total: 4 }, merged: { total: 4 } });
});

test("a second up changes nothing and starts no pod; the preview is empty, and quick", async () => {
  const before = stack.pods();
  const preview = await stack.preview("--expect-no-changes");
  expectDone(preview);
  expect(preview.output).toMatch(/train done on .*: nothing to do/);
  figure(`no-op preview: ${preview.seconds.toFixed(1)} s`);
  const up = await stack.up();
  expectDone(up);
  expect(up.output).toContain("unchanged");
  expect(up.output).not.toMatch(/\d+ (created|updated|replaced|deleted)/);
  expect(stack.pods()).toEqual(before);
  figure(`no-op up: ${up.seconds.toFixed(1)} s`);
  expectDone(await stack.start("refresh", "--yes").ended);
  expectDone(await stack.preview("--expect-no-changes"));
});

test("TensorBoard shows the training, and again after its pod has died", async () => {
  const shows = () => stack.kubectl("exec", "deployment/tensorboard", "--", "ls", "/logs");
  expect(shows()).toMatch(/^train-[0-9a-f]{12}$/m);
  stack.kubectl("delete", "pod", "-l", "app.kubernetes.io/name=tensorboard");
  stack.kubectl("rollout", "status", "deployment/tensorboard", "--timeout=120s");
  await new Promise((resolve) => setTimeout(resolve, 10_000));
  expect(shows()).toMatch(/^train-[0-9a-f]{12}$/m);
});

test("a changed evaluation setting is planned as such, and runs evaluation alone", async () => {
  const [train, merge] = [stack.pods("train"), stack.pods("merge")];
  writeRun(directory, { name: RUN, maxNewTokens: 24 });
  const preview = await stack.preview();
  expect(preview.output).toContain("evaluate runs: evaluate.maxNewTokens 32 → 24");
  const up = await stack.up();
  expectDone(up);
  expect([stack.pods("train"), stack.pods("merge")]).toEqual([train, merge]);
  figure(`evaluation alone: ${up.seconds.toFixed(0)} s`);
});

test("the same training, uninterrupted, ends at the same loss; a failing merge says so, and is all that is tried again", async () => {
  const other = `${RUN}-b`;
  stack.set("run", writeRun(directory, { name: other }));
  const base = `s3://${cluster.storage.bucket}/runs/${other}`;
  const spoilt = spoilAdapter(base);
  const failed = await stack.up();
  const { uri, text } = await spoilt;
  expect(failed.code).not.toBe(0);
  expect(failed.output).toMatch(/merge failed with exit code 1/);
  expect(failed.output).toContain("error: adapter/adapter_config.json is not what train left: it was damaged since");
  expect(failed.output).toContain("pulumi up again tries this stage once more");
  const [whole, killed] = [await summaryOf(other), await summaryOf(RUN)];
  expect(whole.resumedFrom).toEqual([]);
  expect(whole.history.at(-1)?.loss).toBe(killed.history.at(-1)?.loss);
  figure(`last training loss: ${whole.history.at(-1)?.loss}, interrupted or not`);
  await cluster.store.write(uri, text);
  const train = stack.pods("train");
  const up = await stack.up();
  expectDone(up);
  expect(up.output).toContain("merge runs again: attempt 1 failed");
  expect(stack.pods("train")).toEqual(train);
});

/** Puts garbage of the same size into the adapter's config as soon as train is done. Returns what was there. */
async function spoilAdapter(base: string): Promise<{ uri: string; text: string }> {
  for (;;) {
    const [stage] = (await cluster.store.directories(base)).filter((name) => name.startsWith("train-"));
    const uri = `${base}/${stage}/adapter/adapter_config.json`;
    const text = stage && (await cluster.store.read(uri));
    if (text) {
      await cluster.store.write(uri, "x".repeat(text.length));
      return { uri, text };
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

test("a store that is down while a stage uploads costs nothing", async ({ skip }) => {
  const { restart } = cluster;
  if (!restart) return skip("the store is not the tests' own");
  const other = `${RUN}-c`;
  stack.set("run", writeRun(directory, { name: other, seed: 18 }));
  const running = stack.start("up", "--yes", "--skip-preview");
  await hears(running, "train", '"step": 2,');
  restart("store");
  const ended = await running.ended;
  expectDone(ended);
  expect((await summaryOf(other)).history.length).toBeGreaterThan(10);
});

test("destroy leaves data and results, and nothing else", async () => {
  const ended = await stack.remove();
  expectDone(ended);
  expect(() => stack.kubectl("get", "namespace", stack.name)).toThrow("not found");
  const left = await cluster.store.directories(`s3://${cluster.storage.bucket}/runs`);
  expect(left).toEqual(expect.arrayContaining([RUN, `${RUN}-b`]));
  figure(`destroy: ${ended.seconds.toFixed(0)} s`);
});
