/** Finds out what a run reads, by content: data files, base model, and the source trees that local stages run from. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { ConfigError, isUri } from "../configs/load";
import { DATA_NAMES, type RunConfig } from "../configs/schema";
import type { ModelSource } from "./fingerprint";
import type { Hashes } from "./hashing";
import type { FileSource, ImageSource, RunSources } from "./stages";

/** The sources of a run whose stages are processes of this machine. `root` is the project's directory. */
export async function localSources(config: RunConfig, root: string, hashes: Hashes): Promise<RunSources> {
  const [trainerTree, evaluatorTree] = [join(root, "images/trainer"), join(root, "images/evaluator")];
  const lockFile = join(trainerTree, "requirements.lock"); // one environment serves every stage of a local run
  return {
    model: await modelSource(config.model.base, await readFile(lockFile, "utf8"), hashes),
    data: await dataSources(config, hashes),
    trainer: await localImage([trainerTree], lockFile, hashes),
    evaluator: await localImage([trainerTree, evaluatorTree], lockFile, hashes),
  };
}

/** The base model and what pins its content. Throws ConfigError if nothing does. */
export async function modelSource(base: string, requirements: string, hashes: Hashes): Promise<ModelSource> {
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
    default:
      throw new ConfigError([`model.base: ${base}: a local run reads no ${scheme}:// model; copy it here first`]);
  }
}

/** The version of a package in the text of a requirements.lock. */
export function pinnedVersion(name: string, requirements: string): string | undefined {
  const normal = (text: string) => text.toLowerCase().replace(/[-_.]+/g, "-");
  const pins = requirements.matchAll(/^([A-Za-z0-9._-]+)==([^\s;\\]+)/gm);
  return [...pins].find(([, pinned = ""]) => normal(pinned) === normal(name))?.[2];
}

async function dataSources({ data }: RunConfig, hashes: Hashes): Promise<RunSources["data"]> {
  const found: [string, FileSource][] = [];
  for (const name of DATA_NAMES) {
    const uri = data[name];
    if (uri === undefined) continue;
    if (isUri(uri))
      throw new ConfigError([`data.${name}: ${uri}: a local run reads files of this machine; copy it here`]);
    found.push([name, { uri, sha256: await hashes.ofFile(uri) }]);
  }
  return Object.fromEntries(found);
}

async function localImage(trees: string[], lockFile: string, hashes: Hashes): Promise<ImageSource> {
  return { image: `local@sha256:${await hashes.ofTrees(trees, isNoSource)}`, lock: await hashes.ofFile(lockFile) };
}

const isHidden = (name: string): boolean => name.startsWith(".");

/** What a stage's result cannot depend on: compiled leftovers, and what only an image is built with. */
export const isNoSource = (name: string): boolean =>
  isHidden(name) || name === "__pycache__" || name.endsWith(".egg-info") || name === "Dockerfile";
