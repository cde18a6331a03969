/** `npm run status`, `npm run logs -- train` and `npm run cancel`: a look at a stack's run, and a way to stop it. */
import { join as path } from "node:path";
import { parseArgs } from "node:util";
import { join } from "../artifacts";
import { hoursOf } from "../attempts";
import { costText } from "../budget";
import { jobName } from "../job";
import { eventOf } from "../local/events";
import { progressText } from "../local/progressText";
import type { StagePlan } from "../plan";
import { STAGES, type StageName } from "../stages";
import { reported, VisibleError } from "../visibleError";
import type { Cluster } from "./api";
import { waitingFor } from "./pending";
import { type Run, readRun } from "./run";
import { stackSettings } from "./stack";

const USAGE = "usage: npm run status | npm run logs -- train|merge|evaluate | npm run cancel   [-- --stack NAME]";
const ROOT = path(__dirname, "../..");

async function main(args: readonly string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args: [...args],
    options: { stack: { type: "string" } },
    allowPositionals: true,
  });
  const [command, stage] = positionals;
  const settings = stackSettings(ROOT, values.stack);
  const run = await readRun(settings, ROOT);
  if (command === "status") await status(run, settings.budget);
  else if (command === "logs") await logs(run, stageNamed(stage));
  else if (command === "cancel") await cancel(run);
  else throw new VisibleError(USAGE, 2);
}

async function status({ plans, cluster }: Run, budget: Parameters<typeof costText>[1]): Promise<void> {
  for (const plan of plans) {
    const tries = plan.attempts.length > 1 ? ` · ${plan.attempts.length} attempts` : "";
    const cost = plan.attempts.length > 0 ? ` · ${costText(hoursOf(plan.attempts, new Date()), budget)}` : "";
    console.log(`${plan.spec.name.padEnd(9)} ${await standing(plan, cluster)}${tries}${cost}`);
  }
  const hours = hoursOf(
    plans.flatMap(({ attempts }) => attempts),
    new Date(),
  );
  console.log(`so far    ${costText(hours, budget)}`);
}

/** One line: done, running and how far, waiting and what for, or what `pulumi up` would do. */
async function standing({ spec, state, kept, why }: StagePlan, cluster: Cluster): Promise<string> {
  if (state.done || !kept) return why;
  const name = jobName(spec, kept.attempt);
  const job = await cluster.job(name);
  const pod = (await cluster.podsOf(name)).at(-1);
  const podName = pod?.metadata?.name;
  const waiting = job && waitingFor(job, pod, await cluster.warningsOf(podName ?? name));
  if (waiting) return `waits: ${waiting.reason}`;
  let progress = "running";
  if (podName) {
    const read = AbortSignal.timeout(3000);
    const note = (line: string) => {
      const event = eventOf(line);
      if (event?.event === "progress") progress = progressText(event).trim();
    };
    await cluster.followLog(podName, note, read).catch(() => undefined);
  }
  return progress;
}

/** Follows a running stage; of one that has ended, prints the log that it left in the store. */
async function logs({ plans, cluster, store }: Run, stage: StageName): Promise<void> {
  const plan = plans.find(({ spec }) => spec.name === stage);
  if (!plan) return;
  if (plan.kept && !plan.state.done) {
    const pod = (await cluster.podsOf(jobName(plan.spec, plan.kept.attempt))).at(-1)?.metadata?.name;
    if (pod) return cluster.followLog(pod, (line) => console.log(line), new AbortController().signal);
  }
  const directory = join(plan.spec.output, "logs");
  const names = [...(await store.listing(directory)).keys()];
  if (names.length === 0) throw new VisibleError(`${stage} has left no log at ${directory}`);
  for (const name of names) console.log(`== ${name}\n${await store.read(join(directory, name))}`);
}

/** Ends the stage that runs: it saves, its node is free, and `pulumi up` goes on from there. */
async function cancel({ plans, cluster }: Run): Promise<void> {
  const running = plans.find(({ state, kept }) => kept && !state.done);
  if (!running?.kept) throw new VisibleError("no stage is running");
  const name = jobName(running.spec, running.kept.attempt);
  await cluster.end(name, "cancelled by npm run cancel");
  console.log(`${running.spec.name}: asked to save and stop; waiting for its pods to go`);
  const isOver = (phase: string | undefined) => phase === "Succeeded" || phase === "Failed";
  while ((await cluster.podsOf(name)).some(({ status: state }) => !isOver(state?.phase))) {
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
  console.log(`${running.spec.name} has stopped, and holds no node; pulumi up goes on from its last checkpoint`);
}

function stageNamed(name: string | undefined): StageName {
  const stage = STAGES.find((known) => known === name);
  if (!stage) throw new VisibleError(USAGE, 2);
  return stage;
}

main(process.argv.slice(2)).catch((error: unknown) => {
  process.exitCode = reported(error);
});
