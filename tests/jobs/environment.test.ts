/** The Python environment: when it is made anew, and what a person is told on a machine that cannot make it. */
import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { ensureEnvironment, environmentPlan, requireSpace, type Stamp } from "../../jobs/environment";
import { findPython, pythonVersion } from "../../jobs/local/python";
import { freePort } from "../../jobs/local/tensorboard";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "retort-environment-"));
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(directory, { recursive: true });
});

describe("the plan", () => {
  const stamp = (locks: string[], rest: Partial<Stamp> = {}): Stamp => ({
    directory: "/p/.venv",
    python: "3.11",
    locks,
    ...rest,
  });

  test.each<[string, Stamp | undefined, string[], ReturnType<typeof environmentPlan>]>([
    ["there is none, or a torn one", undefined, ["a"], { do: "create" }],
    ["it is what it should be", stamp(["a"]), ["a"], { do: "nothing" }],
    ["it has more than a run needs", stamp(["a", "tests"]), ["a"], { do: "nothing" }],
    ["the tests' packages are not there yet", stamp(["a"]), ["a", "tests"], { do: "add", locks: ["tests"] }],
    ["the lock has changed", stamp(["a"]), ["b"], { do: "create" }],
    ["the lock has changed under the tests' packages", stamp(["a", "tests"]), ["b", "tests"], { do: "create" }],
    ["the tests' lock has changed", stamp(["a", "tests"]), ["a", "tests 2"], { do: "create" }],
    ["the project has moved", stamp(["a"], { directory: "/old/.venv" }), ["a"], { do: "create" }],
    ["Python was upgraded, or is gone", stamp(["a"], { python: "3.10" }), ["a"], { do: "create" }],
  ])("when %s", (_, present, locks, plan) => expect(environmentPlan(present, stamp(locks))).toEqual(plan));
});

test("a disk too small for the packages is said before they are downloaded", () => {
  expect(() => requireSpace(4.86, "/p")).toThrow(
    "the Python packages need 7 GiB of disk, and /p has 4.9 free. Make room, then run the same command again.",
  );
  expect(() => requireSpace(7, "/p")).not.toThrow();
});

describe("a Python on the PATH", () => {
  /** A program that answers as an interpreter of this version would. */
  function fake(name: string, version: string, venv: 0 | 1): void {
    writeFileSync(join(directory, name), `#!/bin/sh\necho ${version} ${venv}\n`);
    chmodSync(join(directory, name), 0o755);
  }
  beforeEach(() => vi.stubEnv("PATH", [directory, "/nowhere"].join(delimiter)));

  test("is the first that is new enough", async () => {
    fake("python3", "3 10", 1);
    fake("python3.12", "3 12", 1);
    expect(await findPython()).toBe("python3.12");
    expect(await pythonVersion("python3")).toBe("3.10");
  });

  test("is missing", async () => {
    await expect(findPython()).rejects.toThrow(
      "Python 3.11 or newer is needed, and there is no python3 on the PATH. On Debian and Ubuntu: sudo apt-get install python3 python3-venv",
    );
  });

  test("is too old", async () => {
    fake("python3", "3 9", 1);
    await expect(findPython()).rejects.toThrow("Python 3.11 or newer is needed, and python3 is Python 3.9.");
  });

  test("lacks venv, as Debian's does", async () => {
    fake("python3", "3 13", 0);
    await expect(findPython()).rejects.toThrow(
      "python3 (3.13) cannot make virtual environments: its venv module is missing. On Debian and Ubuntu: sudo apt-get install python3.13-venv",
    );
  });
});

describe("a small project's environment", () => {
  const python = () => join(directory, ".venv/bin/python");
  /** Nothing but a package without dependencies, from the lock that the real one has. */
  beforeEach(() => {
    mkdirSync(join(directory, "images/trainer"), { recursive: true });
    mkdirSync(join(directory, "jobs/local"), { recursive: true });
    mkdirSync(join(directory, "tests"));
    const locked = (name: string, file: string) =>
      execFileSync("sed", ["-n", `/^${name}==/,/# via/p`, join(__dirname, "../..", file)], { encoding: "utf8" });
    writeFileSync(
      join(directory, "images/trainer/requirements.lock"),
      locked("six", "images/trainer/requirements.lock"),
    );
    writeFileSync(join(directory, "tests/requirements.lock"), locked("iniconfig", "tests/requirements.lock"));
    const uv = "jobs/local/uv-requirements.lock";
    writeFileSync(join(directory, uv), locked("uv", uv));
  });

  const has = (module: string): boolean => {
    try {
      execFileSync(python(), ["-I", "-c", `import ${module}`], { stdio: "ignore" });
      return true;
    } catch {
      return false;
    }
  };

  test("is made from the locks in the project alone, costs nothing when it is there, and is mended when torn", async () => {
    const home = join(directory, "home");
    mkdirSync(home);
    vi.stubEnv("HOME", home);
    vi.stubEnv("RUSTUP_HOME", join(directory, "rustup")); // pip asks rustc for its version, where there is one
    const said: string[] = [];
    const options = { root: directory, print: (line: string) => void said.push(line) };

    const environment = await ensureEnvironment(options);
    expect(environment.python).toBe(python());
    expect(readdirSync(home)).toEqual([]);
    expect([has("six"), has("iniconfig")]).toEqual([true, false]);
    expect(said).toHaveLength(1);

    await ensureEnvironment(options);
    expect(said).toHaveLength(1);

    await ensureEnvironment({ ...options, tests: true });
    expect([has("six"), has("iniconfig")]).toEqual([true, true]);
    expect(said).toEqual([expect.stringMatching(/^making/), expect.stringMatching(/^adding/)]);

    rmSync(join(directory, ".venv/retort.json")); // as if the power had gone before the end
    rmSync(join(directory, ".venv/lib"), { recursive: true });
    await ensureEnvironment(options);
    expect(has("six")).toBe(true);
    expect(said).toHaveLength(3);
  });

  test("whose packages are not the ones of the lock is not made", async () => {
    const lock = join(directory, "images/trainer/requirements.lock");
    writeFileSync(lock, `six==1.17.0 --hash=sha256:${"0".repeat(64)}\n`);
    await expect(ensureEnvironment({ root: directory })).rejects.toThrow("could not install the Python packages.");
    await expect(ensureEnvironment({ root: directory })).rejects.toThrow("could not install the Python packages.");
  });

  test("without a network says so, and what to set", async () => {
    for (const name of ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"]) vi.stubEnv(name, "http://127.0.0.1:9");
    vi.stubEnv("PIP_RETRIES", "0");
    vi.stubEnv("PIP_FIND_LINKS", "");
    await expect(ensureEnvironment({ root: directory })).rejects.toThrow(
      /^could not install uv.*It needs the package index: behind a proxy set HTTPS_PROXY/s,
    );
  });
});

test("TensorBoard takes the next port if one is taken", async () => {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const address = server.address();
  const port = typeof address === "object" && address ? address.port : 0;
  expect(await freePort(port, 20)).toBeGreaterThan(port);
  expect(await freePort(port, 1)).toBeUndefined();
  server.close();
});
