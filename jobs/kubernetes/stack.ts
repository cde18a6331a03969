/** The Pulumi stack that is meant, and its settings, for commands that run beside `pulumi up`. */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import type { ReadSetting } from "../../infra/settings";
import { stackFile, stackName } from "../stackFile";
import { VisibleError } from "../visibleError";

export interface Stack {
  readonly name: string;
  readonly read: ReadSetting;
}

interface ConfigValue {
  readonly value?: string;
  readonly objectValue?: unknown;
}

/**
 * `named`, or the stack that is selected. On AWS nothing is secret, and its file says it all: a run can be looked at and
 * stopped where Pulumi is not logged in. For secrets, the Pulumi CLI is asked.
 */
export function openStack(root: string, named: string | undefined): Stack {
  const name = named ?? selected(root) ?? stackName(root, undefined);
  if (existsSync(join(root, `Pulumi.${name}.yaml`))) {
    const read = stackFile(root, name);
    if (read("target") === "aws") return { name, read };
  }
  const { status, stdout, stderr, error } = pulumi(root, ["config", "--json", "--show-secrets", "--stack", name]);
  if (status !== 0) {
    throw new VisibleError(`the settings of the stack ${name} cannot be read: ${error?.message ?? stderr.trim()}`, 2);
  }
  const values = JSON.parse(stdout) as Record<string, ConfigValue>;
  return { name, read: (key) => values[`retort:${key}`]?.objectValue ?? values[`retort:${key}`]?.value };
}

function selected(root: string): string | undefined {
  const { status, stdout } = pulumi(root, ["stack", "--show-name", "--non-interactive"]);
  return status === 0 ? stdout.trim() : undefined;
}

/** A CLI that is installed goes before the one of the npm package, which is downloaded when it is first used. */
function pulumi(root: string, args: readonly string[]) {
  const wrapper = join(root, "node_modules/.bin");
  const directories = (process.env["PATH"] ?? "")
    .split(delimiter)
    .filter((path) => !path.endsWith("node_modules/.bin"));
  const cli = [...directories, wrapper].map((path) => join(path, "pulumi")).find(existsSync) ?? "pulumi";
  return spawnSync(cli, args, { cwd: root, encoding: "utf8" });
}
