/** What the tests run on: a Kubernetes and an S3 server brought up from packages, or those that the environment names. */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { homedir, networkInterfaces } from "node:os";
import { join, resolve } from "node:path";
import { type S3Store, s3Store } from "../../jobs/s3";

export const ROOT = resolve(__dirname, "../..");
const HERE = __dirname;
const NODE_SOCKET = "run/containerd.sock";

export interface Machine {
  readonly context: string;
  readonly kubeconfig: string;
  readonly storage: { bucket: string; endpoint: string; accessKeyId: string; secretAccessKey: string };
  readonly images: Readonly<Record<string, string>>;
  readonly store: S3Store;
  /** Stops and starts one process of the machine; undefined on a cluster that is not the tests' own. */
  readonly restart: ((name: "kubelet" | "store") => void) | undefined;
}

/**
 * RETORT_CLUSTER_CONTEXT, _ENDPOINT, _BUCKET, _KEY and _SECRET name a cluster and a store that are there already (its
 * images, built and pushed before by npm run images, are read from .cache/images.json); without them both are made.
 */
export function machine(): Machine {
  const { RETORT_CLUSTER_CONTEXT: context } = process.env;
  return context === undefined ? ownMachine() : givenMachine(context);
}

function ownMachine(): Machine {
  const directory = process.env["RETORT_CLUSTER_DIR"] ?? join(homedir(), ".cache/retort-cluster");
  run(join(HERE, "up.sh"), [directory]);
  const address = Object.values(networkInterfaces())
    .flat()
    .find((found) => found?.family === "IPv4" && !found.internal)?.address;
  const storage = {
    bucket: "retort",
    endpoint: `http://${address}:7070`,
    accessKeyId: "retort",
    secretAccessKey: "retort-secret",
  };
  return {
    context: "retort",
    kubeconfig: join(directory, "admin.conf"),
    storage,
    images: builtImages(directory),
    store: s3Store({ region: "us-east-1", ...storage }),
    restart(name) {
      run(join(HERE, "down.sh"), [directory, name]);
      run(join(HERE, "up.sh"), [directory, name]);
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
    kubeconfig: process.env["KUBECONFIG"] ?? join(homedir(), ".kube/config"),
    storage,
    images: images(),
    store: s3Store({ region: "us-east-1", ...storage }),
    restart: undefined,
  };
}

const images = () => JSON.parse(readFileSync(join(ROOT, ".cache/images.json"), "utf8")) as Record<string, string>;

/** Builds the real images on a Debian that debootstrap makes, and imports them into the node, unless it has them. */
function builtImages(directory: string): Record<string, string> {
  run(join(HERE, "images.sh"), [directory, join(directory, NODE_SOCKET)]);
  return images();
}

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

/** Whether a program is on the PATH, npm's own directories aside: `pulumi` there would be downloaded first. */
export const isInstalled = (name: string): boolean =>
  (process.env["PATH"] ?? "").split(":").some((path) => !path.includes("node_modules") && existsSync(join(path, name)));
