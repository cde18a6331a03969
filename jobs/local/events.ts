/** What a stage says on stdout, one JSON line an event; everything else it prints is for people. */
import { z } from "zod";

const stage = z.string();
const message = z.string();

const Event = z.discriminatedUnion("event", [
  z.object({
    event: z.literal("progress"),
    stage,
    phase: z.string(),
    step: z.number(),
    of: z.number(),
    unit: z.string(),
    loss: z.number().optional(),
    tokensPerSecond: z.number().optional(),
    secondsLeft: z.number().optional(),
  }),
  z.object({ event: z.literal("warning"), stage, message }),
  z.object({ event: z.literal("skipped"), stage, message }),
  z.object({ event: z.literal("stopped"), stage, message }),
  z.object({ event: z.literal("done"), stage, metrics: z.record(z.string(), z.unknown()) }),
  z.object({ event: z.literal("failed"), stage, message, exitCode: z.number() }),
]);

export type Event = z.output<typeof Event>;
export type Progress = Extract<Event, { event: "progress" }>;

/** The event on a line of a stage's output; undefined for a line that is for people. */
export function eventOf(line: string): Event | undefined {
  if (!line.startsWith("{")) return undefined;
  try {
    return Event.safeParse(JSON.parse(line)).data;
  } catch {
    return undefined;
  }
}
