/** What a local run shows: finished lines above, and on a terminal one line below them that moves. */
import { createLogUpdate } from "log-update";
import pc from "picocolors";
import type { Progress } from "./events";

export interface Screen {
  /** Prints a line that stays. */
  line(text: string): void;
  /** Shows how far a stage is. On a terminal it moves in place; elsewhere a line now and then. */
  progress(event: Progress): void;
  /** Takes the moving line away, and prints nothing more in its place. */
  clear(): void;
}

/** On anything but a terminal, a phase's progress is printed when it begins and then so often at most. */
const PLAIN_SECONDS = 15;

export function screenFor(stream: NodeJS.WriteStream): Screen {
  return stream.isTTY ? terminalScreen(stream) : plainScreen(stream);
}

function terminalScreen(stream: NodeJS.WriteStream): Screen {
  const update = createLogUpdate(stream);
  let shown: Progress | undefined;
  const draw = () => shown && update(progressText(shown, stream.columns));
  return {
    line(text) {
      update.clear();
      stream.write(`${text}\n`);
      draw();
    },
    progress(event) {
      shown = event;
      draw();
    },
    clear() {
      shown = undefined;
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
    progress(event) {
      const now = Date.now();
      const key = `${event.stage} ${event.phase}`;
      if (key === phase && now - printedAt < PLAIN_SECONDS * 1000) return;
      phase = key;
      printedAt = now;
      stream.write(`${progressText(event, undefined)}\n`);
    },
    clear() {},
  };
}

/** `train · validate  ████░░░░  12/30 updates · loss 1.21 · 151 tokens/s · 1:40 left`; no bar where no width is given. */
export function progressText(event: Progress, width: number | undefined): string {
  const { stage, phase, step, of, unit, loss, tokensPerSecond, secondsLeft } = event;
  const label = `  ${stage.padEnd(9)} ${phase === stage ? "" : `${phase}  `}`;
  const facts = [
    `${count(step)}/${count(of)} ${unit}`,
    loss !== undefined && `loss ${loss.toPrecision(3)}`,
    tokensPerSecond !== undefined && `${count(tokensPerSecond)} tokens/s`,
    secondsLeft !== undefined && `${duration(secondsLeft)} left`,
  ].filter((fact) => fact !== false);
  const text = facts.join(" · ");
  if (width === undefined) return `${label}${text}`;
  const room = Math.min(30, width - label.length - text.length - 3);
  if (room < 5) return `${label}${text}`.slice(0, width - 1);
  const filled = of > 0 ? Math.round((Math.min(step, of) / of) * room) : 0;
  return `${label}${pc.cyan("█".repeat(filled))}${pc.dim("░".repeat(room - filled))}  ${text}`;
}

/** 100 → 1:40, 3700 → 1:01:40. */
export function duration(seconds: number): string {
  const whole = Math.round(seconds);
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (n: number) => String(n).padStart(2, "0");
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

const count = (n: number): string => Math.round(n).toLocaleString("en-US");
