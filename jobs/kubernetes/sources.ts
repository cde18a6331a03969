/** What a run on Kubernetes reads, by content: data that is uploaded once, a model that pods can reach, images by digest. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ConfigError, isUri } from "../../configs/load";
import { DATA_NAMES, type DataName, type RunConfig } from "../../configs/schema";
import type { Settings } from "../../infra/settings";
import type { ModelSource } from "../fingerprint";
import { Hashes } from "../hashing";
import { findPython } from "../local/python";
import type { S3Store } from "../s3";
import { modelSource, remoteHash } from "../sources";
import type { FileSource, RunSources } from "../stages";

/** A local data file and the place it is to be copied to. */
export interface Upload {
  readonly name: DataName;
  readonly path: string;
  readonly uri: string;
}

export interface ClusterSources {
  /** All but the images, which a target may still have to build. */
  readonly sources: Pick<RunSources, "model" | "data">;
  readonly uploads: readonly Upload[];
}

/**
 * The sources of a run, and the local files among them, checked. `base` is the URI below which Retort keeps everything.
 * Throws ConfigError for what pods cannot reach, and for rows that no stage could use.
 */
export async function clusterSources(
  config: RunConfig,
  { root, base, store }: { root: string; base: string; store: S3Store },
): Promise<ClusterSources> {
  const hashes = await Hashes.load(join(root, ".cache/hashes.json"));
  const data: [DataName, FileSource][] = [];
  const uploads: Upload[] = [];
  for (const name of DATA_NAMES) {
    const place = config.data[name];
    if (place === undefined) continue;
    if (isUri(place)) {
      data.push([name, { uri: place, sha256: await remoteHash(place, store, hashes) }]);
      continue;
    }
    const sha256 = await hashes.ofFile(place);
    const uri = `${base}/data/${sha256}.jsonl`;
    data.push([name, { uri, sha256 }]);
    uploads.push({ name, path: place, uri });
  }
  const model = await reachableModel(config.model.base, root, store, hashes);
  await hashes.save();
  return { sources: { model, data: Object.fromEntries(data) }, uploads };
}

/** An image's digest covers its requirements.lock; the stage itself writes the lock's hash into its manifest. */
export function imageSources({ trainer, evaluator }: Settings["images"]): Pick<RunSources, "trainer" | "evaluator"> {
  return { trainer: { image: trainer, lock: "" }, evaluator: { image: evaluator, lock: "" } };
}

/** Copies the files that are not in the store yet, after a check of their rows. Returns the names of those copied. */
export async function uploadData(uploads: readonly Upload[], store: S3Store): Promise<DataName[]> {
  const copied: DataName[] = [];
  for (const { name, path, uri } of uploads) {
    if (await store.uploadOnce(path, uri)) copied.push(name);
  }
  return copied;
}

/** Checks the rows of local files. A file that is in the store already was checked before it was copied. */
export async function checkData(uploads: readonly Upload[], root: string, store: S3Store): Promise<void> {
  const there = await Promise.all(uploads.map(({ uri }) => store.head(uri)));
  const unchecked = uploads.filter((_, index) => !there[index]);
  if (unchecked.length === 0) return;
  const files = Object.fromEntries(uploads.map(({ name, path }) => [name, path]));
  const env = { ...process.env, PYTHONPATH: join(root, "images/trainer"), PYTHONDONTWRITEBYTECODE: "1" };
  const args = ["-c", CHECK, JSON.stringify(files)];
  const { status, stderr } = spawnSync(await findPython(), args, { env, encoding: "utf8", maxBuffer: 1 << 26 });
  if (status === 2) throw new ConfigError(stderr.trim().split("\n"));
  if (status !== 0) throw new Error(`the check of the data ended with ${status}: ${stderr}`);
}

/** The stages' own reader, which needs nothing but Python. Lengths in tokens are for the train stage to check. */
const CHECK = `
import json, pathlib, sys
from retort.data import DataError, read_files
try:
    read_files({kind: pathlib.Path(path) for kind, path in json.loads(sys.argv[1]).items()})
except DataError as error:
    print(error, file=sys.stderr)
    sys.exit(2)
`;

async function reachableModel(base: string, root: string, store: S3Store, hashes: Hashes): Promise<ModelSource> {
  if (!isUri(base)) {
    throw new ConfigError([`model.base: ${base}: pods see no directory of this machine; copy it to the store, s3://…`]);
  }
  const lock = readFileSync(join(root, "images/trainer/requirements.lock"), "utf8");
  return modelSource(base, lock, hashes, async () => store);
}
