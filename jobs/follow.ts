/** Follows one Job through the Kubernetes API until its stage is done, and throws what a person should know if it fails. */
import type { V1Job, V1Pod } from "@kubernetes/client-node";
import type { Cluster } from "./kubernetes/api";
import { conditionOf, endOf, failureOf, isOver } from "./kubernetes/failure";
import { PodLog } from "./kubernetes/podLog";
import type { RunTime } from "./kubernetes/runTime";
import { waitingOf } from "./kubernetes/waiting";
import { type Event, eventOf } from "./local/events";
import { progressText } from "./local/progressText";
import type { StageSpec } from "./stages";
import { VisibleError } from "./visibleError";

/** Where what is seen is shown. */
export interface Say {
  /** One line that moves: how far the stage is. */
  status(text: string): void;
  info(text: string): void;
  warn(text: string): void;
}

export interface Watching {
  readonly cluster: Cluster;
  readonly say: Say;
  readonly capacityTimeoutMinutes: number;
  /** Whether the stage's manifest says that it is done: the Job alone is not believed. */
  readonly isDone: () => Promise<boolean>;
  /** Told of every pod that is seen. */
  readonly ran: RunTime;
}

/** A stage ended badly. The message says why, and what to do. */
export class StageFailed extends VisibleError {
  override readonly name = "StageFailed";
}

/** No other pod is tried after it. */
const USER_MISTAKE = 2;
const POLL_MS = 1000;
/** Once a stage is done, its pod is over in seconds. */
const ENDING_POLL_MS = 200;
/** A node that is lost just then may never say so: the manifest is there, and nobody waits on. */
const ENDING_MS = 30_000;
/** A cluster that does not answer for so long is worth a word. */
const SILENCE_MS = 30_000;

export async function follow(spec: StageSpec, name: string, watching: Watching): Promise<void> {
  const { cluster, say, isDone, ran } = watching;
  const log = new PodLog(cluster, (line) => heard.take(line));
  const heard = new Heard(say);
  const capacity = new Capacity(spec, name, watching);
  let answeredAt = Date.now();
  try {
    for (;;) {
      const seen = await look(cluster, name).catch((error: Error) => error);
      if (seen instanceof Error) {
        if (Date.now() - answeredAt > SILENCE_MS)
          say.status(`the cluster does not answer (${seen.message}); still trying`);
      } else {
        answeredAt = Date.now();
        const { job, pods } = seen;
        ran.note(pods);
        if (!job) {
          const removed = `${spec.name}: its Job ${name} was deleted; pulumi up again tries it once more`;
          throw new StageFailed(capacity.verdict ?? removed);
        }
        const pod = leader(pods);
        if (pod && pod.status?.phase !== "Pending") log.attach(pod.metadata?.name ?? "");
        heard.say();
        // The stage's own word, once its manifest bears it out and its pods have let go of their GPUs, comes before the
        // Job's. A next pod that had to wait for them would be tried again late, or be given another node.
        if (heard.saidDone(pods.every(isOver) ? 0 : ENDING_MS) && (await isDone())) return;
        if (conditionOf(job, "Complete")) return await confirm(spec, isDone);
        if (conditionOf(job, "Failed")) {
          await log.drain();
          throw new StageFailed(capacity.verdict ?? failureOf(spec, job, pods, heard.lines));
        }
        capacity.note(pods);
        await capacity.check(job, pod);
        heard.ended(pods);
      }
      await heard.pause(POLL_MS, ENDING_POLL_MS);
    }
  } finally {
    log.close();
  }
}

async function look(cluster: Cluster, name: string) {
  const [job, pods] = await Promise.all([cluster.job(name), cluster.podsOf(name)]);
  return { job, pods };
}

/** The newest pod that speaks: of several workers, the first. */
const leader = (pods: readonly V1Pod[]): V1Pod | undefined =>
  pods.findLast(({ metadata }) => (metadata?.labels?.["batch.kubernetes.io/job-completion-index"] ?? "0") === "0");

async function confirm(spec: StageSpec, isDone: () => Promise<boolean>): Promise<void> {
  if (await isDone()) return;
  throw new StageFailed(
    `${spec.name}: its Job ended well, but there is no valid manifest at ${spec.output}; pulumi up again`,
  );
}

/** What a stage has said. Its lines come in a flood when a program attaches late: only the newest progress is shown. */
class Heard {
  readonly lines: string[] = [];
  private doneAt: number | undefined;
  private finish: () => void = () => {};
  private readonly end = new Promise<void>((resolve) => {
    this.finish = resolve;
  });
  private newest: Extract<Event, { event: "progress" }> | undefined;
  private readonly known = new Set<string>();

  constructor(private readonly show: Say) {}

  take(line: string): void {
    const event = eventOf(line);
    if (!event) {
      this.lines.push(line);
      if (this.lines.length > 100) this.lines.shift();
    } else if (event.event === "progress") this.newest = event;
    else if (event.event === "warning") this.once(event.message, () => this.show.warn(event.message));
    else if (event.event === "done" || event.event === "skipped") {
      this.doneAt = Date.now();
      this.finish();
    }
  }

  /** Whether it has said that it is done, at least so long ago. */
  saidDone(milliseconds: number): boolean {
    return this.doneAt !== undefined && Date.now() - this.doneAt >= milliseconds;
  }

  /** Waits until it says that it is done, but no longer than `before`; once it has, for `after`. In milliseconds. */
  async pause(before: number, after: number): Promise<void> {
    const sleep = (length: number) => new Promise<void>((resolve) => setTimeout(resolve, length));
    await (this.doneAt === undefined ? Promise.race([sleep(before), this.end]) : sleep(after));
  }

  say(): void {
    if (!this.newest) return;
    const text = progressText(this.newest, undefined).trim();
    this.show.status(text);
    this.once(`phase ${this.newest.phase}`, () => this.show.info(text));
    this.newest = undefined;
  }

  /** Says once of each pod that ended badly that the stage goes on in another. */
  ended(pods: readonly V1Pod[]): void {
    for (const pod of pods) {
      const end = endOf(pod);
      if (!end || end.exitCode === 0 || end.exitCode === USER_MISTAKE) continue;
      const why =
        end.exitCode === 143 ? "was stopped, and had saved" : `ended with exit code ${end.exitCode} (${end.reason})`;
      this.once(pod.metadata?.name ?? "", () =>
        this.show.warn(`pod ${pod.metadata?.name} ${why}; another one goes on`),
      );
    }
  }

  private once(key: string, act: () => void): void {
    if (this.known.has(key)) return;
    this.known.add(key);
    act();
  }
}

/** Says why no pod runs, and ends a Job that no node has taken in time. */
class Capacity {
  verdict: string | undefined;
  private since: number | undefined;
  private said = "";

  constructor(
    private readonly spec: StageSpec,
    private readonly name: string,
    private readonly watching: Watching,
  ) {}

  /** Once a pod was placed, waiting is for something else than capacity. */
  note(pods: readonly V1Pod[]): void {
    if (pods.some(({ status }) => status?.phase === "Running")) this.since = undefined;
  }

  async check(job: V1Job, pod: V1Pod | undefined): Promise<void> {
    const { cluster, say, capacityTimeoutMinutes } = this.watching;
    const waiting = this.verdict ? undefined : await waitingOf(cluster, job, pod);
    if (!waiting) return;
    this.since ??= Date.now();
    say.status(`waiting: ${waiting.reason}`);
    if (waiting.reason !== this.said) say.info(`${this.spec.name} waits: ${waiting.reason}`);
    this.said = waiting.reason;
    const minutes = (Date.now() - this.since) / 60_000;
    if (!waiting.hopeless && minutes < capacityTimeoutMinutes) return;
    const after = waiting.hopeless ? "" : ` after ${capacityTimeoutMinutes} min (retort:capacityTimeoutMinutes)`;
    this.verdict = `${this.spec.name} was given up${after}: ${waiting.reason}\nits Job was ended, so that it does not start unseen; pulumi up again tries once more`;
    await cluster.end(this.name, `no pod could start: ${waiting.reason}`.slice(0, 500));
  }
}
