/** The settings of the Pulumi stack, for commands that run beside `pulumi up`. */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { parseSettings, type Settings } from "../../infra/settings";
import { VisibleError } from "../visibleError";

interface ConfigValue {
  readonly value?: string;
  readonly objectValue?: unknown;
}

/** Asks the Pulumi CLI. `stack` is the selected one if it is not given. */
export function stackSettings(root: string, stack: string | undefined): Settings {
  const args = ["config", "--json", "--show-secrets", ...(stack ? ["--stack", stack] : [])];
  const { status, stdout, stderr, error } = spawnSync(pulumi(root), args, { cwd: root, encoding: "utf8" });
  if (status !== 0) {
    throw new VisibleError(`the settings of the Pulumi stack cannot be read: ${error?.message ?? stderr.trim()}`, 2);
  }
  const values = JSON.parse(stdout) as Record<string, ConfigValue>;
  if (values["retort:target"]?.value === "aws") {
    throw new VisibleError(
      "this command does not know the target aws yet: kubectl -n retort get jobs,pods shows the run",
      2,
    );
  }
  return parseSettings((key) => values[`retort:${key}`]?.objectValue ?? values[`retort:${key}`]?.value, root);
}

/** A CLI that is installed goes before the one of the npm package, which is downloaded when it is first used. */
function pulumi(root: string): string {
  const wrapper = join(root, "node_modules/.bin");
  const directories = (process.env["PATH"] ?? "")
    .split(delimiter)
    .filter((path) => !path.endsWith("node_modules/.bin"));
  return [...directories, wrapper].map((path) => join(path, "pulumi")).find(existsSync) ?? "pulumi";
}
