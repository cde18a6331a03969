/** The settings of a stack from its file, Pulumi.<stack>.yaml: for commands that run without the Pulumi engine. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import type { ReadSetting } from "../infra/settings";
import { VisibleError } from "./visibleError";

const FILE = /^Pulumi\.([A-Za-z0-9._-]+)\.ya?ml$/;

/** The stack that is meant: the one named, or the only one there is a file of. Throws VisibleError if that is not clear. */
export function stackName(root: string, named: string | undefined): string {
  const names = readdirSync(root).flatMap((file) => FILE.exec(file)?.[1] ?? []);
  if (named !== undefined) return named;
  const [only, ...others] = names;
  if (only !== undefined && others.length === 0) return only;
  const list = names.length > 0 ? names.sort().join(", ") : "none";
  throw new VisibleError(`say which stack is meant with --stack NAME: there are files of ${list}`, 2);
}

/** Reads the settings of a stack's file. A secret, which only the engine can read, is text of no meaning. */
export function stackFile(root: string, stack: string): ReadSetting {
  const file = join(root, `Pulumi.${stack}.yaml`);
  if (!existsSync(file)) throw new VisibleError(`${file} is not there: pulumi stack init ${stack}`, 2);
  const { config = {} } = (parse(readFileSync(file, "utf8")) ?? {}) as { config?: Record<string, unknown> };
  return (key) => {
    const value = config[`retort:${key}`];
    return isSecure(value) ? "(secret)" : value;
  };
}

const isSecure = (value: unknown): boolean => typeof value === "object" && value !== null && "secure" in value;
