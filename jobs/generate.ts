/** Writes the files that are made from others; with --check changes nothing, and fails if one of them is stale. */
import { execFileSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { parseArgs } from "node:util";
import { runConfigJsonSchema } from "../configs/jsonSchema";
import { ROOT } from "./environment";

/** A generated file, and the text it should have. */
interface Generated {
  readonly file: string;
  readonly text: () => string;
}

const GENERATED: readonly Generated[] = [
  { file: "configs/run.schema.json", text: () => `${JSON.stringify(runConfigJsonSchema(), null, 2)}\n` },
  lock("images/trainer/requirements.lock", "pyproject.toml"),
  lock("images/evaluator/additions.lock", "additions.in", ["--no-deps"]),
  lock("images/tensorboard/requirements.lock", "requirements.in", ["-c", "../trainer/requirements.lock"]),
  lock("tests/requirements.lock", "requirements.in", ["-c", "../images/trainer/requirements.lock"]),
  lock("jobs/local/uv-requirements.lock", "uv-requirements.in"),
];

/**
 * A lock made by uv from the file `source` beside it: every package pinned and hashed for every platform, and no index
 * named. `options` are read in that directory. Versions that the present lock has are kept while they fit, so only a changed source makes it stale.
 */
function lock(file: string, source: string, options: readonly string[] = []): Generated {
  const text = () => {
    mkdirSync(join(ROOT, ".cache"), { recursive: true });
    const scratch = mkdtempSync(join(ROOT, ".cache/lock-"));
    try {
      const output = join(scratch, basename(file));
      if (existsSync(join(ROOT, file))) copyFileSync(join(ROOT, file), output);
      const flags = ["--universal", "--generate-hashes", "--no-header", "--python-version", "3.11", "--quiet"];
      const env = { ...process.env, UV_CACHE_DIR: process.env["UV_CACHE_DIR"] ?? join(ROOT, ".cache/uv") };
      // From the source's own directory, whose path would otherwise be in the lock's comments.
      execFileSync(join(ROOT, ".venv/bin/uv"), ["pip", "compile", ...flags, ...options, source, "-o", output], {
        cwd: join(ROOT, dirname(file)),
        env,
        stdio: ["ignore", "ignore", "inherit"],
      });
      return readFileSync(output, "utf8");
    } finally {
      rmSync(scratch, { recursive: true, force: true });
    }
  };
  return { file, text };
}

const { values } = parseArgs({ options: { check: { type: "boolean", default: false } } });
for (const { file, text } of GENERATED) {
  const path = join(ROOT, file);
  const wanted = text();
  if (existsSync(path) && readFileSync(path, "utf8") === wanted) continue;
  if (values.check) {
    console.error(`${file} is stale: run npm run generate`);
    process.exitCode = 1;
  } else {
    writeFileSync(path, wanted);
    console.log(`wrote ${file}`);
  }
}
