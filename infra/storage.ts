/** The store of a stack: where its artifacts lie, and how this program reaches it. Buckets are made by their owners, and kept. */
import { type S3Store, s3Store } from "../jobs/s3";
import type { Settings } from "./settings";

export interface Storage {
  /** URI below which Retort keeps everything: data/ by content, runs/ by fingerprint. */
  readonly base: string;
  readonly runs: string;
  readonly store: S3Store;
}

export function storage({ bucket, prefix, ...access }: Settings["storage"]): Storage {
  const base = ["s3:/", bucket, ...(prefix ? [prefix] : [])].join("/");
  return { base, runs: `${base}/runs`, store: s3Store(access) };
}
