/** A stack without a store: its S3 server in the cluster, and a training that two nodes share, on a real Kubernetes. */
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { type Machine, ROOT } from "./machine";
import { expectDone, figure, updateFrom, withScene } from "./scene";
import { writeRun } from "./tinyRun";

const NAME = "retort-test-own";
const HOME = `${NAME}-store`;
const STORAGE_CLASS = "retort-test";
const GPU = "retort.dev/counted-gpu";

const on = withScene(NAME, (machine) => {
  const storageClass: Record<string, string> = offerVolume(machine) ? { "inCluster.storageClass": STORAGE_CLASS } : {};
  return { "inCluster.sizeGiB": "4", ...storageClass };
});

afterAll(() => {
  kubectl(on.scene.machine, ["delete", "namespace", HOME, "--ignore-not-found"]);
  if (!on.scene.machine.own) return;
  kubectl(on.scene.machine, ["delete", "persistentvolume", STORAGE_CLASS]);
  rmSync(volumeOf(on.scene.machine.own.directory), { recursive: true });
});

const volumeOf = (directory: string): string => join(directory, "volume");

function kubectl({ context, environment }: Machine, args: readonly string[], input?: string): string {
  const { status, stdout, stderr } = spawnSync("kubectl", ["--context", context, ...args], {
    encoding: "utf8",
    env: environment,
    ...(input !== undefined && { input }),
  });
  if (status !== 0) throw new Error(`kubectl ${args.join(" ")}: ${stderr}`);
  return stdout;
}

/** The tests' own cluster makes no volumes by itself: gives it one. Another cluster has a default class. */
function offerVolume(machine: Machine): boolean {
  if (!machine.own) return false;
  const path = volumeOf(machine.own.directory);
  mkdirSync(path, { recursive: true });
  spawnSync("chmod", ["777", path]);
  const volume = {
    apiVersion: "v1",
    kind: "PersistentVolume",
    metadata: { name: STORAGE_CLASS },
    spec: {
      capacity: { storage: "4Gi" },
      accessModes: ["ReadWriteOnce"],
      storageClassName: STORAGE_CLASS,
      persistentVolumeReclaimPolicy: "Retain",
      hostPath: { path },
    },
  };
  kubectl(machine, ["apply", "-f", "-"], JSON.stringify(volume));
  return true;
}

/** Resources that the tests' own node only counts, as a device plugin's would be: the scheduler gives them out. */
function offerGpus(machine: Machine): boolean {
  if (!machine.own) return false;
  const [node] = kubectl(machine, ["get", "nodes", "-o", "name"]).trim().split("\n");
  const add = ["capacity", "allocatable"].map((kind) => ({
    op: "add",
    path: `/status/${kind}/${GPU.replace("/", "~1")}`,
    value: "2",
  }));
  kubectl(machine, ["patch", node ?? "", "--subresource=status", "--type=json", "-p", JSON.stringify(add)]);
  return true;
}

const inHome = (...args: string[]) => kubectl(on.scene.machine, ["-n", HOME, ...args]);

test("without a store, a preview makes nothing, and up brings one up: a training that two nodes share outlives the loss of either", async () => {
  const { stack, directory, run } = on.scene;
  stack.set("run", writeRun(directory, { name: run, maxEpochs: 1 }));
  stack.set("gpu.nodes", "2");
  if (offerGpus(on.scene.machine)) {
    stack.set("gpu.resource", GPU);
    stack.set("gpu.count", "1");
  }
  stack.set("pod.cpus", "0.5");
  const preview = await stack.preview();
  expectDone(preview);
  expect(preview.output).toContain("the store in the cluster is not there");
  expect(preview.output).toContain("train runs: it has not run before");
  expect(stack.isThere()).toBe(false);

  const up = stack.start("up");
  await on.scene.hears(up, "train", updateFrom(3));
  const workers = stack.pods("train");
  expect(workers).toHaveLength(2);
  stack.kubectl("delete", "--wait=false", workers[1] ?? "");
  const ended = await up.ended;
  expectDone(ended);
  expect(stack.engine.output("passRates")).toEqual({ base: expect.any(Number), merged: expect.any(Number) });
  figure(`the whole chain on two nodes and a store of its own, with a lost worker: ${ended.seconds.toFixed(0)} s`);
  const log = await stack.command("logs", "train").ended;
  expect(log.output).toMatch(/resumed from step \d+ of/);
});

test("a second up starts no pod and touches nothing", async () => {
  const { stack } = on.scene;
  stack.kubectl("wait", "--for=condition=complete", "jobs", "--all", "--timeout=60s");
  const before = [stack.pods(), stack.versions(), inHome("get", "pods", "-o", "name")];
  const preview = stack.engine.isReal ? await stack.preview("--expect-no-changes") : await stack.preview();
  expectDone(preview);
  const up = await stack.up();
  expectDone(up);
  expect(up.output).toMatch(/evaluate done on .*: nothing to do/);
  expect([stack.pods(), stack.versions(), inHome("get", "pods", "-o", "name")]).toEqual(before);
});

test("status and report tell of the run from outside the cluster", async () => {
  const { stack, run } = on.scene;
  const { output, code } = await stack.command("status").ended;
  expect(code, output).toBe(0);
  expect(output).toMatch(/^train {5}done on /m);
  const report = await stack.command("report").ended;
  expect(report.output.trim()).toBe(join(ROOT, "runs", run, "report.html"));
  expect(readFileSync(report.output.trim(), "utf8")).toMatch(/<html/i);
  rmSync(join(ROOT, "runs", run), { recursive: true });
});

test("destroy leaves the volume alone; the next up finds all that was done in it, and runs nothing", async () => {
  const { stack } = on.scene;
  expectDone(await stack.start("destroy").ended);
  expect(stack.isThere()).toBe(false);
  const left = inHome("get", "all,secrets,networkpolicies,persistentvolumeclaims", "-o", "name");
  expect(left.trim().split("\n")).toEqual(["persistentvolumeclaim/retort-store"]);
  const up = await stack.up();
  expectDone(up);
  for (const stage of ["train", "merge", "evaluate"]) {
    expect(up.output).toMatch(new RegExp(`${stage} done on .*: nothing to do`));
  }
  expect(stack.pods()).toEqual([]);
  figure(`found again after destroy: ${up.seconds.toFixed(0)} s`);
});
