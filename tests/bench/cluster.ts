/** What only a real cluster and the real engine can tell: a preview with nothing to do, and the time between two stages. */
import { spawnSync } from "node:child_process";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { machine, ROOT } from "../cluster/machine";
import { installedPulumi } from "../cluster/pulumiEngine";
import { Stack } from "../cluster/stack";
import { writeRun } from "../cluster/tinyRun";
import { earlierRuns, median, say, seconds } from "./figures";

const TIMES = 5;

/** Runs a whole chain of stages, and leaves nothing of it but its artifacts. */
export async function clusterFigures(scratch: string): Promise<void> {
  const cli = installedPulumi();
  if (!cli) throw new Error("pulumi and its Kubernetes provider must be on the PATH");
  // The engine would look on the network for every provider that the project could use, AWS's too: seconds, if it has none.
  process.env["PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION"] ??= "true";
  const cluster = machine();
  const stack = new Stack("retort-bench", scratch, cluster);
  const name = `bench${Date.now().toString(36)}`;
  try {
    stack.set("run", writeRun(scratch, { name }));
    const { code, output } = await stack.up();
    if (code !== 0) throw new Error(output);
    for (const [before, after] of [
      ["train", "merge"],
      ["merge", "evaluate"],
    ] as const) {
      const gap = said(stack, after).first - said(stack, before).last;
      const own = said(stack, after).first - startOf(stack, after);
      say(`${before}'s end to ${after}'s first line`, gap, { [`${after}'s own start`]: own }, "3 s on a warm node");
    }
    const empty = emptyProgram(scratch, cli);
    const idle = await preview(stack, empty);
    say("preview with nothing to do", idle.own, { "an empty program's": idle.empty }, "5 s");
    await earlierRuns(cluster.store, `s3://${cluster.storage.bucket}`, name, 1000);
    const after = await preview(stack, empty);
    say("the same, after 1,000 runs", after.own, { "an empty program's": after.empty, "with none": idle.own }, "5 s");
  } finally {
    await stack.remove();
  }
}

/** When a stage's pod wrote its first and its last line, in seconds. */
function said(stack: Stack, stage: string): { first: number; last: number } {
  const lines = stack.kubectl("logs", "--timestamps", stack.pods(stage).at(-1) ?? "").split("\n");
  const at = (line = "") => Date.parse(line.slice(0, line.indexOf(" "))) / 1000;
  return { first: at(lines[0]), last: at(lines.at(-1)) };
}

/** When the container of a stage's pod was started, in seconds; Kubernetes knows it to the second. */
function startOf(stack: Stack, stage: string): number {
  const path = "jsonpath={.status.containerStatuses[0].state.terminated.startedAt}";
  return Date.parse(stack.kubectl("get", stack.pods(stage).at(-1) ?? "", "-o", path)) / 1000;
}

/** Both alternate, so that a machine that is busy for a while is so for both. */
async function preview(stack: Stack, empty: () => number): Promise<{ own: number; empty: number }> {
  const times: { own: number; empty: number }[] = [];
  for (let time = 0; time < TIMES; time += 1) {
    const { code, output, seconds: own } = await stack.preview("--expect-no-changes");
    if (code !== 0) throw new Error(output);
    times.push({ own, empty: empty() });
  }
  return { own: median(times.map(({ own }) => own)), empty: median(times.map((time) => time.empty)) };
}

/** A program that makes nothing: what the engine takes alone. */
function emptyProgram(scratch: string, cli: string): () => number {
  const [directory, state] = [join(scratch, "empty"), join(scratch, "empty-state")];
  for (const path of [directory, state]) mkdirSync(path);
  writeFileSync(
    join(directory, "Pulumi.yaml"),
    "name: empty\nruntime: { name: nodejs, options: { typescript: false } }\n",
  );
  writeFileSync(join(directory, "package.json"), '{ "name": "empty", "main": "index.js" }');
  writeFileSync(join(directory, "index.js"), 'require("@pulumi/pulumi");');
  symlinkSync(join(ROOT, "node_modules"), join(directory, "node_modules")); // the engine looks for its SDK there
  const env = {
    ...process.env,
    PULUMI_BACKEND_URL: `file://${state}`,
    PULUMI_CONFIG_PASSPHRASE: "",
    PULUMI_SKIP_UPDATE_CHECK: "true",
  };
  const pulumi = (...args: string[]) => {
    const { status, stderr, stdout } = spawnSync(cli, args, { cwd: directory, env, encoding: "utf8" });
    if (status !== 0) throw new Error(stdout + stderr);
  };
  pulumi("stack", "init", "empty");
  pulumi("up", "--yes", "--skip-preview", "--non-interactive");
  return () => seconds(() => pulumi("preview", "--non-interactive"));
}
