/** Data and models in an S3 store are known by content, and read only when that has changed. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CreateBucketCommand, S3Client } from "@aws-sdk/client-s3";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { Hashes } from "../../jobs/hashing";
import { uploadData } from "../../jobs/kubernetes/sources";
import { type S3Store, s3Store } from "../../jobs/s3";
import { localSources, remoteHash } from "../../jobs/sources";
import { Moto } from "../infra/aws/moto";
import { ROOT } from "../infra/stack";
import { CONFIG } from "./run";

const ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

let moto: Moto;
let store: S3Store;
let directory: string;

beforeAll(async () => {
  moto = await Moto.start();
  const access = { endpoint: moto.endpoint, region: "us-east-1", accessKeyId: "key", secretAccessKey: "secret" };
  const client = new S3Client({ ...access, forcePathStyle: true, credentials: access });
  await client.send(new CreateBucketCommand({ Bucket: "team" }));
  store = s3Store(access);
}, 120_000);
afterAll(() => moto?.stop());
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "retort-remote-"));
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(directory, { recursive: true });
});

const loaded = () => Hashes.load(join(directory, "hashes.json"));
/** Files that were read since, by their keys. */
const read = () => moto.asked.flatMap(({ action }) => /^GET \/team\/(.+)/.exec(action)?.[1] ?? []);

test("a file in a store is hashed once, and by the next process not at all", async () => {
  const uri = "s3://team/rows.jsonl";
  await store.write(uri, "abc");
  moto.asked.length = 0;
  const first = await loaded();
  expect(await remoteHash(uri, store, first)).toBe(ABC);
  await first.save();
  expect(await remoteHash(uri, store, await loaded())).toBe(ABC);
  expect(read()).toEqual(["rows.jsonl"]);
});

test("a file that was replaced by another of its size is hashed again", async () => {
  const uri = "s3://team/changing.jsonl";
  const hashes = await loaded();
  await store.write(uri, "abc");
  const first = await remoteHash(uri, store, hashes);
  await store.write(uri, "abd");
  expect(await remoteHash(uri, store, hashes)).not.toBe(first);
});

test("a file that is not there is said to be missing, and is no hash of nothing", async () => {
  await expect(remoteHash("s3://team/none.jsonl", store, await loaded())).rejects.toThrow(
    "s3://team/none.jsonl: nothing is stored there",
  );
});

test("a local run knows data and a model in a store by content, with this machine's AWS environment", async () => {
  for (const [name, value] of Object.entries(moto.variables())) vi.stubEnv(name, value);
  const path = join(directory, "rows.jsonl");
  writeFileSync(path, "abc");
  for (const name of ["hard", "test"]) await store.write(`s3://team/${name}.jsonl`, "abc");
  await store.write("s3://team/model/config.json", "{}");
  const data = {
    ...CONFIG.data,
    selfCritique: path,
    hardFailures: "s3://team/hard.jsonl",
    test: "s3://team/test.jsonl",
  };
  const config = { ...CONFIG, model: { base: "s3://team/model" }, data };
  const sources = await localSources(config, ROOT, await loaded());
  expect(sources.data).toEqual({
    selfCritique: { uri: path, sha256: ABC },
    hardFailures: { uri: "s3://team/hard.jsonl", sha256: ABC },
    test: { uri: "s3://team/test.jsonl", sha256: ABC },
  });
  expect(sources.model).toEqual({ uri: "s3://team/model", revision: expect.stringMatching(/^sha256:[0-9a-f]{64}$/) });
  await store.write("s3://team/model/config.json", '{"hidden_size": 1}');
  expect((await localSources(config, ROOT, await loaded())).model).not.toEqual(sources.model);
});

test("data is copied into the store once", async () => {
  mkdirSync(join(directory, "data"));
  const path = join(directory, "data/rows.jsonl");
  writeFileSync(path, "abc");
  const upload = { name: "test", path, uri: `s3://team/data/${ABC}.jsonl` } as const;
  expect(await uploadData([upload], store)).toEqual(["test"]);
  expect(await store.read(upload.uri)).toBe(readFileSync(path, "utf8"));
  expect(await uploadData([upload], store)).toEqual([]);
});
