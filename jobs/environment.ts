/**
 * Makes the project's Python environment, .venv, from hashed locks. Nothing is written outside the project, and an
 * environment that is whole and up to date costs a few milliseconds.
 * As a program (`--tests`: with what the tests and checks need) it does just that.
 */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { delimiter, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { takeLock } from "./local/lock";
import { EnvironmentError, findPython, pythonVersion } from "./local/python";
import { reported } from "./visibleError";

export const ROOT = resolve(__dirname, "..");

export interface Environment {
  /** The environment's interpreter, an absolute path. */
  readonly python: string;
  /** The variables of a process that uses the environment: its programs come first, the stages' packages are found. */
  readonly variables: NodeJS.ProcessEnv;
}

export interface EnvironmentOptions {
  /** The project's directory. */
  readonly root?: string;
  /** Whether the packages of the tests and checks belong to it. */
  readonly tests?: boolean;
  readonly print?: (line: string) => void;
}

/** What an environment was made of, in .venv/retort.json. Written last: a torn environment has none. */
export interface Stamp {
  /** A moved environment is broken: its programs name their interpreter by its path. */
  readonly directory: string;
  /** Such as 3.11: the packages are built for it. */
  readonly python: string;
  /** sha256 of the locks it was installed from. */
  readonly locks: readonly string[];
}

/** What has to be done to an environment. */
export type Plan = { readonly do: "nothing" | "create" } | { readonly do: "add"; readonly locks: readonly string[] };

/** `stamp` is what is there, `wanted` what there should be. Packages are added; for anything else it is made anew. */
export function environmentPlan(stamp: Stamp | undefined, wanted: Stamp): Plan {
  if (stamp?.directory !== wanted.directory || stamp.python !== wanted.python) return { do: "create" };
  const locks = wanted.locks.filter((lock) => !stamp.locks.includes(lock));
  if (locks.length === 0) return { do: "nothing" };
  return stamp.locks.every((lock) => wanted.locks.includes(lock)) ? { do: "add", locks } : { do: "create" };
}

/** The environment at root/.venv, made, renewed or added to if need be. Throws EnvironmentError. */
export async function ensureEnvironment(options: EnvironmentOptions = {}): Promise<Environment> {
  const { root = ROOT, tests = false, print = () => {} } = options;
  const directory = join(root, ".venv");
  const python = join(directory, "bin", "python");
  const files = ["images/trainer/requirements.lock", ...(tests ? ["tests/requirements.lock"] : [])];
  const locks = new Map(files.map((file) => [sha256(join(root, file)), join(root, file)]));
  const plan = async () =>
    environmentPlan(readStamp(directory), { directory, python: await pythonVersion(python), locks: [...locks.keys()] });

  if ((await plan()).do !== "nothing") {
    const lock = await takeLock(join(root, ".cache/environment.lock"), "the Python environment .venv");
    try {
      const now = await plan(); // another process may have made it meanwhile
      if (now.do === "create") {
        print("making the Python environment .venv (once; on Linux some 6 GB of packages)");
        await create(directory, python, root);
        await install([...locks.values()], python, root);
      } else if (now.do === "add") {
        print("adding packages to the Python environment .venv");
        await install(
          now.locks.flatMap((hash) => locks.get(hash) ?? []),
          python,
          root,
        );
      }
      const stamp: Stamp = { directory, python: await pythonVersion(python), locks: [...locks.keys()] };
      if (now.do !== "nothing") writeFileSync(stampFile(directory), JSON.stringify(stamp));
    } finally {
      lock.release();
    }
  }
  return { python, variables: variablesOf(directory, root) };
}

function variablesOf(directory: string, root: string): NodeJS.ProcessEnv {
  const { PYTHONHOME: _, ...inherited } = process.env;
  return {
    ...inherited,
    PATH: [join(directory, "bin"), inherited["PATH"]].join(delimiter),
    VIRTUAL_ENV: directory,
    // What Hugging Face's libraries keep stays in the project, but for the token that a person logged in with.
    HF_HOME: inherited["HF_HOME"] ?? join(root, ".cache/huggingface"),
    HF_TOKEN_PATH:
      inherited["HF_TOKEN_PATH"] ?? join(inherited["HF_HOME"] ?? join(homedir(), ".cache/huggingface"), "token"),
    PYTHONPATH: ["images/trainer", "images/evaluator"].map((tree) => join(root, tree)).join(delimiter),
  };
}

/** An empty environment with uv, the installer, from a hashed lock of its own. */
async function create(directory: string, python: string, root: string): Promise<void> {
  const base = await findPython();
  rmSync(directory, { recursive: true, force: true });
  const { bavail, bsize } = statfsSync(root);
  requireSpace((bavail * bsize) / 2 ** 30, root);
  await run([base, "-m", "venv", directory], root, "could not make .venv");
  const installer = join(root, "jobs/local/uv-requirements.lock");
  await run(
    [python, "-m", "pip", "install", "--quiet", "--no-cache-dir", "--require-hashes", "--no-deps", "-r", installer],
    root,
    `could not install uv, which installs the other packages. ${NETWORK}`,
  );
}

/** The packages, and the largest of them once more while it is unpacked. */
const NEEDED_GIB = 7;

/** Said before 6 GB are downloaded, not after. Throws EnvironmentError. */
export function requireSpace(freeGiB: number, directory: string): void {
  if (freeGiB >= NEEDED_GIB) return;
  throw new EnvironmentError(
    `the Python packages need ${NEEDED_GIB} GiB of disk, and ${directory} has ${freeGiB.toFixed(1)} free. Make room, then run the same command again.`,
  );
}

async function install(locks: readonly string[], python: string, root: string): Promise<void> {
  const uv = join(root, ".venv/bin/uv");
  await run(
    [
      uv,
      "pip",
      "install",
      "--python",
      python,
      "--require-hashes",
      "--no-deps",
      ...locks.flatMap((lock) => ["-r", lock]),
    ],
    root,
    `could not install the Python packages. ${NETWORK}`,
  );
}

const NETWORK =
  "What the installer said is above. It needs the package index: behind a proxy set HTTPS_PROXY, for a mirror set " +
  "UV_DEFAULT_INDEX and PIP_INDEX_URL, for a certificate of your own SSL_CERT_FILE. Then run the same command again.";

/** Runs an installer in the foreground, with its own progress bars. */
async function run(command: readonly string[], root: string, problem: string): Promise<void> {
  const [program = "", ...args] = command;
  const { PYTHONHOME: _, PYTHONPATH: __, ...inherited } = process.env;
  const env = {
    ...inherited,
    PIP_DISABLE_PIP_VERSION_CHECK: "1",
    PIP_USER: "0",
    UV_CACHE_DIR: inherited["UV_CACHE_DIR"] ?? join(root, ".cache/uv"),
    UV_HTTP_TIMEOUT: inherited["UV_HTTP_TIMEOUT"] ?? "300", // seconds without a byte; the default of 30 is short
    UV_PYTHON_DOWNLOADS: "never",
  };
  const child = spawn(program, args, { cwd: root, env, stdio: ["ignore", "inherit", "inherit"] });
  const stop = () => void child.kill();
  process.once("exit", stop);
  const code = await new Promise<number | null>((done, fail) => child.once("error", fail).once("close", done));
  process.off("exit", stop);
  if (code !== 0) throw new EnvironmentError(problem);
}

const stampFile = (directory: string): string => join(directory, "retort.json");

function readStamp(directory: string): Stamp | undefined {
  try {
    return JSON.parse(readFileSync(stampFile(directory), "utf8")) as Stamp;
  } catch {
    return undefined; // absent or torn: as good as no environment
  }
}

const sha256 = (file: string): string => createHash("sha256").update(readFileSync(file)).digest("hex");

if (require.main === module) {
  const { values } = parseArgs({ options: { tests: { type: "boolean", default: false } } });
  ensureEnvironment({ ...values, print: console.log }).catch((error: unknown) => {
    process.exitCode = reported(error);
  });
}
