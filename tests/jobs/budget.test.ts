/** What a run may still cost. */
import { expect, test } from "vitest";
import { costText, deadlineSeconds, hoursLeft } from "../../jobs/budget";

test("without a budget the stage's own deadline holds", () => {
  expect(hoursLeft({}, 1000)).toBe(Number.POSITIVE_INFINITY);
  expect(deadlineSeconds(2, {}, 1000)).toBe(7200);
});

test("hours and dollars both cap what is left, less what was used", () => {
  expect(hoursLeft({ maxHours: 10 }, 4)).toBe(6);
  expect(hoursLeft({ maxUsd: 30, usdPerHour: 6 }, 4)).toBe(1);
  expect(hoursLeft({ maxHours: 4.5, maxUsd: 30, usdPerHour: 6 }, 4)).toBe(0.5);
  expect(deadlineSeconds(12, { maxHours: 4.5 }, 4)).toBe(1800);
});

test("a budget that is used up leaves nothing", () => {
  expect(hoursLeft({ maxHours: 3 }, 4)).toBe(0);
});

test("a cost is said in dollars where the price is known", () => {
  expect(costText(1.25, { usdPerHour: 6.88 })).toBe("1.25 hours, 8.60 USD");
  expect(costText(1.25, {})).toBe("1.25 hours");
});
