/** `pulumi up` of the real program on a real Kubernetes, with the real images: a whole run, killed and disturbed on its way. */
import { expect, test } from "vitest";
import type { Running } from "./engine";
import type { OwnMachine } from "./machine";
import { during, expectDone, figure, pause, updateFrom, withScene } from "./scene";
import { writeRun } from "./tinyRun";

const on = withScene("retort-test-chain");

test("up that is killed in mid-training and run again attaches; a lost pod and a restarted kubelet cost no update", async () => {
  const { scene } = on;
  const { stack, run } = scene;
  stack.set("run", writeRun(scene.directory, { name: run }));
  const first = stack.start("up");
  const pod = await scene.hears(first, "train", updateFrom(3));
  await first.kill();
  stack.engine.unlock();
  const second = stack.start("up");
  await scene.hears(second, "train", updateFrom(5));
  expect(stack.pods("train")).toEqual([pod]);
  scene.machine.own?.stop("kubelet");
  scene.machine.own?.start("kubelet");
  stack.kubectl("delete", "--wait=false", pod);
  const ended = await second.ended;
  expectDone(ended);
  expect(ended.output).toContain("train is running (attempt 1): attaches to it");
  expect(ended.output).toContain("another one goes on");
  const { resumedFrom, history } = await scene.summary(run);
  expect(resumedFrom.length).toBe(1);
  expect(history.map(({ step }) => step)).toEqual(history.map((_, index) => index + 1));
  figure(`the whole chain, with a kill and a lost pod: ${ended.seconds.toFixed(0)} s after the second up`);
  figure(`resumed from step ${resumedFrom.join(", ")} of ${history.length}`);
  expect(stack.engine.output("passRates")).toEqual({ base: expect.any(Number), merged: expect.any(Number) });
  const report = JSON.parse((await scene.read(run, "evaluate", "report.json")) ?? "");
  expect(report).toMatchObject({ base: { total: 4 }, merged: { total: 4 } });
  expect(stack.engine.output("report")).toBe(`${await scene.output(run, "evaluate")}/report.html`);
});

test("every stage's log is kept with its artifacts: of a pod that was lost, too", async () => {
  const { scene } = on;
  for (const [stage, pods] of [
    ["train", 2],
    ["merge", 1],
    ["evaluate", 1],
  ] as const) {
    const logs = await scene.machine.store.listing(`${await scene.output(scene.run, stage)}/logs`);
    expect(
      [...logs.values()].filter((bytes) => bytes > 100),
      stage,
    ).toHaveLength(pods);
  }
});

test("a second up changes nothing and starts no pod; the preview is empty, and quick", async () => {
  const { stack } = on.scene;
  // The program knows that a stage is done some seconds before Kubernetes says so of its Job.
  stack.kubectl("wait", "--for=condition=complete", "jobs", "--all", "--timeout=60s");
  const [pods, versions] = [stack.pods(), stack.versions()];
  expect(Object.keys(versions).length).toBeGreaterThan(10);
  const preview = stack.engine.isReal ? await stack.preview("--expect-no-changes") : await stack.preview();
  expectDone(preview);
  for (const stage of ["train", "merge", "evaluate"]) {
    expect(preview.output).toMatch(new RegExp(`${stage} done on .*: nothing to do`));
  }
  const up = await stack.up();
  expectDone(up);
  expect(stack.pods()).toEqual(pods);
  expect(stack.versions()).toEqual(versions);
  figure(`no-op preview: ${preview.seconds.toFixed(1)} s; no-op up: ${up.seconds.toFixed(1)} s`);
  if (!stack.engine.isReal) return;
  expect(up.output).toContain("unchanged");
  expect(up.output).not.toMatch(/\d+ (created|updated|replaced|deleted)/);
  expectDone(await stack.start("refresh").ended);
  expectDone(await stack.preview("--expect-no-changes"));
});

test("the store's secret is in its Secret, and in no other object, log, artifact or output", async () => {
  const { scene } = on;
  const { stack, machine } = scene;
  const { secretAccessKey, bucket } = machine.storage;
  const words = [secretAccessKey, Buffer.from(secretAccessKey).toString("base64").replace(/=+$/, "")];
  const shown = (text: string | undefined) => words.some((word) => text?.includes(word));
  expect(shown(stack.kubectl("get", "secrets", "-o", "yaml"))).toBe(true);
  const kinds = "namespaces,all,configmaps,serviceaccounts,networkpolicies,events";
  const objects = stack.kubectl("get", kinds, "-o", "yaml");
  expect(objects).toContain("kind: Job");
  expect(shown(objects)).toBe(false);
  for (const pod of [...stack.pods(), "deployment/tensorboard"]) expect(shown(stack.log(pod)), pod).toBe(false);
  const base = `s3://${bucket}/runs/${scene.run}`;
  const small = [...(await machine.store.listing(base))].filter(([, bytes]) => bytes < 4_000_000);
  expect(small.length).toBeGreaterThan(15);
  for (const [name] of small) expect(shown(await machine.store.read(`${base}/${name}`)), name).toBe(false);
});

test("a changed evaluation setting is planned as such, and runs evaluation alone", async () => {
  const { scene } = on;
  const { stack } = scene;
  const [train, merge, versions] = [stack.pods("train"), stack.pods("merge"), stack.versions()];
  writeRun(scene.directory, { name: scene.run, maxNewTokens: 24 });
  const preview = await stack.preview();
  expect(preview.output).toContain("evaluate runs: evaluate.maxNewTokens 32 → 24");
  expect(stack.versions()).toEqual(versions);
  const up = await stack.up();
  expectDone(up);
  expect([stack.pods("train"), stack.pods("merge")]).toEqual([train, merge]);
  figure(`evaluation alone: ${up.seconds.toFixed(0)} s`);
});

test("the same training, uninterrupted, ends at the same loss; a failing merge says so, and alone is tried again; a store that is gone in mid-upload costs nothing", async () => {
  const { scene } = on;
  const { stack, machine } = scene;
  const other = `${scene.run}-b`;
  stack.set("run", writeRun(scene.directory, { name: other }));
  const failing = stack.start("up");
  const { uri, text } = await spoilAdapter(failing, other);
  const failed = await failing.ended;
  expect(failed.code).not.toBe(0);
  expect(failed.output).toMatch(/merge failed with exit code 1/);
  expect(failed.output).toContain("error: adapter/adapter_config.json is not what train left: it was damaged since");
  expect(failed.output).toContain("pulumi up again tries this stage once more");
  expect(stack.runningPods()).toEqual([]);
  const [whole, disturbed] = [await scene.summary(other), await scene.summary(scene.run)];
  expect(whole.resumedFrom).toEqual([]);
  expect(whole.history.at(-1)?.loss).toBe(disturbed.history.at(-1)?.loss);
  figure(`last training loss: ${whole.history.at(-1)?.loss}, interrupted or not`);

  await machine.store.write(uri, text);
  const train = stack.pods("train");
  const again = stack.start("up");
  if (machine.own) await interruptUpload(again, machine.own);
  const ended = await again.ended;
  expectDone(ended);
  expect(ended.output).toContain("merge runs again: attempt 1 failed");
  expect(stack.pods("train")).toEqual(train);
  figure(`the merge took ${stack.pods("merge").length} pods`);
  const output = await scene.output(other, "merge");
  const manifest = JSON.parse((await machine.store.read(`${output}/manifest.json`)) ?? "");
  const outputs = manifest.outputs as { path: string; sha256: string }[];
  expect(outputs.map(({ path }) => path)).toContain("model/model.safetensors");
  for (const { path, sha256 } of outputs) expect(await machine.store.sha256(`${output}/${path}`), path).toBe(sha256);
});

/** Puts garbage of the same size into the adapter's config as soon as train is done. Returns what was there. */
function spoilAdapter(running: Running, run: string): Promise<{ uri: string; text: string }> {
  const { scene } = on;
  return during(running, 100, async () => {
    const text = await scene.read(run, "train", "adapter/adapter_config.json");
    if (!text) return undefined;
    const uri = `${await scene.output(run, "train")}/adapter/adapter_config.json`;
    await scene.machine.store.write(uri, "x".repeat(text.length));
    return { uri, text };
  });
}

/** Takes the store away for some seconds while the merged model is on its way into it. */
async function interruptUpload(running: Running, own: OwnMachine): Promise<void> {
  await during(running, 20, () => own.isUploading());
  own.stop("store");
  await pause(4000);
  own.start("store");
  figure("the store was gone for 4 s while the merged model was uploaded");
}

test("destroy leaves data and results, and nothing else", async () => {
  const { scene } = on;
  const ended = await scene.stack.start("destroy").ended;
  expectDone(ended);
  expect(scene.stack.isThere()).toBe(false);
  const { store, storage } = scene.machine;
  expect(await store.directories(`s3://${storage.bucket}/runs`)).toEqual(
    expect.arrayContaining([scene.run, `${scene.run}-b`]),
  );
  expect((await store.listing(`s3://${storage.bucket}/data`)).size).toBeGreaterThanOrEqual(2);
  figure(`destroy: ${ended.seconds.toFixed(0)} s`);
});
