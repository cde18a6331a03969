/** An estimate in words, and against the budget. Pure. */
import type { Price } from "./aws/prices";
import type { Estimate, Range } from "./estimate";
import { VisibleError } from "./visibleError";

/** A line for each stage, the sum, and what the figures rest on. */
export function estimateLines({ lines, hours, usd }: Estimate, price: Price, assumed: readonly string[]): string[] {
  if (lines.length === 0) return ["nothing to run: it costs nothing"];
  const hasPrice = price.high > 0;
  const text = (what: string, minutes: string, dollars: string, basis = "") =>
    `${what.padEnd(17)}${minutes.padStart(14)}${hasPrice ? dollars.padStart(20) : ""}   ${basis}`.trimEnd();
  const rows = lines.map((line) =>
    text(line.what, `${between(line.minutes, 0)} min`, `${between(line.usd, 2)} USD`, line.basis),
  );
  return [
    ...rows,
    text("in all", `${between(hours, 1)} hours`, `${between(usd, 2)} USD`),
    ...(hasPrice ? [`a node costs ${between(price, 2)} USD an hour (${price.source})`] : []),
    ...price.notes,
    ...assumed.map((what) => `assumed of ${what}`),
  ];
}

export const between = ({ low, high }: Range, digits: number): string => {
  const [from, to] = [low.toFixed(digits), high.toFixed(digits)];
  return from === to ? from : `${from} to ${to}`;
};

/**
 * A run that cannot end within its budget does not start: throws VisibleError. Returns a warning if it may not.
 * The budget is also a deadline, so that no run ever costs more.
 */
export function withinBudget(
  { usd, hours }: Estimate,
  { maxUsd, maxHours }: { maxUsd?: number | undefined; maxHours?: number | undefined },
): string | undefined {
  const caps = [
    { what: "maxUsd", cap: maxUsd, needs: usd, unit: "USD", digits: 2 },
    { what: "maxHours", cap: maxHours, needs: hours, unit: "hours", digits: 1 },
  ];
  for (const { what, cap, needs, unit, digits } of caps) {
    if (cap === undefined || needs.high <= cap) continue;
    const text = `the run takes ${between(needs, digits)} ${unit}, and retort:budget.${what} is ${cap}`;
    const mend = `pulumi config set --path retort:budget.${what} ${Math.ceil(needs.high)}`;
    if (needs.low > cap) throw new VisibleError(`${text}: it is not started. To allow it: ${mend}`, 2);
    return `${text}: it is stopped there, and goes on from its checkpoint if you raise it: ${mend}`;
  }
  return undefined;
}
