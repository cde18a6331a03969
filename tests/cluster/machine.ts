/** What the tests run on: a Kubernetes and an S3 server brought up from packages, or those that the environment names. */
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { delimiter, join, resolve } from "node:path";
import { type S3Store, s3Store } from "../../jobs/s3";

export const ROOT = resolve(__dirname, "../..");
const HERE = __dirname;
/** The node's own address, which up.sh makes. */
const ADDRESS = "10.244.255.1";

export interface Machine {
  readonly context: string;
  readonly storage: { bucket: string; endpoint: string; accessKeyId: string; secretAccessKey: string };
  readonly images: Readonly<Record<string, string>>;
  readonly store: S3Store;
  /** Has the kube config and the commands on its PATH. */
  readonly environment: NodeJS.ProcessEnv;
  /** What cannot be done to a cluster that is not the tests' own. */
  readonly own: OwnMachine | undefined;
}

export interface OwnMachine {
  /** Where all of it lies. */
  readonly directory: string;
  stop(name: "kubelet" | "store"): void;
  start(name: "kubelet" | "store"): void;
  /** Whether a file is on its way into the store, some parts of it there already. */
  isUploading(): boolean;
  /** What has happened, for the reader of a failed test. */
  logs(): string;
}

/**
 * RETORT_CLUSTER_CONTEXT, _ENDPOINT, _BUCKET, _KEY and _SECRET name a cluster and a store that are there already (its
 * images, built and pushed before by npm run images -- --store, are read from .cache/images.json); without them both are made, in
 * RETORT_CLUSTER_DIR.
 */
export function machine(): Machine {
  const { RETORT_CLUSTER_CONTEXT: context } = process.env;
  return context === undefined ? ownMachine() : givenMachine(context);
}

function ownMachine(): Machine {
  const directory = resolve(process.env["RETORT_CLUSTER_DIR"] || join(homedir(), ".cache/retort-cluster"));
  const script = (name: string, ...args: string[]) => run(join(HERE, name), [directory, ...args]);
  const logs = () => script("logs.sh");
  try {
    process.stdout.write(script("up.sh") + script("images.sh") + script("up.sh", "store"));
  } catch (error) {
    console.error(logs());
    throw error;
  }
  const port = readFileSync(join(directory, "run/store.port"), "utf8").trim();
  const storage = {
    bucket: "retort",
    endpoint: `http://${ADDRESS}:${port}`,
    accessKeyId: "retort",
    secretAccessKey: "hidden-word-of-the-store",
  };
  // Where the store keeps the parts of an upload until it is whole.
  const parts = join(directory, "store", storage.bucket, ".sgwtmp/multipart");
  return {
    context: "retort",
    storage,
    images: images(join(directory, "images.json")),
    store: s3Store({ region: "us-east-1", ...storage }),
    environment: {
      ...process.env,
      KUBECONFIG: join(directory, "admin.conf"),
      PATH: `${join(directory, "bin")}${delimiter}${process.env["PATH"]}`,
    },
    own: {
      directory,
      stop: (name) => void script("down.sh", name),
      start: (name) => void script("up.sh", name),
      isUploading: () => existsSync(parts) && readdirSync(parts).length > 0,
      logs,
    },
  };
}

function givenMachine(context: string): Machine {
  const wanted = (name: string) => {
    const value = process.env[name];
    if (!value) throw new Error(`RETORT_CLUSTER_CONTEXT is set, and ${name} is not`);
    return value;
  };
  const storage = {
    bucket: wanted("RETORT_CLUSTER_BUCKET"),
    endpoint: wanted("RETORT_CLUSTER_ENDPOINT"),
    accessKeyId: wanted("RETORT_CLUSTER_KEY"),
    secretAccessKey: wanted("RETORT_CLUSTER_SECRET"),
  };
  return {
    context,
    storage,
    images: images(join(ROOT, ".cache/images.json")),
    store: s3Store({ region: "us-east-1", ...storage }),
    environment: process.env,
    own: undefined,
  };
}

const images = (file: string) => JSON.parse(readFileSync(file, "utf8")) as Record<string, string>;

export function run(command: string, args: readonly string[], env: NodeJS.ProcessEnv = process.env): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd: ROOT,
    encoding: "utf8",
    env,
    maxBuffer: 1 << 28,
  });
  if (status !== 0) throw new Error(`${command} ${args.join(" ")}: ${error?.message ?? `${stdout}\n${stderr}`}`);
  return stdout;
}
