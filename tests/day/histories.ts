/** What may happen to runs in a day: each history as a script, in the order of the day. */
import type { Day, Ended, Wish } from "./program";

export interface History {
  readonly name: string;
  /** Plays it; the programs that ended, in order. */
  readonly play: (day: Day) => Promise<readonly Ended[]>;
}

const MINUTE = 60;
/** As the estimate has them for the hand-run job: training ~20 minutes, merging 5, two times 20,000 answers 40. */
const WORK = { train: 20 * MINUTE, merge: 5 * MINUTE, evaluate: 40 * MINUTE };
const wish = (name: string, more: Partial<Wish> = {}): Wish => ({ name, workSeconds: WORK, ...more });
const whole = async (day: Day, one: Wish): Promise<Ended> => day.until(day.up(one).ended);

export const HISTORIES: readonly History[] = [
  { name: "success", play: async (day) => [await whole(day, wish("success"))] },
  {
    name: "a stage crashes once, and is retried",
    play: async (day) => [
      await whole(day, wish("crash", { mishaps: { train: [{ afterSeconds: 600, exitCode: 1 }] } })),
    ],
  },
  {
    name: "evaluation fails on a mistake; mended, again",
    play: async (day) => [
      await whole(day, wish("mistake", { mishaps: { evaluate: [{ afterSeconds: 60, exitCode: 2 }] } })),
      await whole(day, wish("mistake", { maxNewTokens: 512 })),
    ],
  },
  {
    name: "cancelled in training; gone on later",
    play: async (day) => {
      const up = day.up(wish("cancel"));
      await day.advance(15 * MINUTE);
      await day.cancel();
      const cancelled = await day.until(up.ended);
      return [cancelled, await whole(day, wish("cancel"))];
    },
  },
  {
    name: "cancelled while the node starts",
    play: async (day) => {
      const up = day.up(wish("early"));
      await day.advance(2 * MINUTE);
      await day.cancel();
      return [await day.until(up.ended)];
    },
  },
  {
    name: "no capacity: given up; later there is",
    play: async (day) => {
      day.world.pool.hasCapacity = false;
      const givenUp = await whole(day, wish("none"));
      day.world.pool.hasCapacity = true;
      return [givenUp, await whole(day, wish("none"))];
    },
  },
  {
    name: "spot machine reclaimed in training",
    play: async (day) => {
      const up = day.up(wish("spot"));
      await day.advance(15 * MINUTE);
      day.world.reclaim();
      return [await day.until(up.ended)];
    },
  },
  {
    name: "laptop closed in training; attached too late",
    play: async (day) => {
      const up = day.up(wish("laptop"));
      await day.advance(10 * MINUTE);
      up.kill();
      await day.advance(60 * MINUTE);
      return [await whole(day, wish("laptop"))];
    },
  },
  {
    name: "a new machine image in mid-training",
    play: async (day) => {
      const up = day.up(wish("drift"));
      await day.advance(12 * MINUTE);
      day.world.drift();
      return [await day.until(up.ended)];
    },
  },
  {
    name: "two runs back to back on one warm node",
    play: async (day) => {
      const up = day.up(wish("first"));
      await day.until(untilDone(day, "first"));
      up.kill(); // nobody waits to see the node go
      return [await whole(day, wish("second"))];
    },
  },
  {
    name: "above the cap: not started",
    play: async (day) => {
      const { budget } = day.settings;
      const before = budget.maxUsd;
      budget.maxUsd = 1;
      const ended = await whole(day, wish("cap"));
      budget.maxUsd = before;
      return [ended];
    },
  },
];

/** Once every stage of a run has completed. */
async function untilDone(day: Day, run: string): Promise<void> {
  const isDone = () =>
    day.world.jobs.some(({ name, condition }) => name.startsWith(`${run}-evaluate-`) && condition?.type === "Complete");
  while (!isDone()) await new Promise((resolve) => setTimeout(resolve, 1000));
}
