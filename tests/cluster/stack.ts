/** A stack of the real program on the cluster: its settings, its commands, and what of it is there. */
import { type Command, type Ended, type Engine, type Running, started } from "./engine";
import { type Machine, run } from "./machine";
import { mockEngine } from "./mockEngine";
import { installedPulumi, pulumiEngine } from "./pulumiEngine";

export class Stack {
  readonly engine: Engine;

  constructor(
    readonly name: string,
    directory: string,
    private readonly machine: Machine,
    storage: Readonly<Record<string, string>> = machine.storage,
  ) {
    const cli = installedPulumi();
    const { environment, images } = machine;
    this.engine = cli ? pulumiEngine(cli, name, directory, environment) : mockEngine(name, directory, environment);
    this.set("namespace", name);
    this.set("context", machine.context);
    this.set("gpu.count", "0");
    this.set("pod.cpus", "1");
    this.set("pod.memoryGiB", "5");
    this.set("pod.diskGiB", "8");
    const { secretAccessKey, ...plain } = storage;
    for (const [key, value] of Object.entries(plain)) this.set(`storage.${key}`, value);
    if (secretAccessKey) this.engine.set("storage.secretAccessKey", secretAccessKey, "secret");
    for (const [key, value] of Object.entries(images)) this.set(`images.${key}`, value);
  }

  set(key: string, value: string): void {
    this.engine.set(key, value);
  }

  start(command: Command, ...options: string[]): Running {
    return this.engine.start(command, ...options);
  }

  up = (): Promise<Ended> => this.start("up").ended;
  preview = (...options: string[]): Promise<Ended> => this.start("preview", ...options).ended;

  /** Destroys what is there, and forgets the stack. */
  async remove(): Promise<Ended> {
    const ended = await this.start("destroy").ended;
    this.engine.remove();
    return ended;
  }

  /** `npm run COMMAND -- ARGUMENT…` */
  command(name: "status" | "logs" | "report" | "cancel", ...args: string[]): Running {
    return started("npm", ["run", "--silent", name, "--", "--stack", this.name, ...args], this.engine.environment);
  }

  kubectl(...args: string[]): string {
    const all = ["--context", this.machine.context, "-n", this.name, ...args];
    return run("kubectl", all, this.machine.environment).trim();
  }

  /** A kubectl that goes on, such as port-forward. */
  kubectlUntilKilled(...args: string[]): Running {
    return started("kubectl", ["--context", this.machine.context, "-n", this.name, ...args], this.machine.environment);
  }

  /** Names of the stages' pods that exist, the oldest first. */
  pods(stage?: string): string[] {
    const selector = stage ? `retort.dev/stage=${stage}` : "retort.dev/stage";
    const names = this.kubectl("get", "pods", "-l", selector, "--sort-by=.metadata.creationTimestamp", "-o", "name");
    return names.split("\n").filter(Boolean);
  }

  /** Names of the stages' pods that hold a node. */
  runningPods(): string[] {
    const over = "status.phase!=Succeeded,status.phase!=Failed";
    const names = this.kubectl("get", "pods", "-l", "retort.dev/stage", "--field-selector", over, "-o", "name");
    return names.split("\n").filter(Boolean);
  }

  /** What a pod has said so far; nothing if it has not started, or is gone. */
  log(pod: string, ...options: string[]): string {
    try {
      return this.kubectl("logs", pod, ...options);
    } catch {
      return "";
    }
  }

  /** The version of everything that the program makes: any write to any of it changes one. */
  versions(): Record<string, string> {
    const kinds = "namespaces,deployments,services,serviceaccounts,configmaps,secrets,networkpolicies,jobs";
    const { items } = JSON.parse(this.kubectl("get", kinds, "-o", "json")) as { items: Item[] };
    const mine = items.filter(({ kind, metadata }) => kind !== "Namespace" || metadata.name === this.name);
    return Object.fromEntries(mine.map(({ kind, metadata }) => [`${kind} ${metadata.name}`, metadata.resourceVersion]));
  }

  isThere(): boolean {
    return this.kubectl("get", "namespace", this.name, "--ignore-not-found", "-o", "name") !== "";
  }
}

interface Item {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly resourceVersion: string };
}
