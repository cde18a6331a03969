/** Finds out what a run reads, by content: data files, base model, and the source trees that local stages run from. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { ConfigError, isUri } from "../configs/load";
import { DATA_NAMES, type RunConfig } from "../configs/schema";
import type { ModelSource } from "./fingerprint";
import type { Hashes } from "./hashing";
import type { S3Store } from "./s3";
import type { FileSource, ImageSource, RunSources } from "./stages";

/** Gives the store that s3:// URIs lie in, where there are any. */
export type StoreOf = () => Promise<S3Store>;

/**
 * The sources of a run whose stages are processes of this machine. `root` is the project's directory. s3:// URIs are
 * read with this machine's own AWS environment, as the stages do.
 */
export async function localSources(config: RunConfig, root: string, hashes: Hashes): Promise<RunSources> {
  const [trainerTree, evaluatorTree] = [join(root, "images/trainer"), join(root, "images/evaluator")];
  const lockFile = join(trainerTree, "requirements.lock"); // one environment serves every stage of a local run
  return {
    model: await modelSource(config.model.base, await readFile(lockFile, "utf8"), hashes, machineStore),
    data: await dataSources(config, hashes, machineStore),
    trainer: await localImage([trainerTree], lockFile, hashes),
    evaluator: await localImage([trainerTree, evaluatorTree], lockFile, hashes),
  };
}

/** The base model and what pins its content. Throws ConfigError if nothing does. */
export async function modelSource(
  base: string,
  requirements: string,
  hashes: Hashes,
  store: StoreOf,
): Promise<ModelSource> {
  const [, scheme, rest = ""] = /^([a-z0-9]+):\/\/(.*)$/.exec(base) ?? [];
  switch (scheme) {
    case undefined:
      return { uri: base, revision: `sha256:${await hashes.ofTrees([base], isHidden)}` };
    case "hf":
      return { uri: base, revision: rest.slice(rest.lastIndexOf("@") + 1) };
    case "pypi": {
      const revision = pinnedVersion(rest, requirements);
      if (revision) return { uri: base, revision };
      throw new ConfigError([`model.base: ${rest} is not among the packages of images/trainer/requirements.lock`]);
    }
    case "s3":
      return { uri: base, revision: await (await store()).revision(base) };
    default:
      throw new ConfigError([`model.base: ${base}: there is no way to read ${scheme}://`]);
  }
}

/** The version of a package in the text of a requirements.lock. */
export function pinnedVersion(name: string, requirements: string): string | undefined {
  const normal = (text: string) => text.toLowerCase().replace(/[-_.]+/g, "-");
  const pins = requirements.matchAll(/^([A-Za-z0-9._-]+)==([^\s;\\]+)/gm);
  return [...pins].find(([, pinned = ""]) => normal(pinned) === normal(name))?.[2];
}

async function dataSources({ data }: RunConfig, hashes: Hashes, store: StoreOf): Promise<RunSources["data"]> {
  const found: [string, FileSource][] = [];
  for (const name of DATA_NAMES) {
    const uri = data[name];
    if (uri === undefined) continue;
    const sha256 = isUri(uri) ? await remoteHash(uri, await store(), hashes) : await hashes.ofFile(uri);
    found.push([name, { uri, sha256 }]);
  }
  return Object.fromEntries(found);
}

/** sha256 of a file in a store, which is read again only if it has changed. */
export async function remoteHash(uri: string, store: S3Store, hashes: Hashes): Promise<string> {
  const head = await store.head(uri);
  return head ? hashes.ofRemote(uri, head.stamp, () => store.sha256(uri)) : store.sha256(uri);
}

/** The store of this machine's own AWS environment. */
export async function machineStore(): Promise<S3Store> {
  const { s3Store } = await import("./s3.js"); // loads for a while, and few local runs need it
  const { AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, AWS_REGION, AWS_DEFAULT_REGION } = process.env;
  return s3Store({
    endpoint: AWS_ENDPOINT_URL_S3 ?? AWS_ENDPOINT_URL,
    region: AWS_REGION ?? AWS_DEFAULT_REGION ?? "us-east-1",
  });
}

async function localImage(trees: string[], lockFile: string, hashes: Hashes): Promise<ImageSource> {
  return { image: `local@sha256:${await hashes.ofTrees(trees, isNoSource)}`, lock: await hashes.ofFile(lockFile) };
}

const isHidden = (name: string): boolean => name.startsWith(".");

/** What a stage's result cannot depend on: compiled leftovers, and what only an image is built with. */
export const isNoSource = (name: string): boolean =>
  isHidden(name) || name === "__pycache__" || name.endsWith(".egg-info") || name === "Dockerfile";
