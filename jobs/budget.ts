/** What a run may still cost: hours and dollars, over all its stages and attempts. Pure. */
import type { Settings } from "../infra/settings";

type Budget = Settings["budget"];

/** Hours that may still be used, Infinity without a budget. */
export function hoursLeft(budget: Budget, used: number): number {
  const { maxHours = Number.POSITIVE_INFINITY, maxUsd = Number.POSITIVE_INFINITY, usdPerHour = 0 } = budget;
  const affordable = usdPerHour > 0 ? maxUsd / usdPerHour : Number.POSITIVE_INFINITY;
  return Math.max(0, Math.min(maxHours, affordable) - used);
}

/** The hard cap of a Job that starts now, in seconds: the stage's own, or what the budget leaves, whichever is less. */
export const deadlineSeconds = (stageHours: number, budget: Budget, used: number): number =>
  Math.floor(Math.min(stageHours, hoursLeft(budget, used)) * 3600);

/** Such as "1.25 hours, 8.60 USD"; no dollars where no price is set. */
export function costText(hours: number, { usdPerHour }: Budget): string {
  const usd = usdPerHour === undefined ? "" : `, ${(hours * usdPerHour).toFixed(2)} USD`;
  return `${hours.toFixed(2)} hours${usd}`;
}
