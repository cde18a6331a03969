/** An S3-compatible store as this program sees it: reading manifests, writing small records, uploading data once. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { basename } from "node:path";
import {
  CreateBucketCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from "@aws-sdk/client-s3";
import type { Store } from "./artifacts";
import { VisibleError } from "./visibleError";
import "./quietSdk";

/** How to reach a store. Without keys, the credentials are this machine's own (AWS profile, environment, SSO). */
export interface S3Access {
  readonly endpoint?: string | undefined;
  readonly region: string;
  readonly accessKeyId?: string | undefined;
  readonly secretAccessKey?: string | undefined;
  /** A bucket that is not there yet is empty: this program is going to make it. */
  readonly toBeMade?: boolean;
}

export interface Head {
  /** In bytes. */
  readonly size: number;
  /** Another one after every change. */
  readonly stamp: string;
}

export interface S3Store extends Store {
  write(uri: string, text: string): Promise<void>;
  /** Copies a local file to `uri`. Returns false if a file is there already: content-addressed data is copied once. */
  uploadOnce(path: string, uri: string): Promise<boolean>;
  /** sha256 over names, sizes and ETags of all that lies at `uri`: changes when the content does. Throws if nothing does. */
  revision(uri: string): Promise<string>;
  /** What tells one content of the file at `uri` from another, without reading it; undefined if there is no such file. */
  head(uri: string): Promise<Head | undefined>;
  /** sha256 of the bytes at `uri`, hex. Throws if there is no such file. */
  sha256(uri: string): Promise<string>;
  /** Names of the directories right below `uri`. */
  directories(uri: string): Promise<string[]>;
  /** Makes the bucket that `uri` lies in, unless it is there. */
  makeBucket(uri: string): Promise<void>;
}

export function s3Store(access: S3Access): S3Store {
  const { endpoint, region, accessKeyId, secretAccessKey, toBeMade = false } = access;
  const isAbsent = (error: unknown): boolean =>
    ABSENT.includes((error as Error).name) || (toBeMade && (error as Error).name === "NoSuchBucket");
  const client = new S3Client({
    region,
    ...(endpoint && { endpoint, forcePathStyle: true }),
    ...(accessKeyId && secretAccessKey && { credentials: { accessKeyId, secretAccessKey } }),
    // Stores other than Amazon's do not all know the newer checksums.
    requestChecksumCalculation: "WHEN_REQUIRED",
    responseChecksumValidation: "WHEN_REQUIRED",
    maxAttempts: 5,
  });

  const body = async (uri: string) => {
    try {
      return (await client.send(new GetObjectCommand(location(uri)))).Body;
    } catch (error) {
      if (isAbsent(error)) return undefined;
      throw explained(error, uri);
    }
  };

  const objects = async (uri: string, delimiter?: string) => {
    const { Bucket, Key } = location(uri);
    const Prefix = `${Key.replace(/\/+$/, "")}/`;
    const files: { name: string; size: number; etag: string }[] = [];
    const directories: string[] = [];
    let ContinuationToken: string | undefined;
    do {
      const page = await client
        .send(new ListObjectsV2Command({ Bucket, Prefix, ContinuationToken, Delimiter: delimiter }))
        .catch((error: unknown) => {
          if (isAbsent(error)) return { Contents: [], CommonPrefixes: [], NextContinuationToken: undefined };
          throw explained(error, uri);
        });
      for (const { Key: key = "", Size = 0, ETag = "" } of page.Contents ?? []) {
        files.push({ name: key.slice(Prefix.length), size: Size, etag: ETag });
      }
      for (const { Prefix: below = "" } of page.CommonPrefixes ?? []) {
        directories.push(below.slice(Prefix.length).replace(/\/$/, ""));
      }
      ContinuationToken = page.NextContinuationToken;
    } while (ContinuationToken);
    return { files, directories };
  };

  const head = async (uri: string): Promise<Head | undefined> => {
    try {
      const { ContentLength, ETag, VersionId, LastModified } = await client.send(new HeadObjectCommand(location(uri)));
      const size = ContentLength ?? 0;
      return { size, stamp: [size, ETag, VersionId, LastModified?.toISOString()].join(" ") };
    } catch (error) {
      if (isAbsent(error)) return undefined;
      throw explained(error, uri);
    }
  };

  return {
    head,
    read: async (uri) => (await body(uri))?.transformToString(),
    listing: async (uri) => new Map((await objects(uri)).files.map(({ name, size }) => [name, size])),
    directories: async (uri) => (await objects(uri, "/")).directories,
    async write(uri, text) {
      await client.send(new PutObjectCommand({ ...location(uri), Body: text })).catch((error: unknown) => {
        throw explained(error, uri);
      });
    },
    async makeBucket(uri) {
      await client.send(new CreateBucketCommand({ Bucket: location(uri).Bucket })).catch((error: Error) => {
        if (error.name !== "BucketAlreadyOwnedByYou") throw explained(error, uri);
      });
    },
    async uploadOnce(path, uri) {
      const { size } = await stat(path);
      if ((await head(uri))?.size === size) return false;
      const file = createReadStream(path);
      await client
        .send(new PutObjectCommand({ ...location(uri), Body: file, ContentLength: size }))
        .catch((error: unknown) => {
          throw explained(error, `${basename(path)} to ${uri}`);
        });
      return true;
    },
    async revision(uri) {
      const { files } = await objects(uri);
      if (files.length === 0) throw new StoreError(`${uri}: nothing is stored there`);
      const hash = createHash("sha256");
      for (const { name, size, etag } of files) hash.update(`${name}\0${size}\0${etag}\n`);
      return `sha256:${hash.digest("hex")}`;
    },
    async sha256(uri) {
      const content = await body(uri);
      if (!content) throw new StoreError(`${uri}: nothing is stored there`);
      const hash = createHash("sha256");
      for await (const chunk of content as AsyncIterable<Uint8Array>) hash.update(chunk);
      return hash.digest("hex");
    },
  };
}

/** The store is not as the user says: a bucket that is not there, keys it refuses, an endpoint that does not answer. */
export class StoreError extends VisibleError {
  override readonly name = "StoreError";
}

function location(uri: string): { Bucket: string; Key: string } {
  const [, Bucket = "", Key = ""] = /^s3:\/\/([^/]+)\/?(.*)$/.exec(uri) ?? [];
  return { Bucket, Key };
}

const ABSENT = ["NoSuchKey", "NotFound"];

const KEYS = "retort:storage.accessKeyId and secretAccessKey, or this machine's AWS environment";
const ENDPOINT = "retort:storage.endpoint, or AWS_ENDPOINT_URL_S3";

const HINTS: Readonly<Record<string, string>> = {
  NoSuchBucket: "there is no such bucket: make it, or mend its name (retort:storage.bucket)",
  AccessDenied: `the store refuses access: check the keys and their rights (${KEYS})`,
  InvalidAccessKeyId: `the store does not know the key (${KEYS})`,
  SignatureDoesNotMatch: `the secret does not fit the key (${KEYS})`,
  CredentialsProviderError: `no credentials: log in to AWS, or set keys (${KEYS})`,
  ECONNREFUSED: `nothing answers there: check the endpoint (${ENDPOINT})`,
  ENOTFOUND: `no such host: check the endpoint (${ENDPOINT})`,
};

function explained(error: unknown, uri: string): Error {
  const { name, message, code } = error as Error & { code?: string };
  const hint = HINTS[code ?? ""] ?? HINTS[name];
  return hint ? new StoreError(`${uri}: ${hint}`) : new Error(`${uri}: ${name}: ${message}`, { cause: error });
}
