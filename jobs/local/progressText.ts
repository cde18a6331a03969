/** The one line that shows how far a stage is. */
import { colors } from "./colors";
import type { Progress } from "./events";

const LONGEST_BAR = 30;
const SHORTEST_BAR = 5;

/** `  train      0:42  starting` */
export const busyText = (what: string, seconds: number): string => `  ${what}  ${colors.dim(duration(seconds))}`;

/**
 * `  train     validate  0:42  ████░░░░  12/30 updates · loss 1.21 · 151 tokens/s · 1:40 left`, cut to the terminal's
 * width; without a terminal there is no bar.
 */
export function progressText(event: Progress, terminal?: { seconds: number; width: number }): string {
  const { stage, phase, step, of, unit, loss, tokensPerSecond, secondsLeft } = event;
  const label = `  ${stage.padEnd(9)} ${phase === stage ? "" : `${phase}  `}`;
  const facts = [
    `${count(step)}/${count(of)} ${unit}`,
    loss !== undefined && `loss ${loss.toPrecision(3)}`,
    tokensPerSecond !== undefined && `${count(tokensPerSecond)} tokens/s`,
    secondsLeft !== undefined && `${duration(secondsLeft)} left`,
  ];
  const text = facts.filter((fact) => fact !== false).join(" · ");
  if (!terminal) return `${label}${text}`;
  const start = `${label}${duration(terminal.seconds)}  `;
  const room = Math.min(LONGEST_BAR, terminal.width - start.length - text.length - 3);
  if (room < SHORTEST_BAR) return `${start}${text}`.slice(0, terminal.width - 1);
  const filled = of > 0 ? Math.round((Math.min(step, of) / of) * room) : 0;
  return `${start}${colors.cyan("█".repeat(filled))}${colors.dim("░".repeat(room - filled))}  ${text}`;
}

/** 100 → 1:40, 3700 → 1:01:40. */
export function duration(seconds: number): string {
  const whole = Math.round(seconds);
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  const twoDigits = (n: number) => String(n).padStart(2, "0");
  const end = `${twoDigits(whole % 60)}`;
  return hours > 0 ? `${hours}:${twoDigits(minutes)}:${end}` : `${minutes}:${end}`;
}

const count = (n: number): string => Math.round(n).toLocaleString("en-US");
