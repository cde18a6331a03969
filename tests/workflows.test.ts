/** The workflows of GitHub Actions: they run what exists, with the least rights, and leave no GPU behind. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { z } from "zod";
import { ROOT } from "./infra/stack";

const DIRECTORY = join(ROOT, ".github/workflows");
const FILES = readdirSync(DIRECTORY).sort();

const rights = z.record(z.string(), z.enum(["read", "write", "none"]));
const Step = z.strictObject({
  name: z.string().optional(),
  uses: z.string().optional(),
  with: z.record(z.string(), z.unknown()).optional(),
  run: z.string().optional(),
  shell: z.literal("bash").optional(),
  if: z.string().optional(),
  env: z.record(z.string(), z.string()).optional(),
});
const Job = z.strictObject({
  needs: z.string().optional(),
  if: z.string().optional(),
  "runs-on": z.string(),
  environment: z.string().optional(),
  "timeout-minutes": z.number(),
  permissions: rights.optional(),
  env: z.record(z.string(), z.string()).optional(),
  steps: z.array(Step).min(1),
});
const Workflow = z.strictObject({
  name: z.string(),
  on: z.unknown(),
  permissions: rights,
  concurrency: z.strictObject({ group: z.string(), "cancel-in-progress": z.boolean() }).optional(),
  env: z.record(z.string(), z.string()).optional(),
  jobs: z.record(z.string(), Job),
});

const textOf = (file: string): string => readFileSync(join(DIRECTORY, file), "utf8");
const workflow = (file: string) => Workflow.parse(parse(textOf(file)));
const commands = (file: string): string[] =>
  Object.values(workflow(file).jobs).flatMap(({ steps }) => steps.flatMap(({ run }) => run ?? []));

test("there are four: checks, previews, runs, and a look every night", () => {
  expect(FILES).toEqual(["check.yaml", "preview.yaml", "run.yaml", "teardown.yaml"]);
});

describe.each(FILES)("%s", (file) => {
  test("runs only scripts that exist", () => {
    const { scripts } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { scripts: object };
    const named = [
      ...commands(file)
        .join("\n")
        .matchAll(/npm run (?:--silent )?([\w:]+)/g),
    ].map(([, name]) => name);
    expect(named.length).toBeGreaterThan(0);
    for (const name of named) expect(Object.keys(scripts)).toContain(name);
  });

  test("pins each action by commit, and says its version", () => {
    const uses = textOf(file).match(/uses: .*/g) ?? [];
    expect(uses.length).toBeGreaterThan(1);
    for (const line of uses) expect(line).toMatch(/^uses: [\w-]+\/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/);
  });

  test("has no key and no secret: roles come by OIDC, and only to jobs that need one", () => {
    expect(textOf(file)).not.toMatch(/secrets\.|aws-access-key-id|AKIA/);
    const { permissions, jobs } = workflow(file);
    expect(permissions).toEqual({ contents: "read" });
    for (const job of Object.values(jobs)) {
      const assumes = job.steps.some(({ uses }) => uses?.startsWith("aws-actions/configure-aws-credentials@"));
      expect(job.permissions?.["id-token"]).toBe(assumes ? "write" : undefined);
    }
  });

  test("takes what people may write only through the environment, where no shell reads it as a command", () => {
    for (const command of commands(file)) expect(command).not.toContain("${{");
  });

  test("names every variable that it needs at its top and in the README", () => {
    const head = textOf(file).slice(0, textOf(file).indexOf("\nname:"));
    const readme = readFileSync(join(ROOT, "README.md"), "utf8");
    for (const [, name = ""] of textOf(file).matchAll(/vars\.(\w+)/g)) {
      expect(head).toContain(name);
      expect(readme).toContain(name);
    }
  });
});

test("a run is followed by a job that stops what still runs and looks, however the run has ended", () => {
  const { jobs, concurrency } = workflow("run.yaml");
  expect(concurrency?.["cancel-in-progress"]).toBe(false);
  expect(jobs["stop"]).toMatchObject({ needs: "run", if: "always()" });
  const runs = jobs["stop"]?.steps.map(({ run, if: when }) => [run, when]) ?? [];
  expect(runs).toContainEqual(['npm run cancel -- --stack "$STACK"', undefined]);
  expect(runs.at(-1)).toEqual(['npm run teardown:check -- --gpu --stack "$STACK"', "always()"]);
});

test("a preview of a fork gets no role: it would run the fork's program with it", () => {
  const { jobs } = workflow("preview.yaml");
  expect(jobs["preview"]?.if).toContain("github.event.pull_request.head.repo.full_name == github.repository");
  expect(commands("preview.yaml").join()).not.toMatch(/pulumi (up|destroy|refresh)/);
});
