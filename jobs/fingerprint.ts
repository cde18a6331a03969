/** A stage's fingerprint: one hash of all that decides its result, and of nothing else. */
import { createHash } from "node:crypto";
import type { StageInputs, StageName } from "./stages";

/** A base model by its content. */
export interface ModelSource {
  /** As in the config: a local directory (absolute), s3://…, hf://org/name@revision or pypi://package. */
  readonly uri: string;
  /** A package's version, a repository's commit or tag, or `sha256:…` of the content of a directory or a bucket. */
  readonly revision: string;
}

/** What a fingerprint is made of. */
export interface Deciding {
  readonly stage: StageName;
  readonly config: Readonly<Record<string, unknown>>;
  readonly image: string;
  readonly lock: string;
  readonly inputs: StageInputs;
}

/** 64 hex digits. The URIs of data and of earlier stages do not count: a file that moves runs nothing again. */
export function fingerprintOf({ stage, config, image, lock, inputs }: Deciding): string {
  const { model, data, train, merge } = inputs;
  const content = {
    stage,
    config,
    image,
    lock,
    inputs: {
      model: modelIdentity(model),
      data: Object.fromEntries(Object.entries(data ?? {}).map(([name, file]) => [name, file.sha256])),
      train: train?.fingerprint,
      merge: merge?.fingerprint,
    },
  };
  return createHash("sha256").update(canonicalJson(content)).digest("hex");
}

/** A revision that is a hash of the content says it all; a version or a commit needs the name it belongs to. */
const modelIdentity = ({ uri, revision }: ModelSource): string =>
  revision.startsWith("sha256:") ? revision : `${uri} ${revision}`;

/** JSON with the keys of every object in order and no white space, so that equal values have equal text. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map((item) => canonicalJson(item ?? null)).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const entries = Object.entries(value)
    .filter(([, item]) => item !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, item]) => `${JSON.stringify(key)}:${canonicalJson(item)}`);
  return `{${entries.join(",")}}`;
}
