/** What a run may still cost. */
import { expect, test } from "vitest";
import { costText, deadlineSeconds, hoursLeft } from "../../jobs/budget";

/** Hours of one node. */
const hours = (spent: number) => ({ hours: spent, nodeHours: spent });

test("without a budget the stage's own deadline holds", () => {
  expect(hoursLeft({}, hours(1000), 1)).toBe(Number.POSITIVE_INFINITY);
  expect(deadlineSeconds(2, {}, hours(1000), 1)).toBe(7200);
});

test("hours and dollars both cap what is left, less what was used", () => {
  expect(hoursLeft({ maxHours: 10 }, hours(4), 1)).toBe(6);
  expect(hoursLeft({ maxUsd: 30, usdPerHour: 6 }, hours(4), 1)).toBe(1);
  expect(hoursLeft({ maxHours: 4.5, maxUsd: 30, usdPerHour: 6 }, hours(4), 1)).toBe(0.5);
  expect(deadlineSeconds(12, { maxHours: 4.5 }, hours(4), 1)).toBe(1800);
});

test("several nodes spend the dollars sooner, and the hours as one does", () => {
  const before = { hours: 1, nodeHours: 2 };
  expect(hoursLeft({ maxUsd: 60, usdPerHour: 6 }, before, 4)).toBe(2);
  expect(hoursLeft({ maxHours: 10 }, before, 4)).toBe(9);
});

test("a budget that is used up leaves nothing", () => {
  expect(hoursLeft({ maxHours: 3 }, hours(4), 1)).toBe(0);
  expect(hoursLeft({ maxUsd: 6, usdPerHour: 6 }, hours(4), 1)).toBe(0);
});

test("a cost is said in dollars where the price is known", () => {
  expect(costText({ hours: 1.25, nodeHours: 1.25 }, { usdPerHour: 6.88 })).toBe("1.25 hours, 8.60 USD");
  expect(costText({ hours: 1.25, nodeHours: 2.5 }, { usdPerHour: 6.88 })).toBe("1.25 hours, 17.20 USD");
  expect(costText({ hours: 1.25, nodeHours: 1.25 }, {})).toBe("1.25 hours");
});
