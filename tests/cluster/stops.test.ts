/** What stops a run on a real Kubernetes, and what is left then: mistakes, no room, a person, a used-up budget. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { spentOn } from "../../jobs/attempts";
import type { Running } from "./engine";
import { during, figure, pause, updateFrom, withScene } from "./scene";
import { board } from "./tensorboard";
import { writeRun } from "./tinyRun";

const on = withScene("retort-test-stops");
/** The training that the tests look at, one after the other. */
let up: Running;

test("a mistake in the config or a data file creates nothing", async () => {
  const { stack, directory, run, machine } = on.scene;
  const data = async () => [...(await machine.store.listing(`s3://${machine.storage.bucket}/data`)).keys()];
  const before = await data();
  const config = writeRun(directory, { name: run });
  stack.set("run", config);
  writeFileSync(join(directory, "hard.jsonl"), '{"instruction": "x", "reference_answer": ""}\n');
  const { code, output } = await stack.up();
  expect(code).not.toBe(0);
  expect(output).toContain('hard.jsonl:1: "reference_answer" is empty');
  writeFileSync(config, "name: x\nmodle: {}\n");
  const wrong = await stack.up();
  expect(wrong.code).not.toBe(0);
  expect(wrong.output).toMatch(/2:1: modle: unknown key; did you mean "model"\?/);
  expect(stack.isThere()).toBe(false);
  expect(await data()).toEqual(before);
});

test("a stage that no node can take says why, and stops at its deadline", async () => {
  const { stack, directory, run } = on.scene;
  stack.set("run", writeRun(directory, { name: run, maxEpochs: 60, saveEvery: 1000 }));
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

test("a stage that a queue holds back says so, and cancel ends it: it does not start unseen", async () => {
  const { scene } = on;
  const { stack } = scene;
  const queued = stack.start("up");
  await during(queued, 200, () => stack.runningPods().length > 0);
  const job = stack.kubectl("get", "jobs", "-o", "name").split("\n").at(-1) ?? "";
  // As Kueue does, which takes a Job's pods away where somebody else needs their room.
  stack.kubectl("patch", job, "--type=merge", "-p", '{"spec": {"suspend": true}}');
  await during(queued, 200, () => queued.said().includes("train waits: the Job is suspended"));
  const cancel = await stack.command("cancel").ended;
  expect(cancel.code, cancel.output).toBe(0);
  const { code, output } = await queued.ended;
  expect(code).not.toBe(0);
  expect(output).toMatch(/train: its Job .* was deleted; pulumi up again tries it once more/);
  expect(stack.runningPods()).toEqual([]);
  expect(stack.kubectl("get", job, "--ignore-not-found", "-o", "name")).toBe("");
  figure(`cancelled in a queue in ${cancel.seconds.toFixed(0)} s`);
});

test("TensorBoard shows a training that runs, within 30 s of its first event, and again after its pod has died", async () => {
  const { scene } = on;
  const { stack } = scene;
  up = stack.start("up");
  const pod = await scene.hears(up, "train", updateFrom(1));
  const [first] = stack
    .log(pod, "--timestamps")
    .split("\n")
    .filter((line) => updateFrom(1).test(line));
  const began = Date.parse(first?.split(" ")[0] ?? "");
  expect(began).toBeGreaterThan(0);
  await board(stack, (shown) => shown.losses.length > 0);
  const seconds = (Date.now() - began) / 1000;
  figure(`TensorBoard shows the training ${seconds.toFixed(0)} s after its first update`);
  expect(seconds).toBeLessThan(30);
  stack.kubectl("delete", "pod", "-l", "app.kubernetes.io/name=tensorboard");
  const { runs, losses } = await board(stack, (shown) => shown.losses.length > 0);
  expect(runs).toEqual([expect.stringMatching(/^train-[0-9a-f]{12}$/)]);
  expect(losses.map(([, step]) => step)).toEqual(losses.map((_, index) => index + 1));
});

test("status says how far it is, logs follow it, and cancel stops it at a checkpoint and frees the node", async () => {
  const { scene } = on;
  const { stack } = scene;
  const status = await stack.command("status").ended;
  expect(status.output).toMatch(/^train {5}train +(validate +)?\d+\/\d+ updates/m);
  expect(status.output).toMatch(/^merge {5}runs: /m);
  expect(status.output).toMatch(/^so far {4}0\.\d\d hours$/m);
  const logs = stack.command("logs", "train");
  await during(logs, 200, () => updateFrom(2).test(logs.said()));
  await logs.kill();

  const cancel = await stack.command("cancel").ended;
  expect(cancel.code, cancel.output).toBe(0);
  expect(cancel.output).toMatch(/-train-[0-9a-f]{12}-3 has stopped; pulumi up goes on from its last checkpoint/);
  expect(stack.runningPods()).toEqual([]);
  const ended = await up.ended;
  expect(ended.code).not.toBe(0);
  expect(ended.output).toContain("train was ended: cancelled by npm run cancel");
  expect((await checkpoints()).length).toBeGreaterThan(0);
  figure(`cancelled in ${cancel.seconds.toFixed(0)} s`);
  const kept = await stack.command("logs", "train").ended;
  expect(kept.output).toMatch(/^== .*\.log$/m);
  expect((await stack.command("cancel").ended).output).toContain("no stage is running");
});

test("the next up goes on from there; at the budget's end it is stopped, says so, and is not started again", async () => {
  const { scene } = on;
  const { stack } = scene;
  const [newest] = (await checkpoints()).slice(-1);
  stack.set("budget.maxHours", String((await hoursUsed()) + 75 / 3600));
  up = stack.start("up");
  const pod = await scene.hears(up, "train", updateFrom(1));
  expect(stack.log(pod)).toContain(`resumed from step ${newest} of `);
  const ended = await up.ended;
  expect(ended.code).not.toBe(0);
  expect(ended.output).toContain("train was ended at its deadline (retort:budget, or the stage's own)");
  await pause(1000);
  expect(stack.runningPods()).toEqual([]);
  const refused = await stack.up();
  expect(refused.code).not.toBe(0);
  expect(refused.output).toMatch(
    /train was not started: the run's budget is used up \(0\.\d\d hours\); raise retort:budget/,
  );
  expect(stack.runningPods()).toEqual([]);
});

/** Updates that a checkpoint is there of, in order. */
async function checkpoints(): Promise<number[]> {
  const { scene } = on;
  const names = await scene.machine.store.directories(`${await scene.output(scene.run, "train")}/checkpoints`);
  return names.map((name) => Number(/\d+/.exec(name)?.[0])).sort((a, b) => a - b);
}

/** Hours that the run has used, as the program counts them. */
async function hoursUsed(): Promise<number> {
  const { scene } = on;
  const { store } = scene.machine;
  const directory = `${await scene.output(scene.run, "train")}/attempts`;
  const names = [...(await store.listing(directory)).keys()].sort();
  const texts = await Promise.all(names.map((name) => store.read(`${directory}/${name}`)));
  return spentOn(
    texts.map((text) => JSON.parse(text ?? "")),
    new Date(),
  ).hours;
}
