/** Finds what a finished run read, by its content, wherever it lies now; what is not the same any more is a problem. */
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { isUri } from "../../configs/load";
import { DATA_NAMES, type DataName } from "../../configs/schema";
import type { ModelSource } from "../fingerprint";
import type { Hashes } from "../hashing";
import type { S3Store } from "../s3";
import { modelSource } from "../sources";
import { dataOf, type FinishedRun } from "./finishedRun";

export interface Looking {
  readonly hashes: Hashes;
  /** The store of a run that lies in one. */
  readonly store: S3Store | undefined;
  /** Folders of this machine that may hold its data. */
  readonly folders: readonly string[];
  /** Whether stages are to read local files: what is in the store is then copied into `cache`. */
  readonly local: boolean;
  readonly cache: string;
  /** The text of images/trainer/requirements.lock, which pins models that are packages. */
  readonly requirements: string;
}

export interface Found {
  readonly places: Readonly<Partial<Record<DataName, string>>>;
  /** Each with how to mend it. Nothing may start while there is one. */
  readonly problems: readonly string[];
}

export async function findInputs(run: FinishedRun, looking: Looking): Promise<Found> {
  const data = dataOf(run);
  const names = DATA_NAMES.filter((name) => data[name]);
  const found = await Promise.all(
    names.map(async (name) => {
      const { uri, sha256 } = data[name] ?? { uri: "", sha256: "" };
      const place = await placeOf(uri, sha256, run, looking);
      return { name, place, problem: place === undefined ? await missing(name, uri, sha256, looking) : undefined };
    }),
  );
  const model = await modelProblem(run.train.inputs.model, looking);
  return {
    places: Object.fromEntries(found.flatMap(({ name, place }) => (place === undefined ? [] : [[name, place]]))),
    problems: [...(model ? [model] : []), ...found.flatMap(({ problem }) => problem ?? [])],
  };
}

/** Where a file of this content is: where it was, in the store under its own hash, or in one of the folders. */
async function placeOf(
  uri: string,
  sha256: string,
  run: FinishedRun,
  { hashes, store, folders, local, cache }: Looking,
): Promise<string | undefined> {
  if (store && isUri(uri)) {
    const base = run.uri.slice(0, run.uri.lastIndexOf("/runs/"));
    for (const place of new Set([uri, `${base}/data/${sha256}.jsonl`])) {
      const there = await store.sha256(place).catch(() => undefined);
      if (there === sha256) return local ? copied(place, sha256, store, cache) : place;
    }
  }
  const candidates = [...(isUri(uri) ? [] : [uri]), ...folders.flatMap(filesIn)];
  for (const path of candidates) if ((await hashOf(path, hashes)) === sha256) return path;
  return undefined;
}

async function copied(place: string, sha256: string, store: S3Store, cache: string): Promise<string> {
  const text = (await store.read(place)) ?? "";
  if (createHash("sha256").update(text).digest("hex") !== sha256)
    throw new Error(`${place}: changed while it was read`);
  const path = join(cache, `${sha256}.jsonl`);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
  return path;
}

function filesIn(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ name }) => join(folder, name));
}

const hashOf = async (path: string, hashes: Hashes): Promise<string | undefined> =>
  statSync(path, { throwIfNoEntry: false })?.isFile() ? hashes.ofFile(path) : undefined;

async function missing(name: DataName, uri: string, sha256: string, { hashes, store }: Looking): Promise<string> {
  const now = isUri(uri) ? await store?.sha256(uri).catch(() => undefined) : await hashOf(uri, hashes);
  const why = now === undefined ? `${uri} is gone` : `${uri} has changed (${now.slice(0, 12)}… now)`;
  return `data.${name}: no file with the sha256 ${sha256}: ${why}; bring it back, or name a folder that holds it: --data FOLDER`;
}

async function modelProblem(then: ModelSource, looking: Looking): Promise<string | undefined> {
  const { uri, revision } = then;
  const now = await revisionNow(uri, looking).catch((error: Error) => ({ error: error.message }));
  if (now === revision) return undefined;
  const what = typeof now === "string" ? `is ${now} now, and was ${revision}` : now.error;
  return `model.base: ${uri} ${what}; a reproduction needs the very model: bring that one back`;
}

async function revisionNow(uri: string, { store, local, hashes, requirements }: Looking): Promise<string> {
  if (uri.startsWith("s3://")) {
    if (!local && store) return store.revision(uri);
    throw new Error("is not of this machine: leave out --local");
  }
  if (!isUri(uri) && !statSync(uri, { throwIfNoEntry: false })?.isDirectory()) throw new Error("is gone");
  return (await modelSource(uri, requirements, hashes)).revision;
}

/** The project's lock of the trainer's packages. */
export const requirementsOf = (root: string): string =>
  readFileSync(join(root, "images/trainer/requirements.lock"), "utf8");
