/**
 * `npm run bench:day`: a simulated day of runs, and for each the GPU minutes paid for a GPU minute used. The pool's
 * manifest, the chain, its budget and its receipt are the project's own; the clock, Karpenter and EC2 are simulated.
 */
import { join } from "node:path";
import { loadPrices, nodePrice } from "../../jobs/aws/prices";
import { HISTORIES, type History } from "./histories";
import { type Nature, settingsOf } from "./pool";
import { Day, type Ended, truthOf } from "./program";

/** Of the estimate's own assumptions, the middle: a node in 5 minutes, an image in 2. */
export const NATURE: Nature = { startSeconds: 300, pullSeconds: 120, endSeconds: 40 };

export interface Row {
  readonly name: string;
  readonly usedMinutes: number;
  readonly paidMinutes: number;
  readonly usd: number;
  /** From the end of the last stage until EC2 has no GPU machine. */
  readonly zeroAfterSeconds: number;
  readonly machines: number;
  readonly ended: readonly Ended[];
}

export const dayOf = (nature: Nature, more: object = {}): Day => {
  const settings = settingsOf(more);
  const table = loadPrices(join(__dirname, "../../configs/prices.yaml"));
  return new Day(settings, nodePrice(settings, table, { onDemand: {}, spot: {}, notes: [] }), nature);
};

export async function played(day: Day, { name, play }: History): Promise<Row> {
  const since = day.world.now;
  const ended = await play(day);
  await day.untilQuiet();
  const { usedMinutes, paidMinutes, nodes, lastUse } = truthOf(day.world, since);
  const lastEnd = Math.max(0, ...nodes.map(({ endedAt = Number.POSITIVE_INFINITY }) => endedAt));
  const zeroAfterSeconds = nodes.length === 0 || lastUse === 0 ? 0 : lastEnd - lastUse;
  const usd = (paidMinutes / 60) * day.price.high;
  return { name, usedMinutes, paidMinutes, usd, zeroAfterSeconds, machines: nodes.length, ended };
}

export function tableOf(rows: readonly Row[]): string[] {
  const line = (name: string, ...cells: string[]) =>
    `${name.padEnd(50)}${cells.map((cell) => cell.padStart(9)).join("")}`;
  const cells = ({
    usedMinutes: used,
    paidMinutes: paid,
    usd,
    zeroAfterSeconds: zero,
    machines,
  }: Omit<Row, "name">) => [
    used.toFixed(1),
    paid.toFixed(1),
    used > 0 ? (paid / used).toFixed(2) : "-",
    machines > 0 && used > 0 ? `${zero} s` : "-",
    String(machines),
    usd.toFixed(2),
  ];
  const add = (of: (row: Row) => number) => rows.reduce((sum, row) => sum + of(row), 0);
  const all = {
    usedMinutes: add((row) => row.usedMinutes),
    paidMinutes: add((row) => row.paidMinutes),
    usd: add((row) => row.usd),
    zeroAfterSeconds: Math.max(...rows.map((row) => row.zeroAfterSeconds)),
    machines: add((row) => row.machines),
    ended: [],
  };
  return [
    line("GPU minutes, simulated", "used", "paid", "paid/used", "zero in", "machines", "USD"),
    ...rows.map((row) => line(row.name, ...cells(row))),
    line("the day", ...cells(all)),
  ];
}

export async function wholeDay(): Promise<{ rows: Row[]; day: Day }> {
  const day = dayOf(NATURE);
  const rows: Row[] = [];
  for (const history of HISTORIES) {
    rows.push(await played(day, history));
    await day.advance(60);
  }
  day.end();
  return { rows, day };
}

if (require.main === module) {
  wholeDay().then(
    ({ rows }) => {
      for (const text of tableOf(rows)) process.stdout.write(`${text}\n`);
      process.exit(0);
    },
    (error: Error) => {
      process.stderr.write(`${error.stack}\n`);
      process.exit(1);
    },
  );
}
