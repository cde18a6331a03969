/** Ctrl-C, twice: the first asks what runs to save and exit, the second kills it. */
import type { Child } from "./child";

/** npm passes on the Ctrl-C that the terminal has sent to everybody already: two signals so close are one. */
const ONE_SIGNAL_MS = 700;

const SIGNALS = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const;

export class Interrupts {
  /** The exit code of a program that the signal ended; undefined while there was none. */
  exitCode: number | undefined;
  private child: Child | undefined;
  private signalledAt = 0;

  /** `onFirst` is called at the first signal if something runs that saves before it exits. */
  constructor(private readonly onFirst: () => void) {
    for (const signal of Object.keys(SIGNALS) as (keyof typeof SIGNALS)[]) {
      process.on(signal, () => this.onSignal(SIGNALS[signal]));
    }
    if (process.env["npm_lifecycle_event"] !== undefined) this.watchParent();
  }

  /** npm that is killed says nothing to what it started: as with a closed terminal, that stops too. */
  private watchParent(): void {
    const parent = process.ppid;
    const timer = setInterval(() => {
      if (process.ppid === parent) return;
      clearInterval(timer);
      this.onSignal(SIGNALS.SIGHUP);
    }, 1000).unref();
  }

  /** What the signals are for from now on. With undefined there is nothing to save: a signal ends this process. */
  pass(child: Child | undefined): void {
    this.child = child;
    if (this.exitCode !== undefined) child?.stop();
  }

  private onSignal(exitCode: number): void {
    if (Date.now() - this.signalledAt < ONE_SIGNAL_MS) return;
    this.signalledAt = Date.now();
    if (!this.child) process.exit(exitCode);
    if (this.exitCode === undefined) this.onFirst();
    this.exitCode ??= exitCode;
    this.child.stop();
  }
}
