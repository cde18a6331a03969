/** The stacks that come with the project: each is one that the program takes as it is. */
import { readdirSync } from "node:fs";
import { expect, test } from "vitest";
import { AwsSettings } from "../../infra/aws/settings";
import { parseTarget, Settings } from "../../infra/settings";
import { stackFile } from "../../jobs/stackFile";
import { ROOT } from "./stack";

const STACKS = readdirSync(ROOT).flatMap((file) => /^Pulumi\.(dev|prod)\.yaml$/.exec(file)?.[1] ?? []);

test("there is one for trying and one for real runs", () => {
  expect(STACKS.sort()).toEqual(["dev", "prod"]);
});

test.each(STACKS)("%s: its settings are valid, its run is there, and its costs are capped", (stack) => {
  const read = stackFile(ROOT, stack);
  const settings = parseTarget(read, ROOT, read("target") === "aws" ? AwsSettings : Settings);
  expect(settings.run).toMatch(/configs\/\w+\.yaml$/);
  expect(settings.budget.maxUsd).toBeGreaterThan(0);
  expect(settings.budget.maxHours).toBeGreaterThan(0);
});

test("a shipped stack is open to nobody: its range of addresses is for documents, or none", () => {
  const ranges = STACKS.flatMap(
    (stack) => (stackFile(ROOT, stack)("cluster") as { accessCidrs: string[] }).accessCidrs,
  );
  expect(ranges).toEqual(["203.0.113.7/32"]);
});
