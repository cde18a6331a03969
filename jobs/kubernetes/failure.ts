/** What to tell a person about a failed stage: why it ended, its last words, and what to do now. Pure. */
import type { V1ContainerStateTerminated, V1Job, V1Pod } from "@kubernetes/client-node";
import { eventOf } from "../local/events";
import type { StageSpec } from "../stages";
import { ENDED } from "./api";

const LAST_WORDS_LINES = 15;

export function conditionOf(job: V1Job, type: "Complete" | "Failed") {
  return job.status?.conditions?.find((condition) => condition.type === type && condition.status === "True");
}

/** How a pod's stage ended, or undefined if it has not. */
export const endOf = (pod: V1Pod | undefined): V1ContainerStateTerminated | undefined =>
  pod?.status?.containerStatuses?.[0]?.state?.terminated;

/** Whether a pod has let go of its node. */
export const isOver = ({ status }: V1Pod): boolean => status?.phase === "Succeeded" || status?.phase === "Failed";

/** The message of a stage that failed: several lines, the last of them what to do. */
export function failureOf(spec: StageSpec, job: V1Job, pods: readonly V1Pod[], said: readonly string[]): string {
  const end = pods.map(endOf).findLast((terminated) => terminated && terminated.exitCode !== 0);
  const words = lastWords(end?.message?.split("\n") ?? said);
  const ended = job.metadata?.annotations?.[ENDED];
  const reason = conditionOf(job, "Failed")?.reason;
  const logs = `its whole log: npm run logs -- ${spec.name}`;
  if (ended) return `${spec.name} was ended: ${ended}`;
  if (reason === "DeadlineExceeded") {
    return `${spec.name} was ended at its deadline (retort:budget, or the stage's own)\n${words}${logs}`;
  }
  if (!end) return `${spec.name} failed: ${conditionOf(job, "Failed")?.message ?? "its pod is gone"}\n${words}${logs}`;
  return `${spec.name} failed with exit code ${end.exitCode}${end.reason === "Error" ? "" : ` (${end.reason})`}\n${words}${advice(end)}\n${logs}`;
}

function advice({ exitCode, reason }: V1ContainerStateTerminated): string {
  if (exitCode === 2) return "this is for you to mend; then pulumi up again: only what failed runs again";
  if (reason === "OOMKilled") return "out of memory: raise retort:pod.memoryGiB, then pulumi up again";
  return "pulumi up again tries this stage once more, from where it had saved";
}

/** The end of what a stage said to people. */
export function lastWords(lines: readonly string[]): string {
  const said = lines.filter((line) => line.trim() && !eventOf(line)).slice(-LAST_WORDS_LINES);
  return said.map((line) => `    ${line}\n`).join("");
}
