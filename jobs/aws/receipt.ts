/** What a run has cost: its estimate against what happened, stage by stage, and GPU minutes paid for against those used. Pure. */
import type { Attempt } from "../attempts";
import type { Estimate } from "../estimate";
import { between } from "../estimateText";
import type { StageName } from "../stages";
import type { Machine } from "./gpuNodes";
import type { Price } from "./prices";

export interface Receipt {
  /** Those that ran in this program's time, in order. */
  readonly stages: readonly { readonly name: StageName; readonly minutes: number }[];
  readonly usedMinutes: number;
  /** Of all GPU machines, from their launch to their end; undefined if EC2 knows of none any more. */
  readonly paidMinutes: number | undefined;
  /** Nodes, and what stood beside them. */
  readonly usd: number;
}

export interface ReceiptArgs {
  /** Every attempt at this program's stages. */
  readonly stages: readonly { readonly name: StageName; readonly attempts: readonly Attempt[] }[];
  readonly machines: readonly Machine[];
  readonly since: Date;
  readonly now: Date;
  readonly price: Price;
}

export function receiptOf({ stages, machines, since, now, price }: ReceiptArgs): Receipt {
  const used = stages.map(({ name, attempts }) => ({
    name,
    minutes: sum(attempts.map((attempt) => minutesUsed(attempt, since, now))),
  }));
  const usedMinutes = sum(used.map(({ minutes }) => minutes));
  const ours = machines.filter(({ launchedAt, endedAt }) => launchedAt >= since || (endedAt ?? now) > since);
  const paid = ours.map(({ launchedAt, endedAt, state }) => {
    const end = endedAt ?? (state === "terminated" ? launchedAt : now);
    return Math.max(0, end.getTime() - Math.max(launchedAt.getTime(), since.getTime())) / 60_000;
  });
  const paidMinutes = ours.length > 0 ? sum(paid) : undefined;
  const nodes = ((paidMinutes ?? usedMinutes) / 60) * price.high;
  const beside = ((now.getTime() - since.getTime()) / 3_600_000) * price.standing;
  return { stages: used.filter(({ minutes }) => minutes > 0), usedMinutes, paidMinutes, usd: nodes + beside };
}

/** In this program's time. What began before it and has no end was another program's, which saw no end either. */
function minutesUsed({ startedAt, endedAt, ranSeconds }: Attempt, since: Date, now: Date): number {
  const [from, to] = [Date.parse(startedAt), endedAt === undefined ? now.getTime() : Date.parse(endedAt)];
  const isOurs = from >= since.getTime();
  if (endedAt === undefined && !isOurs) return 0;
  const watched = Math.max(0, to - Math.max(from, since.getTime())) / 60_000;
  // Only the time in which pods ran: waiting for a node uses none, and two nodes use twice as much.
  const ran = ranSeconds === undefined ? watched : ranSeconds / 60;
  return isOurs ? ran : Math.min(watched, ran);
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0);

export function receiptLines({ stages, usedMinutes, paidMinutes, usd }: Receipt, estimate: Estimate): string[] {
  if (usedMinutes === 0 && paidMinutes === undefined) return [];
  const each = stages.map(({ name, minutes }) => {
    const expected = estimate.lines.find(({ what }) => what === name);
    const text = expected ? `; the estimate was ${between(expected.minutes, 0)}` : "";
    return `${name.padEnd(9)} ${minutes.toFixed(0)} min${text}`;
  });
  const ratio =
    paidMinutes !== undefined && usedMinutes > 0 ? ` (${(paidMinutes / usedMinutes).toFixed(2)} for each)` : "";
  const paid = paidMinutes === undefined ? "" : `, ${paidMinutes.toFixed(0)} paid for${ratio}`;
  return [
    ...each,
    `${usedMinutes.toFixed(0)} GPU-node minutes used${paid}`,
    `about ${usd.toFixed(2)} USD; the estimate was ${between(estimate.usd, 2)} USD`,
  ];
}
