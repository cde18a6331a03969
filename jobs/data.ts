/** `npm run data -- configs/x.yaml`: what is in a run's data files, and every problem with it. */
import { spawn } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { loadConfig } from "../configs/load";
import { DATA_NAMES, type RunConfig } from "../configs/schema";
import { type Environment, ensureEnvironment, ROOT } from "./environment";
import { reported } from "./visibleError";

export interface DataCheck {
  /** 0: the data can be trained on; 2: it cannot; else the check itself failed. */
  readonly exitCode: number;
  /** What is in the files, for people. */
  readonly report: string;
  /** `path:line: message`, a line a problem. */
  readonly problems: string;
}

/** Checks the data of a run as its training will read it, with the base model's own tokenizer. */
export async function checkData(config: RunConfig, environment: Environment, cache: string): Promise<DataCheck> {
  const { maxTokens, rowLimit, selfCritiqueFormat } = config.data;
  const files = Object.fromEntries(DATA_NAMES.map((name) => [name, config.data[name]]));
  const request = {
    data: { ...files, maxTokens, rowLimit: rowLimit ?? null, selfCritiqueFormat },
    model: config.model.base,
  };
  mkdirSync(cache, { recursive: true });
  const file = join(cache, `data-check-${process.pid}.json`);
  writeFileSync(file, JSON.stringify(request));
  try {
    return await runCheck([environment.python, "-m", "retort.data", file], environment, cache);
  } finally {
    rmSync(file, { force: true });
  }
}

async function runCheck(command: readonly string[], { variables }: Environment, cache: string): Promise<DataCheck> {
  const [program = "", ...args] = command;
  const env = { ...variables, RETORT_CACHE: cache, PYTHONUNBUFFERED: "1", TOKENIZERS_PARALLELISM: "false" };
  const child = spawn(program, args, { cwd: ROOT, env, stdio: ["ignore", "pipe", "pipe"] });
  const stop = () => void child.kill();
  process.once("exit", stop);
  let report = "";
  let problems = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    report += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    problems += text;
  });
  const exitCode = await new Promise<number>((done, fail) =>
    child.once("error", fail).once("close", (code) => done(code ?? 1)),
  );
  process.off("exit", stop);
  return { exitCode, report: report.trimEnd(), problems: problems.trimEnd() };
}

/** A path that the user typed, from where they typed it: npm runs scripts in the project's directory. */
export const fromUser = (path: string): string => resolve(process.env["INIT_CWD"] ?? "", path);

async function main(args: readonly string[]): Promise<number> {
  const [file, ...rest] = args;
  if (file === undefined || file.startsWith("-") || rest.length > 0) {
    console.error("usage: npm run data -- configs/demo.yaml");
    return 2;
  }
  const config = loadConfig(fromUser(file));
  const environment = await ensureEnvironment({ print: console.log });
  const { exitCode, report, problems } = await checkData(config, environment, join(ROOT, ".cache/models"));
  if (report) console.log(report);
  if (problems) console.error(problems);
  return exitCode;
}

if (require.main === module) {
  main(process.argv.slice(2))
    .catch(reported)
    .then((code) => {
      process.exitCode = code;
    });
}
