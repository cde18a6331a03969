/** What the README tells people to type works: each command is run here, or on a short list of those that cannot be. */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parse } from "yaml";
import { AwsSettings } from "../infra/aws/settings";
import { parseSettings, parseTarget } from "../infra/settings";
import { stackFile } from "../jobs/stackFile";
import { REQUIRED, ROOT } from "./infra/stack";

/** The lines of every block of commands, block by block, without their comments. */
function blocks(file: string): string[][] {
  const text = readFileSync(join(ROOT, file), "utf8");
  return [...text.matchAll(/^```\n(.*?)^```$/gms)].map(([, block = ""]) =>
    block
      .split("\n")
      .flatMap((line) => line.replace(/\s+#.*$/, "").split(" && "))
      .map((command) => command.trim())
      .filter(Boolean),
  );
}

const COMMANDS = blocks("README.md");
const isSetting = (command: string) => /^(npx )?pulumi config set /.test(command);

const NOT_RUN_HERE: Readonly<Record<string, string>> = {
  "npm ci": ".ci/run begins with it",
  "npm test": "runs this",
  "npm run local": "minutes: tests/jobs/local.e2e.test.ts runs it",
  "npm run local -- --config configs/mine.yaml": "minutes: the same, with another config",
  "npm run images -- --push registry.example.com/team": "needs a registry; tests/cluster builds the images",
  "npm run images -- --push registry.example.com/team --store": "the same, with the S3 server's image",
  "npx pulumi stack init team": "needs the CLI: tests/cluster",
  "npx pulumi preview": "needs a cluster or an account: tests/cluster, tests/infra/aws",
  "npx pulumi up": "needs a cluster or an account: tests/cluster, tests/infra/aws",
  "aws sso login": "needs an account",
  "npx pulumi stack init dev": "needs the CLI",
};

const RUN_HERE = ["npm run data -- configs/mine.yaml"];

test("every command is run here, is a setting that is checked here, or has a reason not to be", () => {
  const all = COMMANDS.flat().filter((command) => !isSetting(command));
  expect([...new Set(all)].sort()).toEqual([...Object.keys(NOT_RUN_HERE), ...RUN_HERE].sort());
});

test("npm run data looks at a copied config", () => {
  const directory = mkdtempSync(join(tmpdir(), "retort-readme-"));
  try {
    const demo = parse(readFileSync(join(ROOT, "configs/demo.yaml"), "utf8")) as { data: Record<string, unknown> };
    const absolute = ([key, value]: [string, unknown]) =>
      [key, typeof value === "string" && value.endsWith(".jsonl") ? join(ROOT, "configs", value) : value] as const;
    const mine = { ...demo, name: "mine", data: Object.fromEntries(Object.entries(demo.data).map(absolute)) };
    mkdirSync(join(directory, "configs"));
    writeFileSync(join(directory, "configs/mine.yaml"), JSON.stringify(mine));
    // npm tells a script where it was called, and the config is looked for there.
    const args = (RUN_HERE[0] ?? "").split(" ").slice(1);
    const { status, stdout, stderr } = spawnSync("npm", ["--prefix", ROOT, ...args], {
      cwd: directory,
      encoding: "utf8",
    });
    expect(status, stdout + stderr).toBe(0);
    for (const file of ["self_critique.jsonl", "hard_failures.jsonl", "test.jsonl"]) expect(stdout).toContain(file);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

/** The settings of a stack after these commands; what is not given on the line is typed. */
function settingsAfter(commands: readonly string[]): Record<string, unknown> {
  const settings: Record<string, unknown> = {};
  for (const command of commands.filter(isSetting)) {
    const [place = "", value = "typed"] = command
      .replace(/^.*config set /, "")
      .split(/\s+/)
      .filter((word) => !word.startsWith("--"));
    const [key = "", inner, item] = place
      .replaceAll("'", "")
      .replace("retort:", "")
      .split(/[.[\]]+/);
    const block = (settings[key] ?? {}) as Record<string, unknown>;
    // What follows a block's key is the first item of a list, or a key of an inner block.
    const held = item === undefined ? value : /^\d+$/.test(item) ? [value] : { [item]: value };
    settings[key] = inner === undefined ? value : { ...block, [inner]: held };
  }
  return settings;
}

test("a stack on Kubernetes that is set up as told lacks nothing but what npm run images prints", () => {
  const told = COMMANDS.find((block) => block.includes("npx pulumi up")) ?? [];
  const settings: Record<string, unknown> = { ...settingsAfter(told), images: REQUIRED["images"] };
  expect(Object.keys(settings).length).toBeGreaterThan(3);
  expect(parseSettings((key) => settings[key], ROOT)).toMatchObject({
    context: "my-cluster",
    storage: { bucket: "my-bucket", accessKeyId: "KEY", secretAccessKey: "typed" },
  });
});

test("a stack with a store of its own needs what the README says, in place of the other storage settings", () => {
  const told = settingsAfter(COMMANDS.find((block) => block.some((command) => command.includes("inCluster"))) ?? []);
  const store = `registry/x@sha256:${"d".repeat(64)}`;
  const settings: Record<string, unknown> = {
    ...REQUIRED,
    ...told,
    images: { ...(REQUIRED["images"] as object), store },
  };
  expect(parseSettings((key) => settings[key], ROOT).storage.inCluster).toEqual({ sizeGiB: 100 });
});

test("a stack on AWS that is set up as told, from the file that is here, lacks nothing", () => {
  const told = settingsAfter(COMMANDS.find((block) => block.includes("aws sso login")) ?? []);
  const given = stackFile(ROOT, "dev");
  expect(parseTarget((key) => told[key] ?? given(key), ROOT, AwsSettings)).toMatchObject({
    target: "aws",
    run: join(ROOT, "configs/phase1c.yaml"),
    cluster: { accessCidrs: ["203.0.113.7/32"] },
  });
});

test.each(["README.md", "CONTRIBUTING.md"])("%s names no npm script that is not there", (file) => {
  const { scripts } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { scripts: object };
  const named = [...readFileSync(join(ROOT, file), "utf8").matchAll(/npm run ([a-z:]+)/g)].map(([, name]) => name);
  expect(named.length).toBeGreaterThan(3);
  for (const name of named) expect(Object.keys(scripts)).toContain(name);
});
