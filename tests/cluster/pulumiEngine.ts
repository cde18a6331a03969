/** The real Pulumi CLI with its Kubernetes provider: its state is a directory, its settings are a file of the project. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, rmSync } from "node:fs";
import { delimiter, join } from "node:path";
import { type Engine, started } from "./engine";
import { ROOT, run } from "./machine";

/** The CLI on the PATH, if it works and has the provider. npm's own `pulumi` does not count: it downloads both first. */
export function installedPulumi(): string | undefined {
  const directories = (process.env["PATH"] ?? "").split(delimiter).filter((path) => !path.includes("node_modules"));
  const cli = directories.map((path) => join(path, "pulumi")).find(existsSync);
  if (!cli) return undefined;
  const ask = (...args: string[]) => spawnSync(cli, args, { encoding: "utf8", timeout: 60_000 });
  if (ask("version").status !== 0) return undefined;
  if (directories.some((path) => existsSync(join(path, "pulumi-resource-kubernetes")))) return cli;
  const plugins = ask("plugin", "ls", "--json");
  return plugins.status === 0 && /"name":\s*"kubernetes"/.test(plugins.stdout) ? cli : undefined;
}

export function pulumiEngine(cli: string, stack: string, directory: string, base: NodeJS.ProcessEnv): Engine {
  const state = join(directory, "state");
  mkdirSync(state, { recursive: true });
  const environment = {
    ...base,
    PULUMI_BACKEND_URL: `file://${state}`,
    PULUMI_CONFIG_PASSPHRASE: "",
    PULUMI_SKIP_UPDATE_CHECK: "true",
  };
  const settings = join(ROOT, `Pulumi.${stack}.yaml`);
  const call = (...args: string[]) => run(cli, [...args, "--stack", stack], environment);
  rmSync(settings, { force: true });
  run(cli, ["stack", "init", stack], environment);
  const { stdout: version } = spawnSync(cli, ["version"], { encoding: "utf8" });
  return {
    what: `the real engine (Pulumi CLI ${version.trim()} and its Kubernetes provider)`,
    isReal: true,
    environment,
    set(key, value, secret) {
      const options = [...(secret ? ["--secret"] : []), ...(key.includes(".") ? ["--path"] : [])];
      call("config", "set", ...options, `retort:${key}`, value);
    },
    start(command, ...options) {
      const sure = command === "preview" ? [] : ["--yes"];
      const quick = command === "up" ? ["--skip-preview"] : [];
      const all = [command, "--stack", stack, "--non-interactive", "--color", "never", ...sure, ...quick, ...options];
      return started(cli, all, environment);
    },
    unlock: () => void call("cancel", "--yes"),
    output: (name) =>
      (JSON.parse(call("stack", "output", "--json", "--show-secrets")) as Record<string, unknown>)[name],
    remove() {
      call("stack", "rm", "--yes", "--force");
      rmSync(settings, { force: true });
    },
  };
}
