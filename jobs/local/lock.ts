/** One launcher at a time: a lock file with the process that holds it, and the child that may outlive it for a moment. */
import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { VisibleError } from "../visibleError";

/** A process, told from a later one with the same number by the time it started. */
interface ProcessId {
  readonly pid: number;
  readonly started: string;
}

interface Holder extends ProcessId {
  readonly host: string;
  /** The process that the holder has running. It ends by itself soon after the holder is gone. */
  readonly child?: ProcessId;
}

/** Somebody else holds the lock: who, and what to do. */
export class LockedError extends VisibleError {
  override readonly name = "LockedError";
}

export interface Lock {
  /** Notes the process that must have ended before another launcher may take over. */
  setChild(pid: number): void;
  release(): void;
}

/**
 * Takes the lock at `path`, from a holder that is gone, too: `onWait` is called if that holder's child has to end first.
 * Throws LockedError if the holder is alive, or its child does not end within `waitSeconds`.
 */
export async function takeLock(
  path: string,
  what: string,
  { onWait = () => {}, waitSeconds = 90 }: { onWait?: () => void; waitSeconds?: number } = {},
): Promise<Lock> {
  mkdirSync(dirname(path), { recursive: true });
  const me: Holder = { ...processId(process.pid), host: hostname() };
  const waitUntil = Date.now() + waitSeconds * 1000;
  let waited = false;
  while (!create(path, me)) {
    const text = read(path);
    if (text === undefined) continue; // released meanwhile
    const holder = parse(text);
    if (holder && holder.host !== me.host) {
      throw new LockedError(`${what} is in use on ${holder.host}. If nothing runs there any more, remove ${path}`);
    }
    if (holder && alive(holder)) {
      throw new LockedError(`${what} is in use by process ${holder.pid}: wait for it, or stop it`);
    }
    if (holder?.child && alive(holder.child)) {
      if (Date.now() > waitUntil) {
        throw new LockedError(
          `${what}: process ${holder.child.pid}, of a launcher that is gone, does not end: stop it`,
        );
      }
      if (!waited) onWait();
      waited = true;
      await sleep(200);
      continue;
    }
    removeStale(path, text);
  }
  let held = true;
  return {
    setChild: (pid) => replace(path, { ...me, child: processId(pid) }),
    release() {
      if (held) rmSync(path, { force: true });
      held = false; // from now on it may be another's
    },
  };
}

/** Creates the lock whole: a reader never sees half of one. False if there is one. */
function create(path: string, holder: Holder): boolean {
  const own = `${path}.${process.pid}`;
  writeFileSync(own, JSON.stringify(holder));
  try {
    linkSync(own, path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  } finally {
    rmSync(own, { force: true });
  }
}

function replace(path: string, holder: Holder): void {
  const own = `${path}.${process.pid}`;
  writeFileSync(own, JSON.stringify(holder));
  renameSync(own, path);
}

/** Removes the lock if it is still the stale one that was read, and not the fresh one of a launcher that was quicker. */
function removeStale(path: string, stale: string): void {
  const aside = `${path}.${process.pid}.stale`;
  try {
    renameSync(path, aside);
  } catch {
    return; // the quicker one moved it
  }
  if (read(aside) !== stale) {
    try {
      linkSync(aside, path);
    } catch {
      // A third one took it in between, and the quicker one has started: better two than none, and stages check again.
    }
  }
  rmSync(aside, { force: true });
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

function parse(text: string): Holder | undefined {
  try {
    return JSON.parse(text) as Holder;
  } catch {
    return undefined;
  }
}

const processId = (pid: number): ProcessId => ({ pid, started: startOf(pid) });

function alive({ pid, started }: ProcessId): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EPERM") return false;
  }
  return started === startOf(pid);
}

/** When a process started, in clock ticks since boot; empty where there is no /proc. */
function startOf(pid: number): string {
  const stat = read(`/proc/${pid}/stat`);
  // The name, in parentheses, may hold anything: the fields begin after the last one.
  return stat?.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? "";
}
