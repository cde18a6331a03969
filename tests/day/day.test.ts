/** GPU capacity is there only while a stage needs it, whatever happens to a run: simulated days, with the project's code. */
import fc from "fast-check";
import { afterEach, describe, expect, test } from "vitest";
import type { Nature } from "./pool";
import { type Day, type Ended, truthOf, type Wish } from "./program";
import { dayOf, NATURE, played, tableOf, wholeDay } from "./table";

let day: Day | undefined;
afterEach(() => day?.end());

/** Karpenter looks every 10 s; a pod takes a second or two to be seen. */
const SLACK_SECONDS = 20;
const CONSOLIDATE_SECONDS = 60;
/** Between a stage's end and the next one's pod, and the pause before a crashed pod's successor. */
const BETWEEN_SECONDS = 45;

describe("the day of histories", () => {
  test("ends as each history says, uses what it works, and pays little more", async () => {
    const { rows } = await wholeDay();
    const errors = Object.fromEntries(
      rows.map(({ name, ended }) => [name, ended.map(({ error }) => error?.split("\n")[0])]),
    );
    expect(errors).toEqual({
      success: [undefined],
      "a stage crashes once, and is retried": [undefined],
      "evaluation fails on a mistake; mended, again": ["evaluate failed with exit code 2", undefined],
      "cancelled in training; gone on later": ["train was ended: cancelled by npm run cancel", undefined],
      "cancelled while the node starts": ["train was ended: cancelled by npm run cancel"],
      "no capacity: given up; later there is": [
        expect.stringMatching(/^train was given up after 20 min .*no node fits/),
        undefined,
      ],
      "spot machine reclaimed in training": [undefined],
      "laptop closed in training; attached too late": [undefined],
      "a new machine image in mid-training": [undefined],
      "two runs back to back on one warm node": [undefined],
      "above the cap: not started": [expect.stringContaining("retort:budget.maxUsd is 1: it is not started")],
    });
    const used = Object.fromEntries(rows.map(({ name, usedMinutes }) => [name, Math.round(usedMinutes)]));
    expect(used).toMatchObject({
      success: 65,
      "two runs back to back on one warm node": 130,
      "above the cap: not started": 0,
    });
    const machines = Object.fromEntries(rows.map((row) => [row.name, row.machines]));
    expect(machines).toMatchObject({
      "a new machine image in mid-training": 1,
      "two runs back to back on one warm node": 1,
      "above the cap: not started": 0,
    });
    expect(tableOf(rows)).toHaveLength(rows.length + 2);
  });

  test("the receipt that the program prints is what really happened", async () => {
    day = dayOf(NATURE);
    const [ended] = [await day.until(day.up(WISH).ended)];
    await day.untilQuiet();
    const truth = truthOf(day.world, 0);
    expect(Math.abs((ended?.receipt?.usedMinutes ?? 0) - truth.usedMinutes)).toBeLessThan(0.2);
    expect(Math.abs((ended?.receipt?.paidMinutes ?? 0) - truth.paidMinutes)).toBeLessThan(0.2);
  });
});

const WISH: Wish = { name: "run", workSeconds: { train: 300, merge: 60, evaluate: 200 } };

type Happening = {
  readonly kind: "cancel" | "kill" | "reclaim" | "drift" | "famine" | "feast";
  readonly after: number;
};

const natures: fc.Arbitrary<Nature> = fc.record({
  startSeconds: fc.integer({ min: 30, max: 400 }),
  pullSeconds: fc.integer({ min: 1, max: 200 }),
  endSeconds: fc.integer({ min: 0, max: 50 }),
});
const minutes = fc.integer({ min: 1, max: 900 });
const mishap = fc.record({ afterSeconds: fc.integer({ min: 1, max: 200 }), exitCode: fc.constantFrom(1, 2, 137) });
const wishes: fc.Arbitrary<Wish> = fc.record({
  name: fc.constant("run"),
  workSeconds: fc.record({ train: minutes, merge: minutes, evaluate: minutes }),
  mishaps: fc.record({ train: fc.array(mishap, { maxLength: 2 }), evaluate: fc.array(mishap, { maxLength: 2 }) }),
});
const happenings: fc.Arbitrary<Happening[]> = fc.array(
  fc.record({
    kind: fc.constantFrom<Happening["kind"]>("cancel", "kill", "reclaim", "drift", "famine", "feast"),
    after: fc.integer({ min: 1, max: 600 }),
  }),
  { maxLength: 4 },
);

/** Starts the run, lets things happen, and starts it again until it is done: as a patient user does. */
async function live(one: Day, wish: Wish, events: readonly Happening[]): Promise<Ended | undefined> {
  let up = one.up(wish);
  for (const { kind, after } of events) {
    await one.advance(after);
    if (kind === "cancel") await one.cancel();
    if (kind === "kill") up.kill();
    if (kind === "reclaim") one.world.reclaim();
    if (kind === "drift") one.world.drift();
    if (kind === "famine") one.world.pool.hasCapacity = false;
    if (kind === "feast") one.world.pool.hasCapacity = true;
    if (kind === "kill") up = one.up({ ...wish, mishaps: {} });
  }
  one.world.pool.hasCapacity = true;
  let ended = await one.until(up.ended);
  for (let tries = 0; ended.error !== undefined && tries < 3; tries += 1) {
    ended = await one.until(one.up({ ...wish, mishaps: {} }).ended);
  }
  return ended;
}

describe("in any history", () => {
  test("what is paid covers what is used, and exceeds it by starts and a minute's patience alone; nothing is left", async () => {
    let machines = 0;
    await fc.assert(
      fc.asyncProperty(natures, wishes, happenings, async (nature, wish, events) => {
        day = dayOf(nature);
        try {
          const ended = await live(day, wish, events);
          await day.untilQuiet();
          const { world } = day;
          const { usedMinutes, paidMinutes, nodes, pods } = truthOf(world, 0);
          machines += nodes.length;
          expect(ended?.error).toBeUndefined();
          expect(paidMinutes).toBeGreaterThanOrEqual(usedMinutes);
          const perNode = nature.startSeconds + 2 * nature.pullSeconds + CONSOLIDATE_SECONDS + SLACK_SECONDS;
          const most = nodes.length * perNode + pods.length * (BETWEEN_SECONDS + nature.pullSeconds);
          expect(paidMinutes * 60 - usedMinutes * 60).toBeLessThanOrEqual(most);
          expect(world.mostMachines).toBeLessThanOrEqual(1);
          for (const { endedAt, readyAt } of nodes) {
            // A node that is told to end while it starts is ended once it is ready: Karpenter looks at no other.
            const lastPod = pods.flatMap(({ endedAt: at }) => (at !== undefined && at <= (endedAt ?? 0) ? [at] : []));
            const lastNeed = Math.max(readyAt, ...lastPod);
            expect((endedAt ?? Number.POSITIVE_INFINITY) + nature.endSeconds - lastNeed).toBeLessThanOrEqual(120 + 5);
          }
        } finally {
          day.end();
        }
      }),
      { numRuns: 25 },
    );
    expect(machines).toBeGreaterThan(25);
  });
});

test("a spot machine that is reclaimed again and again costs starts, and never the run", async () => {
  day = dayOf(NATURE, { gpu: { capacity: ["spot", "on-demand"] } });
  const up = day.up({ ...WISH, workSeconds: { train: 1200, merge: 60, evaluate: 60 } });
  for (let times = 0; times < 4; times += 1) {
    await day.advance(700);
    day.world.reclaim();
  }
  expect((await day.until(up.ended)).error).toBeUndefined();
  await day.untilQuiet();
  expect(truthOf(day.world, 0).nodes.length).toBeGreaterThan(3);
});

describe("the pool's manifest is what makes it so", () => {
  const spent = async (change: (one: Day) => void, play: (one: Day) => Promise<Ended[]>) => {
    day = dayOf(NATURE);
    change(day);
    return played(day, { name: "changed", play });
  };

  test("without its budget for drifted nodes, a new machine image takes the node from a training", async () => {
    const drifting = async (one: Day) => {
      const up = one.up({ ...WISH, workSeconds: { train: 3000, merge: 60, evaluate: 60 } });
      await one.advance(900);
      one.world.drift();
      return [await one.until(up.ended)];
    };
    expect((await spent(() => {}, drifting)).machines).toBe(1);
    day?.end();
    const without = (one: Day) => {
      one.world.manifest.spec.disruption.budgets = [{ nodes: "100%", reasons: ["Empty"] }];
    };
    expect((await spent(without, drifting)).machines).toBe(2);
  });

  test("with a longer patience, that much more is paid", async () => {
    const once = async (one: Day) => [await one.until(one.up(WISH).ended)];
    const short = await spent(() => {}, once);
    day?.end();
    const long = await spent((one) => {
      one.world.manifest.spec.disruption.consolidateAfter = "600s";
    }, once);
    expect(long.paidMinutes - short.paidMinutes).toBeCloseTo(9, 0);
  });
});
