/** `npm run status`, `logs -- train`, `report` and `cancel`: looks at a stack's run, and a way to stop it. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join as path } from "node:path";
import { parseArgs } from "node:util";
import { ARTIFACTS, join } from "../artifacts";
import { spentOn } from "../attempts";
import { costText } from "../budget";
import { jobName } from "../job";
import { eventOf } from "../local/events";
import { progressText } from "../local/progressText";
import type { StagePlan } from "../plan";
import { STAGES, type StageName } from "../stages";
import { reported, VisibleError } from "../visibleError";
import type { Cluster } from "./api";
import { cancel } from "./cancel";
import { type Place, placeOf, plansOf } from "./place";
import { inWords } from "./refusal";
import { openStack } from "./stack";
import { waitingOf } from "./waiting";

const USAGE =
  "usage: npm run status | npm run logs -- train|merge|evaluate | npm run report | npm run cancel   [-- --stack NAME]";
const COMMANDS = ["status", "logs", "report", "cancel"];
const ROOT = path(__dirname, "../..");

async function main(args: readonly string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args: [...args],
    options: { stack: { type: "string" } },
    allowPositionals: true,
  });
  const [command, stage] = positionals;
  if (command === undefined || !COMMANDS.includes(command)) throw new VisibleError(USAGE, 2);
  const asked = command === "logs" ? stageNamed(stage) : undefined;
  const place = await placeOf(openStack(ROOT, values.stack), ROOT);
  if (command === "cancel") await cancel(place);
  else if (command === "report") await report(place);
  else if (asked) await logs(asked, place);
  else await status(place);
}

async function status(place: Place): Promise<void> {
  const [plans, budget] = await Promise.all([plansOf(place, ROOT), place.budget()]);
  for (const plan of plans) {
    const tries = plan.attempts.length > 1 ? ` · ${plan.attempts.length} attempts` : "";
    const cost = plan.attempts.length > 0 ? ` · ${costText(spentOn(plan.attempts, new Date()), budget)}` : "";
    console.log(`${plan.spec.name.padEnd(9)} ${await standing(plan, place.cluster)}${tries}${cost}`);
  }
  const spent = spentOn(
    plans.flatMap(({ attempts }) => attempts),
    new Date(),
  );
  console.log(`so far    ${costText(spent, budget)}`);
  const capacity = await place.gpuCapacity?.();
  if (capacity) console.log(`GPU now   ${capacity.join(", ") || "none"}`);
}

/** One line: done, running and how far, waiting and what for, or what `pulumi up` would do. */
async function standing({ spec, state, kept, why }: StagePlan, cluster: Cluster): Promise<string> {
  if (state.done || !kept) return why;
  const name = jobName(spec, kept.attempt);
  const job = await cluster.job(name);
  const pod = (await cluster.podsOf(name)).at(-1);
  const podName = pod?.metadata?.name;
  const waiting = job && (await waitingOf(cluster, job, pod));
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
async function logs(stage: StageName, place: Place): Promise<void> {
  const { cluster, store } = place;
  const plan = (await plansOf(place, ROOT)).find(({ spec }) => spec.name === stage);
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

/** Copies the report of the run's evaluation to this machine, wherever the store is, and says where it lies. */
async function report(place: Place): Promise<void> {
  const plan = (await plansOf(place, ROOT)).find(({ spec }) => spec.name === "evaluate");
  const page = plan?.state.done && (await place.store.read(join(plan.spec.output, ARTIFACTS.evaluate.page)));
  if (!page) throw new VisibleError(`there is no report yet: evaluate ${plan?.why}`);
  const directory = path(ROOT, "runs", plan.spec.run);
  mkdirSync(directory, { recursive: true });
  const file = path(directory, ARTIFACTS.evaluate.page);
  writeFileSync(file, page);
  console.log(file);
}

function stageNamed(name: string | undefined): StageName {
  const stage = STAGES.find((known) => known === name);
  if (!stage) throw new VisibleError(USAGE, 2);
  return stage;
}

main(process.argv.slice(2)).catch((error: unknown) => {
  process.exitCode = reported(inWords(error));
});
