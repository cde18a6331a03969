/** A Pulumi stack of the real program, driven by the real CLI: its state is a directory, its settings are the test's. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type Machine, ROOT, run } from "./machine";

export interface Ended {
  readonly code: number | null;
  readonly output: string;
  readonly seconds: number;
}

export class Stack {
  private readonly env: NodeJS.ProcessEnv;

  constructor(
    readonly name: string,
    directory: string,
    private readonly machine: Machine,
  ) {
    const state = join(directory, "state");
    mkdirSync(state, { recursive: true });
    this.env = {
      ...process.env,
      KUBECONFIG: machine.kubeconfig,
      PULUMI_BACKEND_URL: `file://${state}`,
      PULUMI_CONFIG_PASSPHRASE: "",
      PULUMI_SKIP_UPDATE_CHECK: "true",
    };
    rmSync(join(ROOT, `Pulumi.${name}.yaml`), { force: true });
    run("pulumi", ["stack", "init", name], this.env);
    this.set("namespace", name);
    this.set("context", machine.context);
    this.set("gpu.count", "0");
    this.set("pod.cpus", "1");
    this.set("pod.memoryGiB", "6");
    this.set("pod.diskGiB", "8");
    const { secretAccessKey, ...storage } = machine.storage;
    for (const [key, value] of Object.entries(storage)) this.set(`storage.${key}`, value);
    this.set("storage.secretAccessKey", secretAccessKey, "--secret");
    for (const [key, value] of Object.entries(machine.images)) this.set(`images.${key}`, value);
  }

  set(key: string, value: string, ...options: string[]): void {
    const path = key.includes(".") ? ["--path"] : [];
    run("pulumi", ["config", "set", "--stack", this.name, ...options, ...path, `retort:${key}`, value], this.env);
  }

  /** Starts `pulumi COMMAND`. */
  start(command: string, ...args: string[]): { child: ChildProcess; ended: Promise<Ended> } {
    const began = Date.now();
    const all = [command, "--stack", this.name, "--non-interactive", "--color", "never", ...args];
    const child = spawn("pulumi", all, { cwd: ROOT, env: this.env, stdio: ["ignore", "pipe", "pipe"], detached: true });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text: string) => {
        output += text;
      });
    }
    const ended = new Promise<Ended>((resolve) => {
      child.on("close", (code) => resolve({ code, output, seconds: (Date.now() - began) / 1000 }));
    });
    return { child, ended };
  }

  up = (): Promise<Ended> => this.start("up", "--yes", "--skip-preview").ended;
  preview = (...args: string[]): Promise<Ended> => this.start("preview", ...args).ended;

  /** A lock that a killed engine has left behind. */
  unlock(): void {
    run("pulumi", ["cancel", "--yes", "--stack", this.name], this.env);
  }

  output(name: string): unknown {
    const all = run("pulumi", ["stack", "output", "--json", "--show-secrets", "--stack", this.name], this.env);
    return (JSON.parse(all) as Record<string, unknown>)[name];
  }

  kubectl(...args: string[]): string {
    return run("kubectl", ["--context", this.machine.context, "-n", this.name, ...args], this.env).trim();
  }

  /** Names of the stages' pods that exist, the oldest first. */
  pods(stage?: string): string[] {
    const selector = stage ? `retort.dev/stage=${stage}` : "retort.dev/stage";
    const names = this.kubectl("get", "pods", "-l", selector, "--sort-by=.metadata.creationTimestamp", "-o", "name");
    return names.split("\n").filter(Boolean);
  }

  async remove(): Promise<Ended> {
    const ended = await this.start("destroy", "--yes").ended;
    if (ended.code === 0) run("pulumi", ["stack", "rm", "--yes", "--stack", this.name], this.env);
    rmSync(join(ROOT, `Pulumi.${this.name}.yaml`), { force: true });
    return ended;
  }
}
