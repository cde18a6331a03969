/** Finds what a finished run read, by its content, wherever it lies now; what is not the same any more is a problem. */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { isUri } from "../../configs/load";
import { DATA_NAMES, type DataName } from "../../configs/schema";
import type { ModelSource } from "../fingerprint";
import type { Hashes } from "../hashing";
import { modelSource, remoteHash, type StoreOf } from "../sources";
import { dataOf, type FinishedRun } from "./finishedRun";

export interface Looking {
  readonly hashes: Hashes;
  /** Gives the store that s3:// URIs lie in, where there are any. */
  readonly store: StoreOf;
  /** Folders of this machine that may hold its data. */
  readonly folders: readonly string[];
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
async function placeOf(uri: string, sha256: string, run: FinishedRun, looking: Looking): Promise<string | undefined> {
  const base = run.uri.slice(0, Math.max(0, run.uri.lastIndexOf("/runs/")));
  const kept = isUri(base) ? [`${base}/data/${sha256}.jsonl`] : [];
  for (const place of [uri, ...kept, ...looking.folders.flatMap(filesIn)]) {
    if ((await hashOf(place, looking)) === sha256) return place;
  }
  return undefined;
}

function filesIn(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ name }) => join(folder, name));
}

/** Undefined if nothing is there. */
async function hashOf(place: string, { hashes, store }: Looking): Promise<string | undefined> {
  if (isUri(place)) return remoteHash(place, await store(), hashes).catch(() => undefined);
  return statSync(place, { throwIfNoEntry: false })?.isFile() ? hashes.ofFile(place) : undefined;
}

async function missing(name: DataName, uri: string, sha256: string, looking: Looking): Promise<string> {
  const now = await hashOf(uri, looking);
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

async function revisionNow(uri: string, { store, hashes, requirements }: Looking): Promise<string> {
  if (!isUri(uri) && !statSync(uri, { throwIfNoEntry: false })?.isDirectory()) throw new Error("is gone");
  return (await modelSource(uri, requirements, hashes, store)).revision;
}

/** The project's lock of the trainer's packages. */
export const requirementsOf = (root: string): string =>
  readFileSync(join(root, "images/trainer/requirements.lock"), "utf8");
