/** What a run costs: each figure follows from what is measured, priced and configured, and a cap is a cap. */
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { AwsSettings } from "../../../infra/aws/settings";
import type { Attempt } from "../../../jobs/attempts";
import { loadPrices, nodePrice } from "../../../jobs/aws/prices";
import { receiptLines, receiptOf } from "../../../jobs/aws/receipt";
import { estimateRun } from "../../../jobs/estimate";
import { estimateLines, withinBudget } from "../../../jobs/estimateText";
import type { Measured } from "../../../jobs/measured";
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
  estimateRun({
    config: CONFIG,
    workload: { ...WORKLOAD, ...more },
    price,
    gpus: 1,
    nodes: 1,
    startsNodes: true,
    stages,
  });

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

  test("trains three epochs of the hand-run job in minutes, at the measured 14,418 tokens a second", () => {
    const train = estimate().lines.find(({ what }) => what === "train");
    // 13.4 million letters are 3.0 to 4.5 million tokens an epoch.
    expect(train?.minutes.high).toBeGreaterThan((3 * 4.4e6) / 14_418 / 60);
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
    expect(lines.find((text) => text.startsWith("evaluate"))).toMatch(/ USD {3}assumed: 2,500 to 5,500 tokens/);
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

describe("an earlier run", () => {
  const before: Measured = {
    source: "run first of 2026-11-20",
    train: { tokensPerSecond: 10_000, loadingMinutes: 4 },
    merge: { minutes: 6 },
    evaluate: { tokensPerSecond: 4_000, tokensPerRow: 300, loadingMinutes: 8 },
  };
  const after = estimateRun({
    config: CONFIG,
    workload: WORKLOAD,
    price,
    gpus: 1,
    nodes: 1,
    startsNodes: true,
    stages: STAGES,
    measured: before,
  });
  const line = (estimated: typeof after, what: string) => estimated.lines.find((one) => one.what === what);

  test("is what the estimate of the stages then rests on, and each line says so", () => {
    const basis = Object.fromEntries(after.lines.map((one) => [one.what, one.basis]));
    const measured = "measured: run first of 2026-11-20";
    expect(basis).toMatchObject({ train: measured, merge: measured, evaluate: measured, "node starts": "assumed" });
    // 2 × 20,000 answers of 300 tokens at 4,000 a second are 50 minutes, and 8 of loading.
    expect(line(after, "evaluate")?.minutes.low).toBeCloseTo(58 * 0.85);
    expect(line(after, "evaluate")?.minutes.high).toBeCloseTo(58 * 1.2);
    expect(line(after, "merge")?.minutes.high).toBeCloseTo(7.2);
  });

  test("makes the range of evaluation narrower than ours is without one", () => {
    const width = (estimated: typeof after) => {
      const { low = 0, high = 0 } = line(estimated, "evaluate")?.minutes ?? {};
      return high / low;
    };
    expect(width(after)).toBeLessThan(width(estimate()) / 2);
    expect(line(estimate(), "evaluate")?.basis).toMatch(/^assumed: 2,500 to 5,500 tokens/);
    expect(line(estimate(), "train")?.basis).toMatch(/^tokens\/s measured on an H100/);
  });
});

describe("the receipt", () => {
  const at = (minute: number) => new Date(Date.UTC(2026, 10, 22, 12, minute));
  const attempt = (from: number, to: number, ranSeconds?: number): Attempt => ({
    ...{ attempt: 1, job: "j", startedAt: at(from).toISOString(), endedAt: at(to).toISOString(), outcome: "done" },
    ...(ranSeconds !== undefined && { ranSeconds }),
  });
  const machine = (from: Date, to: Date) =>
    ({ id: "i-1", type: "p5.4xlarge", state: "terminated", launchedAt: from, endedAt: to }) as const;
  const times = { since: at(0), now: at(60), price };

  test("sets what was paid against what was used, stage by stage, for this program's time alone", () => {
    const receipt = receiptOf({
      ...times,
      stages: [
        { name: "train", attempts: [attempt(-90, -60), attempt(5, 20)] },
        { name: "merge", attempts: [attempt(20, 25)] },
        { name: "evaluate", attempts: [attempt(25, 45)] },
      ],
      machines: [machine(at(4), at(48)), machine(new Date(0), at(-60))],
    });
    expect(receipt.paidMinutes).toBeCloseTo(44);
    expect(receiptLines(receipt, estimate())).toEqual([
      expect.stringMatching(/^train +15 min; the estimate was \d+ to \d+$/),
      expect.stringMatching(/^merge +5 min; the estimate was 3 to 10$/),
      expect.stringMatching(/^evaluate +20 min; the estimate was \d+ to \d+$/),
      "40 GPU-node minutes used, 44 paid for (1.10 for each)",
      // 44 minutes of a node at 7.21 an hour, and an hour of what stands beside it at 0.26.
      expect.stringMatching(/^about 5\.55 USD; the estimate was /),
    ]);
  });

  test("counts what pods ran, not what they waited: a run without capacity has used nothing", () => {
    const receipt = receiptOf({ ...times, stages: [{ name: "train", attempts: [attempt(5, 25, 0)] }], machines: [] });
    expect(receipt).toMatchObject({ stages: [], usedMinutes: 0, paidMinutes: undefined });
    expect(receiptLines(receipt, estimate())).toEqual([]);
  });

  test("counts two nodes twice, and of an attempt that was attached to only what this program saw", () => {
    const used = (one: Attempt) => receiptOf({ ...times, stages: [{ name: "train", attempts: [one] }], machines: [] });
    expect(used(attempt(5, 25, 2400)).usedMinutes).toBeCloseTo(40);
    expect(used(attempt(-30, 10, 2400)).usedMinutes).toBeCloseTo(10);
  });
});
