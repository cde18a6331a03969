/** What a local run shows: finished lines above, and on a terminal one line below them that moves. */
import { createLogUpdate } from "log-update";
import type { Progress } from "./events";
import { busyText, progressText } from "./progressText";

export interface Screen {
  /** Prints a line that stays. */
  line(text: string): void;
  /** Something begins of which no progress is known. */
  busy(what: string): void;
  /** How far a stage is. On a terminal it moves in place; elsewhere a line now and then. */
  progress(event: Progress): void;
  /** Whatever moved is over. */
  clear(): void;
}

/** Where nothing can move, a phase's progress is printed when it begins, and then so often at most. */
const PLAIN_SECONDS = 15;

export const screenFor = (stream: NodeJS.WriteStream): Screen =>
  stream.isTTY ? terminalScreen(stream) : plainScreen(stream);

function terminalScreen(stream: NodeJS.WriteStream): Screen {
  const update = createLogUpdate(stream);
  let textAfter: ((seconds: number, width: number) => string) | undefined;
  let since = Date.now();
  const draw = () => textAfter && update(textAfter((Date.now() - since) / 1000, stream.columns));
  setInterval(draw, 1000).unref(); // a sign of life between two events
  return {
    line(text) {
      update.clear();
      stream.write(`${text}\n`);
      draw();
    },
    busy(what) {
      since = Date.now();
      textAfter = (seconds) => busyText(what, seconds);
      draw();
    },
    progress(event) {
      textAfter = (seconds, width) => progressText(event, { seconds, width });
      draw();
    },
    clear() {
      textAfter = undefined;
      update.clear();
      update.done();
    },
  };
}

function plainScreen(stream: NodeJS.WritableStream): Screen {
  let phase = "";
  let printedAt = 0;
  return {
    line: (text) => void stream.write(`${text}\n`),
    busy() {},
    progress(event) {
      const now = Date.now();
      const key = `${event.stage} ${event.phase}`;
      if (key === phase && now - printedAt < PLAIN_SECONDS * 1000) return;
      phase = key;
      printedAt = now;
      stream.write(`${progressText(event)}\n`);
    },
    clear() {},
  };
}
