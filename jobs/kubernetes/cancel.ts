/** `npm run cancel`: ends whatever stage of a stack runs, whichever config it came from, and looks whether its GPU goes. */
import { untilGone } from "../aws/gpuNodes";
import { LABELS } from "../job";
import { isUnderWay } from "../plan";
import { VisibleError } from "../visibleError";
import type { Cluster } from "./api";
import { isOver } from "./failure";
import type { Place } from "./place";

export interface Cancelling {
  readonly say: (text: string) => void;
  /** How long and how often to look whether the GPU is gone. */
  readonly minutes: number;
  readonly pollSeconds: number;
}

/** A stage has two minutes to save; its node then stands empty for one more before it is given back, which takes some. */
const USUAL: Cancelling = { say: console.log, minutes: 10, pollSeconds: 10 };

/** Ends running stages and waits for their pods, then for the GPU. Throws VisibleError if GPU capacity stays. */
export async function cancel({ cluster, gpuCapacity }: Place, { say, ...patience }: Cancelling = USUAL): Promise<void> {
  // By what runs, not by what the config says now: that may have been changed since.
  const jobs = (await cluster.jobs({ [LABELS.app]: "retort" })).filter(isUnderWay);
  const running = jobs.flatMap(({ metadata }) => (metadata?.name ? [metadata.name] : []));
  if (running.length === 0) say("no stage is running");
  for (const name of running) {
    await cluster.end(name, "cancelled by npm run cancel");
    say(`${name}: asked to save and stop; waiting for its pods to go`);
  }
  for (const name of running) {
    await podsGone(cluster, name, patience);
    say(`${name} has stopped; pulumi up goes on from its last checkpoint`);
  }
  if (!gpuCapacity) return;
  const left = await untilGone({ look: gpuCapacity, say, ...patience });
  if (left.length === 0) return say("no GPU capacity is left: no such node in the cluster, no such instance in EC2");
  throw new VisibleError(
    `GPU capacity is still there after ${patience.minutes} minutes, and is billed: ${left.join(", ")}\n` +
      "look again with npm run teardown:check -- --gpu; kubectl delete nodeclaims --all ends it",
  );
}

async function podsGone(
  cluster: Cluster,
  job: string,
  { minutes, pollSeconds }: Omit<Cancelling, "say">,
): Promise<void> {
  const deadline = Date.now() + minutes * 60_000;
  while (!(await cluster.podsOf(job)).every(isOver)) {
    if (Date.now() >= deadline) throw new VisibleError(`${job}: its pods do not go: kubectl describe them`);
    await new Promise((resolve) => setTimeout(resolve, Math.min(1, pollSeconds) * 1000));
  }
}
