/** What a run has cost: its estimate against what happened, and GPU minutes paid for against GPU minutes used. Pure. */
import type { Attempt } from "../attempts";
import { hoursOf } from "../attempts";
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
  const usedMinutes = attempts.reduce((minutes, tried) => minutes + hoursOf(within(tried, since), now) * 60, 0);
  const ours = machines.filter(({ launchedAt, endedAt }) => launchedAt >= since || (endedAt ?? now) > since);
  const paid = ours.reduce((minutes, { launchedAt, endedAt, state }) => {
    const end = endedAt ?? (state === "terminated" ? launchedAt : now);
    return minutes + Math.max(0, end.getTime() - Math.max(launchedAt.getTime(), since.getTime())) / 60_000;
  }, 0);
  const paidMinutes = ours.length > 0 ? paid : undefined;
  return { usedMinutes, paidMinutes, usd: ((paidMinutes ?? usedMinutes) / 60) * price.high };
}

/** The part of the attempts that lies in this program's time. */
const within = (attempts: readonly Attempt[], since: Date): Attempt[] =>
  attempts
    .filter(({ startedAt, endedAt }) => Date.parse(endedAt ?? startedAt) >= since.getTime())
    .map((attempt) => ({
      ...attempt,
      startedAt: new Date(Math.max(Date.parse(attempt.startedAt), since.getTime())).toISOString(),
    }));

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
