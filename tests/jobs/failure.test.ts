/** What a person is told when a stage fails. */
import type { V1Job, V1Pod } from "@kubernetes/client-node";
import { expect, test } from "vitest";
import { failureOf } from "../../jobs/kubernetes/failure";
import { stageSpecs } from "../../jobs/stages";
import { CONFIG, SOURCES } from "./run";

const [, merge] = stageSpecs(CONFIG, SOURCES, "s3://b/runs");
const failed = (reason: string, annotations = {}): V1Job => ({
  metadata: { annotations },
  status: { conditions: [{ type: "Failed", status: "True", reason, message: `because of ${reason}` }] },
});
const ended = (exitCode: number, reason: string, message: string): V1Pod => ({
  status: {
    containerStatuses: [
      {
        name: "stage",
        image: "",
        imageID: "",
        ready: false,
        restartCount: 0,
        state: { terminated: { exitCode, reason, message } },
      },
    ],
  },
});

test("the user's mistake: its own words, and that it is for the user to mend", () => {
  const words =
    'loading\nerror: no such model\n{"event":"failed","stage":"merge","message":"no such model","exitCode":2}\n';
  expect(failureOf(merge, failed("PodFailurePolicy"), [ended(2, "Error", words)], [])).toBe(
    "merge failed with exit code 2\n    loading\n    error: no such model\n" +
      "this is for you to mend; then pulumi up again: only what failed runs again\nits whole log: npm run logs -- merge",
  );
});

test("out of memory names the setting to raise", () => {
  expect(failureOf(merge, failed("BackoffLimitExceeded"), [ended(137, "OOMKilled", "")], [])).toContain(
    "raise retort:pod.memoryGiB",
  );
});

test("a deadline is told from a failure, with what the stage had said last", () => {
  const message = failureOf(merge, failed("DeadlineExceeded"), [], ["tensor 1", "tensor 2"]);
  expect(message).toMatch(/^merge was ended at its deadline/);
  expect(message).toContain("    tensor 1\n    tensor 2\n");
});

test("a Job that was ended on purpose says why", () => {
  const job = failed("DeadlineExceeded", { "retort.dev/ended": "cancelled by npm run cancel" });
  expect(failureOf(merge, job, [], [])).toBe("merge was ended: cancelled by npm run cancel");
});

test("only the last fifteen lines are shown", () => {
  const lines = Array.from({ length: 40 }, (_, index) => `line ${index}`).join("\n");
  const message = failureOf(merge, failed("BackoffLimitExceeded"), [ended(1, "Error", lines)], []);
  expect(message).toContain("    line 25\n");
  expect(message).not.toContain("line 24");
});
