/** Two runs agree if nothing that they came to differs; whatever differs is named, and nothing else. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { localStore, type Store } from "../../../jobs/artifacts";
import { causesOf } from "../../../jobs/reproduce/causes";
import { type Comparison, compareResults } from "../../../jobs/reproduce/compare";
import { type FinishedRun, finishedRun } from "../../../jobs/reproduce/finishedRun";
import { type Results, resultsOf } from "../../../jobs/reproduce/results";
import { CONFIG, SOURCES } from "../run";
import { filesOf, OUTCOME, type Outcome } from "./writeRun";

const memory = (files: ReadonlyMap<string, string>): Store => ({
  read: async (uri) => files.get(uri.slice("/runs/".length)),
  listing: async (uri) => {
    const below = `${uri.slice("/runs/".length)}/`;
    const found = [...files].filter(([path]) => path.startsWith(below));
    return new Map(found.map(([path, text]) => [path.slice(below.length), text.length]));
  },
});

async function madeRun(outcome: Outcome, more = new Map<string, string>()): Promise<[FinishedRun, Results]> {
  const store = memory(new Map([...filesOf(CONFIG, SOURCES, outcome, "/runs"), ...more]));
  const run = await finishedRun("/runs/phase1c", store);
  return [run, await resultsOf(run, store)];
}

const resultsFrom = async (change: Partial<Outcome> = {}) => (await madeRun({ ...OUTCOME, ...change }))[1];
const differing = (all: readonly Comparison[]) => all.filter(({ agrees }) => agrees !== true).map(({ what }) => what);

const outcomes: fc.Arbitrary<Outcome> = fc.record({
  losses: fc.array(fc.double({ noNaN: true, noDefaultInfinity: true }), { minLength: 1, maxLength: 5 }),
  adapter: fc.string(),
  model: fc.string(),
  base: fc.array(fc.constantFrom("right", "wrong", "other"), { minLength: 1, maxLength: 6 }),
  merged: fc.array(fc.constantFrom("right", "wrong", "other"), { minLength: 1, maxLength: 6 }),
});

describe("the comparison", () => {
  test("of a run with itself agrees in everything, whatever it came to", async () => {
    await fc.assert(
      fc.asyncProperty(outcomes, async (outcome) => {
        const results = await resultsFrom(outcome);
        const all = compareResults(results, results);
        expect(all).toHaveLength(8);
        expect(differing(all)).toEqual([]);
      }),
    );
  });

  test("finds the same differences whichever run came first", async () => {
    await fc.assert(
      fc.asyncProperty(outcomes, outcomes, async (a, b) => {
        const [one, other] = [await resultsFrom(a), await resultsFrom(b)];
        expect(differing(compareResults(one, other))).toEqual(differing(compareResults(other, one)));
      }),
    );
  });

  test("agrees on the answers only if every row's text is the same, and on a rate only if as many passed", async () => {
    await fc.assert(
      fc.asyncProperty(outcomes, outcomes, async (a, b) => {
        const found = differing(compareResults(await resultsFrom(a), await resultsFrom(b)));
        const passed = (rows: readonly string[]) => `${rows.filter((row) => row === "right").length} of ${rows.length}`;
        expect(found.includes("answers after")).toBe(JSON.stringify(a.merged) !== JSON.stringify(b.merged));
        expect(found.includes("pass rate after")).toBe(passed(a.merged) !== passed(b.merged));
      }),
    );
  });

  test.each<[Partial<Outcome>, string[]]>([
    [{ losses: [1.5, 1.2500001] }, ["losses", "validation"]],
    [{ losses: [1.50000001, 1.25] }, ["losses"]],
    [{ adapter: "b" }, ["adapter"]],
    [{ model: "n" }, ["model"]],
    [{ base: ["other", "right"] }, ["answers before"]],
    [{ merged: ["right", "wrong"] }, ["pass rate after", "answers after"]],
    [{ merged: ["right"] }, ["pass rate after", "answers after"]],
  ])("of a run with %j instead differs in %j alone", async (change, what) => {
    expect(differing(compareResults(await resultsFrom(), await resultsFrom(change)))).toEqual(what);
  });

  test("says where and by how much", async () => {
    const merged = ["right", "wrong"];
    const all = compareResults(await resultsFrom(), await resultsFrom({ losses: [1.5, 1.5], merged }));
    const says = Object.fromEntries(all.map((one) => [one.what, one.says]));
    expect(says["losses"]).toBe("differ from update 2 was 1.25, is 1.5; by 0.25 at most");
    expect(says["adapter"]).toBe("identical bytes (1 file)");
    expect(says["pass rate after"]).toBe("was 100.00 % (2 of 2), is 50.00 % (1 of 2)");
    expect(says["answers after"]).toBe("1 of 2 rows answered otherwise, 1 graded otherwise: rows 2");
  });

  test("does not call equal what is gone", async () => {
    const results = await resultsFrom();
    const all = compareResults(results, { ...results, merged: undefined, adapter: new Map() });
    expect(all.filter(({ agrees }) => agrees === undefined).map(({ what }) => what)).toEqual([
      "adapter",
      "pass rate after",
      "answers after",
    ]);
  });
});

describe("the causes", () => {
  test("are what is recorded and not the same, and nothing else", async () => {
    const [{ train }] = await madeRun(OUTCOME);
    expect(causesOf(train, train)).toEqual([]);
    const other = {
      ...train,
      image: "local@sha256:zz",
      machine: { accelerator: "NVIDIA H200", cores: 2 },
      settings: { ...train.settings, microBatchTokens: 4096 },
    };
    expect(causesOf(train, other)).toEqual([
      "image: was local@sha256:aa, is local@sha256:zz",
      "machine.accelerator: was cpu, is NVIDIA H200",
      "microBatchTokens: was 8192, is 4096",
    ]);
  });
});

describe("a finished run", () => {
  test("is its newest evaluation, or the one that is named, with the stages that it stands on", async () => {
    const other = { ...CONFIG, evaluate: { ...CONFIG.evaluate, maxNewTokens: 9 } };
    const later = filesOf(other, SOURCES, { ...OUTCOME, finishedAt: "2026-11-22T19:00:00+00:00" }, "/runs");
    const [newest] = await madeRun(OUTCOME, later);
    expect(newest.evaluate.config["evaluate"]).toMatchObject({ maxNewTokens: 9 });
    const [first] = await madeRun(OUTCOME);
    expect(newest.train.fingerprint).toBe(first.train.fingerprint);
    const named = `/runs/phase1c/evaluate-${first.evaluate.fingerprint.slice(0, 12)}`;
    const store = memory(new Map([...filesOf(CONFIG, SOURCES, OUTCOME, "/runs"), ...later]));
    expect((await finishedRun(named, store)).evaluate.fingerprint).toBe(first.evaluate.fingerprint);
  });

  test("that has not ended, or has lost a manifest, is a mistake that names the place", async () => {
    await expect(finishedRun("/nowhere", localStore)).rejects.toThrow(/no finished stage of a run/);
    const whole = filesOf(CONFIG, SOURCES, OUTCOME, "/runs");
    const without = (stage: string) => memory(new Map([...whole].filter(([path]) => !path.includes(`/${stage}-`))));
    await expect(finishedRun("/runs/phase1c", without("evaluate"))).rejects.toThrow(/no finished evaluation/);
    await expect(finishedRun("/runs/phase1c", without("merge"))).rejects.toThrow(
      /merge-[0-9a-f]{12}: the manifest is gone/,
    );
  });
});
