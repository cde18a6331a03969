/** What a run costs: each figure follows from what is measured, priced and configured, and a cap is a cap. */
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { AwsSettings } from "../../../infra/aws/settings";
import { loadPrices, nodePrice } from "../../../jobs/aws/prices";
import { receiptLines, receiptOf } from "../../../jobs/aws/receipt";
import { estimateLines, estimateRun, withinBudget } from "../../../jobs/estimate";
import { STAGES, type StageName } from "../../../jobs/stages";
import type { Workload } from "../../../jobs/workload";
import { CONFIG } from "../run";

const TABLE = loadPrices(join(__dirname, "../../../configs/prices.yaml"));
const NO_ANSWER = { onDemand: {}, spot: {}, notes: [] };
const settings = (more: object = {}) =>
  AwsSettings.parse({ target: "aws", run: "run.yaml", cluster: { accessCidrs: [] }, ...more });
const price = nodePrice(settings(), TABLE, NO_ANSWER, new Date("2026-07-21"));

/** The hand-run job: 7,426 rows of about 460 tokens, 20,000 test rows, an 8B model. */
const WORKLOAD: Workload = {
  train: { rows: 7426, prompt: 7426 * 700, answer: 7426 * 1100 },
  test: { rows: 20_000, prompt: 20_000 * 700, answer: 20_000 * 1100 },
  modelBytes: 16.06e9,
  assumed: [],
};
const estimate = (more: Partial<Workload> = {}, stages: readonly StageName[] = STAGES) =>
  estimateRun({ config: CONFIG, workload: { ...WORKLOAD, ...more }, price, gpus: 1, nodes: 1, stages });

describe("the estimate", () => {
  test("names every stage, the node's start and end, and what stands beside it", () => {
    expect(estimate().lines.map(({ what }) => what)).toEqual([
      "node starts",
      "train",
      "merge",
      "evaluate",
      "node ends",
      "cluster, network",
    ]);
  });

  test("trains three epochs of the hand-run job in minutes, at the measured 15,623 tokens a second", () => {
    const train = estimate().lines.find(({ what }) => what === "train");
    // 13.4 million letters are 3.0 to 4.5 million tokens an epoch.
    expect(train?.minutes.high).toBeGreaterThan((3 * 4.4e6) / 15_623 / 60);
    expect(train?.minutes.high).toBeLessThan(30);
    expect(train?.minutes.low).toBeLessThan(train?.minutes.high ?? 0);
  });

  test("costs less than the hand-run 34 to 48 USD", () => {
    const { usd } = estimate();
    expect(usd.low).toBeGreaterThan(3);
    expect(usd.high).toBeLessThan(48);
  });

  test("grows with the data and with the model, and never the other way round", () => {
    const twice = { ...WORKLOAD.train, prompt: 2 * WORKLOAD.train.prompt, answer: 2 * WORKLOAD.train.answer };
    expect(estimate({ train: twice }).usd.high).toBeGreaterThan(estimate().usd.high);
    expect(estimate({ modelBytes: 32e9 }).usd.low).toBeGreaterThan(estimate().usd.low);
  });

  test("counts only the stages that are to run, and nothing for none", () => {
    expect(estimate({}, ["evaluate"]).lines.map(({ what }) => what)).toEqual([
      "node starts",
      "evaluate",
      "node ends",
      "cluster, network",
    ]);
    expect(estimateLines(estimate({}, []), price, [])).toEqual(["nothing to run: it costs nothing"]);
  });

  test("says what it rests on", () => {
    const lines = estimateLines(estimate(), price, ["s3://models/x: 8 billion parameters"]);
    expect(lines.at(-2)).toBe("a node costs 7.21 USD an hour (configs/prices.yaml of 2026-07-20)");
    expect(lines.at(-1)).toBe("assumed of s3://models/x: 8 billion parameters");
  });
});

describe("the budget", () => {
  test("refuses what cannot fit, warns of what may not, and says how to allow it", () => {
    const { usd } = estimate();
    expect(() => withinBudget(estimate(), { maxUsd: usd.low / 2 })).toThrow(
      /is not started. To allow it: pulumi config/,
    );
    expect(withinBudget(estimate(), { maxUsd: (usd.low + usd.high) / 2 })).toMatch(/is stopped there/);
    expect(withinBudget(estimate(), { maxUsd: usd.high + 1 })).toBeUndefined();
    expect(() => withinBudget(estimate(), { maxHours: 0.1 })).toThrow(/retort:budget.maxHours is 0.1/);
    expect(withinBudget(estimate(), {})).toBeUndefined();
  });
});

test("the receipt sets what was paid against what was used, for this program's time alone", () => {
  const at = (minute: number) => new Date(Date.UTC(2026, 10, 22, 12, minute));
  const attempt = (from: number, to: number) => [
    {
      attempt: 1,
      job: "j",
      startedAt: at(from).toISOString(),
      endedAt: at(to).toISOString(),
      outcome: "done" as const,
    },
  ];
  const receipt = receiptOf({
    attempts: [attempt(5, 20), attempt(20, 25), attempt(25, 45)],
    machines: [
      { id: "i-1", type: "p5.4xlarge", state: "terminated", launchedAt: at(4), endedAt: at(47) },
      { id: "i-0", type: "p5.4xlarge", state: "terminated", launchedAt: new Date(0), endedAt: at(-60) },
    ],
    since: at(0),
    now: at(50),
    price,
  });
  expect(receipt.usedMinutes).toBeCloseTo(40);
  expect(receipt.paidMinutes).toBeCloseTo(43);
  expect(receiptLines(receipt, estimate())[0]).toBe("40 GPU-node minutes used, 43 paid for");
});
