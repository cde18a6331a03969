/** What a person sees of a stage that runs. */
import { describe, expect, test } from "vitest";
import { eventOf, type Progress } from "../../jobs/local/events";
import { busyText, duration, progressText } from "../../jobs/local/progressText";

const event: Progress = {
  event: "progress",
  stage: "train",
  phase: "train",
  step: 12,
  of: 30,
  unit: "updates",
  loss: 1.2149,
  tokensPerSecond: 12_051.4,
  secondsLeft: 100,
};

// biome-ignore lint/suspicious/noControlCharactersInRegex: the colours of a terminal
const plain = (text: string): string => text.replace(/\x1b\[\d+m/g, "");

describe("progress", () => {
  test("without a terminal is a line of facts", () => {
    expect(progressText(event)).toBe("  train     12/30 updates · loss 1.21 · 12,051 tokens/s · 1:40 left");
  });

  test("names a phase that is not the stage itself, and leaves out what is not known", () => {
    const bare: Progress = { event: "progress", stage: "evaluate", phase: "base", step: 3, of: 40, unit: "answers" };
    expect(progressText(bare)).toBe("  evaluate  base  3/40 answers");
  });

  test("on a terminal has a bar and the time so far", () => {
    expect(plain(progressText(event, { seconds: 65, width: 120 }))).toBe(
      "  train     1:05  ████████████░░░░░░░░░░░░░░░░░░  12/30 updates · loss 1.21 · 12,051 tokens/s · 1:40 left",
    );
  });

  test.each([20, 40, 60, 80, 100, 200])("never wraps in a terminal of %i columns", (width) => {
    for (const step of [0, 12, 30, 31]) {
      const text = plain(progressText({ ...event, step }, { seconds: 1, width }));
      expect(text.length).toBeLessThan(width);
      expect(text).not.toMatch(/undefined|NaN/);
    }
  });

  test("of nothing does not divide by it", () => {
    expect(plain(progressText({ ...event, step: 0, of: 0 }, { seconds: 0, width: 120 }))).toContain("░  0/0 updates");
  });
});

test.each([
  [0, "0:00"],
  [59.6, "1:00"],
  [100, "1:40"],
  [3700, "1:01:40"],
])("%d seconds are %s", (seconds, text) => expect(duration(seconds)).toBe(text));

test("busy", () => expect(plain(busyText("train     starting", 7))).toBe("  train     starting  0:07"));

describe("a line of a stage's output", () => {
  test("is an event if it is one", () => {
    expect(eventOf(JSON.stringify(event))).toEqual(event);
    expect(eventOf('{"event":"warning","stage":"merge","message":"m"}')).toMatchObject({ message: "m" });
  });

  test.each([
    "Loading weights: 100%",
    "",
    "{not json}",
    '{"loss": 1}',
    '{"event":"unheard of","stage":"train"}',
    '{"event":"progress","stage":"train","phase":"train","step":"12","of":30,"unit":"updates"}',
  ])("%j is for people", (line) => expect(eventOf(line)).toBeUndefined());
});
