/** What a run may still cost: hours and dollars, over all its stages and attempts. Pure. */
import type { Settings } from "../infra/settings";
import type { Spent } from "./attempts";

type Budget = Settings["budget"];

/** Hours that so many nodes may still be held together, Infinity without a budget. */
export function hoursLeft(budget: Budget, spent: Spent, nodes: number): number {
  const { maxHours = Number.POSITIVE_INFINITY, maxUsd = Number.POSITIVE_INFINITY, usdPerHour = 0 } = budget;
  const affordable = usdPerHour > 0 ? (maxUsd / usdPerHour - spent.nodeHours) / nodes : Number.POSITIVE_INFINITY;
  return Math.max(0, Math.min(maxHours - spent.hours, affordable));
}

/** The hard cap of a Job that starts now, in seconds: the stage's own, or what the budget leaves, whichever is less. */
export const deadlineSeconds = (stageHours: number, budget: Budget, spent: Spent, nodes: number): number =>
  Math.floor(Math.min(stageHours, hoursLeft(budget, spent, nodes)) * 3600);

/** Such as "1.25 hours, 8.60 USD"; no dollars where no price is set. */
export function costText({ hours, nodeHours }: Spent, { usdPerHour }: Budget): string {
  const usd = usdPerHour === undefined ? "" : `, ${(nodeHours * usdPerHour).toFixed(2)} USD`;
  return `${hours.toFixed(2)} hours${usd}`;
}
