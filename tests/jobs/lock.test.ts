/** A lock has one holder at a time, and is taken from those that are gone. */
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type LockedError, takeLock } from "../../jobs/local/lock";

let directory: string;
let path: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "retort-lock-"));
  path = join(directory, "sub/run.lock");
});
afterEach(() => rmSync(directory, { recursive: true }));

const take = (options = {}) => takeLock(path, "the run x", options);
const refusal = (error: LockedError) => error.message;

test("is taken, refused to others, released, and taken again; nothing is left", async () => {
  const lock = await take();
  expect(await take().catch(refusal)).toBe(`the run x is in use by process ${process.pid}: wait for it, or stop it`);
  lock.release();
  expect(existsSync(path)).toBe(false);
  const next = await take();
  lock.release(); // again: it is another's by now
  expect(existsSync(path)).toBe(true);
  next.release();
  expect(readdirSync(join(directory, "sub"))).toEqual([]);
});

test("of a process that is gone is taken over, also if its number is another's by now", async () => {
  (await take()).release();
  for (const stale of [
    { pid: 2 ** 22 + 1, started: "1" },
    { pid: process.pid, started: "1" },
  ]) {
    writeFileSync(path, JSON.stringify({ ...stale, host: hostname() }));
    (await take()).release();
  }
});

test("that is torn is taken over", async () => {
  (await take()).release();
  writeFileSync(path, '{"pid": 1');
  (await take()).release();
});

test("of another machine is not touched: its processes cannot be seen", async () => {
  (await take()).release();
  writeFileSync(path, JSON.stringify({ pid: 1, started: "1", host: "elsewhere" }));
  expect(await take().catch(refusal)).toBe(
    `the run x is in use on elsewhere. If nothing runs there any more, remove ${path}`,
  );
});

test("of a process that is gone, while its child still runs, is waited for", async () => {
  const lock = await take();
  const child = spawn("sleep", ["1"]);
  lock.setChild(child.pid ?? 0);
  // The child's line stays, the holder becomes one that is gone.
  writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, "utf8")), pid: 2 ** 22 + 1 }));
  let waited = 0;
  const started = Date.now();
  expect(await take({ waitSeconds: 0.3, onWait: () => waited++ }).catch(refusal)).toBe(
    `the run x: process ${child.pid}, of a launcher that is gone, does not end: stop it`,
  );
  (await take({ onWait: () => waited++ })).release();
  expect(waited).toBe(2);
  expect(Date.now() - started).toBeGreaterThan(800);
});

test("of a process that is gone is taken by exactly one of several that find it at once", async () => {
  (await take()).release();
  writeFileSync(path, JSON.stringify({ pid: 2 ** 22 + 1, started: "1", host: hostname() }));
  const outcomes = Array.from({ length: 6 }, async () => {
    const program = spawn(process.execPath, ["--import", "tsx", join(__dirname, "takeLock.ts"), path]);
    return (await text(program.stdout)).trim();
  });
  expect((await Promise.all(outcomes)).sort()).toEqual([...Array(5).fill("refused"), "taken"]);
});
