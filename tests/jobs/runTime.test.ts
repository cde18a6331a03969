/** A Job's run time is that of its pods, whatever they wait for and wherever they go. */
import type { V1Pod } from "@kubernetes/client-node";
import { expect, test } from "vitest";
import { RunTime } from "../../jobs/kubernetes/runTime";

const at = (minute: number) => new Date(Date.UTC(2026, 10, 22, 12, minute));
const pod = (name: string, state: object): V1Pod =>
  ({ metadata: { name }, status: { containerStatuses: [{ state }] } }) as V1Pod;

test("counts pods that run and that ran, not those that wait, and each once", () => {
  const ran = new RunTime();
  ran.note([pod("a", { waiting: { reason: "ContainerCreating" } })], at(5));
  expect(ran.seconds).toBe(0);
  ran.note([pod("a", { running: { startedAt: at(6) } })], at(8));
  ran.note([pod("a", { running: { startedAt: at(6) } })], at(10));
  expect(ran.seconds).toBe(4 * 60);
  const ended = pod("a", { terminated: { exitCode: 143, startedAt: at(6), finishedAt: at(11) } });
  ran.note([ended, pod("b", {})], at(15));
  expect(ran.seconds).toBe(5 * 60);
  ran.note([pod("b", { running: { startedAt: at(20) } })], at(22)); // the first is gone with its node
  expect(ran.seconds).toBe(7 * 60);
});
