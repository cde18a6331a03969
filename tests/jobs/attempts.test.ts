/** How long the attempts at a stage have held a node, watched or not. */
import type { V1Job } from "@kubernetes/client-node";
import { expect, test } from "vitest";
import { endedUnseen, spentOn } from "../../jobs/attempts";

const at = (hour: number) => new Date(Date.UTC(2026, 0, 1, hour)).toISOString();
const unfinished = { done: false as const, why: "has not run" };
const job = (name: string, condition?: "Complete" | "Failed", hour = 0): V1Job => ({
  metadata: { name },
  status: {
    conditions: condition ? [{ type: condition, status: "True", lastTransitionTime: new Date(at(hour)) }] : [],
  },
});

test("an attempt that nobody saw end counts up to the next one, the last up to now", () => {
  const attempts = [
    { attempt: 1, job: "a-1", startedAt: at(0) },
    { attempt: 2, job: "a-2", startedAt: at(2), endedAt: at(3), outcome: "failed" as const },
    { attempt: 3, job: "a-3", startedAt: at(5) },
  ];
  expect(spentOn(attempts, new Date(at(6)))).toEqual({ hours: 4, nodeHours: 4 });
});

test("an hour of two nodes is paid for twice", () => {
  const spread = { attempt: 1, job: "a-1", startedAt: at(0), endedAt: at(3), nodes: 2 };
  const alone = { attempt: 1, job: "b-1", startedAt: at(3), endedAt: at(4), nodes: 1 };
  expect(spentOn([spread, alone], new Date(at(9)))).toEqual({ hours: 4, nodeHours: 7 });
});

test("the end of an attempt that nobody saw is its Job's, else its manifest's", () => {
  const attempts = [
    { attempt: 1, job: "a-1", startedAt: at(0) },
    { attempt: 2, job: "a-2", startedAt: at(2) },
  ];
  const ends = (live: V1Job[], finishedAt?: string) => {
    const manifest = { stage: "train", fingerprint: "f", outputs: [], startedAt: at(0), metrics: {} };
    const state = finishedAt ? { done: true as const, manifest: { ...manifest, finishedAt } } : unfinished;
    return endedUnseen(attempts, live, state).map(({ endedAt }) => endedAt);
  };
  expect(ends([job("a-1", "Failed", 1), job("a-2")])).toEqual([at(1), undefined]);
  expect(ends([job("a-2", "Complete", 4)], at(3))).toEqual([undefined, at(4)]);
  expect(ends([], at(3))).toEqual([undefined, at(3)]);
  expect(ends([])).toEqual([undefined, undefined]);
});

test("an end that was seen stands, whatever its Job says", () => {
  const seen = { attempt: 1, job: "a-1", startedAt: at(0), endedAt: at(1) };
  expect(endedUnseen([seen], [job("a-1", "Failed", 5)], unfinished)).toEqual([seen]);
});
