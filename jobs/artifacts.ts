/** Where every artifact of a run lies, and whether a stage's manifest says that it is done. */
import { statSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { relative, resolve, sep } from "node:path";
import { z } from "zod";
import type { StageName } from "./stages";

/** The directory of a stage's artifacts: runs/<run>/<stage>-<first 12 hex digits of its fingerprint>. */
export const stageOutput = (runs: string, run: string, stage: StageName, fingerprint: string): string =>
  join(runs, run, `${stage}-${fingerprint.slice(0, 12)}`);

/** A path below a URI: a local directory or s3://bucket/prefix. */
export const join = (uri: string, ...parts: string[]): string => [uri.replace(/\/+$/, ""), ...parts].join("/");

/** What lies where below a stage's output. */
export const ARTIFACTS = {
  manifest: "manifest.json",
  document: "stage.json",
  train: {
    adapter: "adapter",
    checkpoints: "checkpoints",
    summary: "training_summary.json",
    tensorboard: "tensorboard",
  },
  merge: { model: "model", report: "merge_report.json" },
  evaluate: { responses: "responses.jsonl", report: "report.json", page: "report.html" },
} as const;

const Manifest = z.looseObject({
  stage: z.string(),
  fingerprint: z.string(),
  outputs: z.array(z.looseObject({ path: z.string(), bytes: z.number() })).min(1),
  startedAt: z.string(),
  finishedAt: z.string(),
  metrics: z.record(z.string(), z.unknown()),
});

/** Written last by a stage: the truth about it. Times are ISO 8601. */
export type Manifest = z.output<typeof Manifest>;

/** Whether a stage is done. `why` says what a person should know: nothing was there, or what is wrong with it. */
export type StageState =
  | { readonly done: true; readonly manifest: Manifest }
  | { readonly done: false; readonly why: string };

/** What a manifest is checked against: the files of one store. */
export interface Store {
  /** The file's text, or undefined if there is none. */
  read(uri: string): Promise<string | undefined>;
  /** Every file below a directory: its path relative to it, and its size in bytes. Empty if there is none. */
  listing(uri: string): Promise<ReadonlyMap<string, number>>;
}

/** This machine's files. */
export const localStore: Store = {
  read: (path) => readFile(path, "utf8").catch(unlessAbsent(undefined)),
  async listing(path) {
    const entries = await readdir(path, { recursive: true, withFileTypes: true }).catch(unlessAbsent([]));
    const files = entries.filter((entry) => entry.isFile()).map((entry) => resolve(entry.parentPath, entry.name));
    return new Map(
      files.flatMap((file) => {
        const stat = statSync(file, { throwIfNoEntry: false }); // a stage that runs removes old checkpoints meanwhile
        return stat ? [[relative(path, file).split(sep).join("/"), stat.size]] : [];
      }),
    );
  },
};

/** A stage is done if its manifest is whole, its own, and every artifact that it names is there with its size. */
export async function stageState(output: string, fingerprint: string, store: Store): Promise<StageState> {
  const text = await store.read(join(output, ARTIFACTS.manifest));
  if (text === undefined) return { done: false, why: "has not run" };
  const manifest = parseManifest(text);
  if (!manifest) return { done: false, why: "its manifest is torn" };
  if (manifest.fingerprint !== fingerprint) return { done: false, why: "its manifest is another fingerprint's" };
  const there = await store.listing(output);
  for (const { path, bytes } of manifest.outputs) {
    const size = there.get(path);
    if (size === undefined) return { done: false, why: `${path} is gone` };
    if (size !== bytes) return { done: false, why: `${path} has ${size} bytes, not ${bytes}` };
  }
  return { done: true, manifest };
}

function parseManifest(text: string): Manifest | undefined {
  try {
    return Manifest.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

/** For a promise of something that need not exist. */
function unlessAbsent<T>(absent: T): (error: unknown) => T {
  return (error) => {
    if (["ENOENT", "ENOTDIR"].includes((error as NodeJS.ErrnoException).code ?? "")) return absent;
    throw error;
  };
}
