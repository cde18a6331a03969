/** What a run has cost: its estimate against what happened, and GPU minutes paid for against GPU minutes used. Pure. */
import type { Attempt } from "../attempts";
import type { Estimate } from "../estimate";
import type { Machine } from "./gpuNodes";
import type { Price } from "./prices";

export interface Receipt {
  readonly usedMinutes: number;
  /** Of all GPU machines, from their launch to their end; undefined if EC2 knows of none any more. */
  readonly paidMinutes: number | undefined;
  readonly usd: number;
}

export interface ReceiptArgs {
  /** Of this program's stages, each list for itself. */
  readonly attempts: readonly (readonly Attempt[])[];
  readonly machines: readonly Machine[];
  readonly since: Date;
  readonly now: Date;
  readonly price: Price;
}

export function receiptOf({ attempts, machines, since, now, price }: ReceiptArgs): Receipt {
  const usedMinutes = sum(attempts.flatMap((tried) => tried.map((attempt) => minutesUsed(attempt, since, now))));
  const ours = machines.filter(({ launchedAt, endedAt }) => launchedAt >= since || (endedAt ?? now) > since);
  const paid = ours.map(({ launchedAt, endedAt, state }) => {
    const end = endedAt ?? (state === "terminated" ? launchedAt : now);
    return Math.max(0, end.getTime() - Math.max(launchedAt.getTime(), since.getTime())) / 60_000;
  });
  const paidMinutes = ours.length > 0 ? sum(paid) : undefined;
  return { usedMinutes, paidMinutes, usd: ((paidMinutes ?? usedMinutes) / 60) * price.high };
}

/** In this program's time. What began before it and has no end was another program's, which saw no end either. */
function minutesUsed({ startedAt, endedAt, ranSeconds }: Attempt, since: Date, now: Date): number {
  const [from, to] = [Date.parse(startedAt), endedAt === undefined ? now.getTime() : Date.parse(endedAt)];
  if (endedAt === undefined && from < since.getTime()) return 0;
  const watched = Math.max(0, to - Math.max(from, since.getTime())) / 60_000;
  // Of the time watched, only that in which a pod ran: waiting for a node uses none.
  return ranSeconds === undefined ? watched : Math.min(watched, ranSeconds / 60);
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0);

export function receiptLines({ usedMinutes, paidMinutes, usd }: Receipt, estimate: Estimate): string[] {
  if (usedMinutes === 0 && paidMinutes === undefined) return [];
  const { low, high } = estimate.usd;
  const used = `${usedMinutes.toFixed(0)} GPU-node minutes used`;
  const paid = paidMinutes === undefined ? "" : `, ${paidMinutes.toFixed(0)} paid for`;
  return [
    `${used}${paid}`,
    `about ${usd.toFixed(2)} USD; the estimate was ${low.toFixed(2)} to ${high.toFixed(2)} USD`,
  ];
}
