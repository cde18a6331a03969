/** The log of the pod that speaks for a stage, line by line, whatever breaks in between. */
import type { Cluster } from "./api";

const RETRY_MS = 1000;

/** Reads one pod at a time. A connection that breaks is made again, and lines that were read are not read twice. */
export class PodLog {
  private pod = "";
  private current = new AbortController();
  private reading: Promise<void> = Promise.resolve();

  constructor(
    private readonly cluster: Cluster,
    private readonly onLine: (line: string) => void,
  ) {}

  /** Reads this pod from now on. Nothing changes if it does already. */
  attach(pod: string): void {
    if (pod === this.pod) return;
    this.close();
    this.pod = pod;
    this.current = new AbortController();
    this.reading = this.read(pod, this.current.signal);
  }

  /** Waits a moment for the last lines of a pod that has ended. */
  async drain(): Promise<void> {
    await Promise.race([this.reading, new Promise((resolve) => setTimeout(resolve, 3 * RETRY_MS))]);
  }

  close(): void {
    this.current.abort();
  }

  private async read(pod: string, signal: AbortSignal): Promise<void> {
    let read = 0;
    for (let ended = false; !ended && !signal.aborted; ) {
      let line = 0;
      const take = (text: string) => {
        line += 1;
        if (line <= read || signal.aborted) return;
        read = line;
        this.onLine(text);
      };
      // A log that cannot be read fails no run: the Job's own state decides.
      ended = await this.cluster.followLog(pod, take, signal).then(
        () => this.hasEnded(pod),
        () => false,
      );
      if (!ended) await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }

  private async hasEnded(pod: string): Promise<boolean> {
    return this.cluster.podPhase(pod).then(
      (phase) => phase !== "Running" && phase !== "Pending",
      () => false,
    );
  }
}
