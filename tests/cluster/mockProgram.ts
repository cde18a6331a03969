/** A program for the tests: runs infra/index.ts under Pulumi's mock monitor, and does to the cluster what it registers. */
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { KubeConfig, type KubernetesObject, KubernetesObjectApi, PatchStrategy } from "@kubernetes/client-node";
import * as pulumi from "@pulumi/pulumi";
import type { Command } from "./engine";

export interface Order {
  readonly command: Command;
  readonly stack: string;
  /** File with the stack's settings, as `pulumi config --json` gives them. */
  readonly settings: string;
  /** File with what was applied before. */
  readonly state: string;
}

interface Applied extends KubernetesObject {
  readonly metadata: { name: string; namespace?: string };
}

export interface State {
  /** What is in the cluster, the oldest first, by type and name in the program. */
  readonly applied: [string, Applied][];
  readonly outputs: Record<string, unknown>;
  readonly kept: readonly string[];
}

/** How Pulumi marks a secret among a resource's inputs. */
const SIGNATURE = "4dabf18193072939515e22adb298388d";

/** Inputs as they go to the API server: plain, secrets opened. */
function opened(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(opened);
  if (typeof value !== "object" || value === null) return value;
  if (SIGNATURE in value) return opened((value as Record<string, unknown>)["value"]);
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, opened(inner)]));
}

class Cluster {
  private readonly api: KubernetesObjectApi;
  private readonly applied: Map<string, Applied>;
  private outputs: Record<string, unknown>;
  private readonly registered = new Set<string>();
  /** What destroy leaves where it is (retainOnDelete). */
  readonly kept: Set<string>;
  private readonly outdated: Applied[] = [];

  constructor(private readonly file: string) {
    const config = new KubeConfig();
    config.loadFromDefault();
    this.api = KubernetesObjectApi.makeApiClient(config);
    const known = existsSync(file) ? (JSON.parse(readFileSync(file, "utf8")) as State) : undefined;
    this.applied = new Map(known?.applied);
    this.outputs = known?.outputs ?? {};
    this.kept = new Set(known?.kept);
  }

  /** Applies an object on the server's side; returns what the server answers. One that has another name replaces it. */
  async apply(key: string, object: Applied): Promise<KubernetesObject> {
    const { apiVersion, kind, metadata } = object;
    const { name, namespace } = metadata;
    const before = this.applied.get(key);
    if (before && (before.metadata.name !== name || before.metadata.namespace !== namespace)) {
      // As the engine does: a Job goes before its successor comes (deleteBeforeReplace), all else when the program is over.
      if (kind === "Job") await this.remove(before);
      else this.outdated.push(before);
    }
    this.registered.add(key);
    // Written down first, so that one who is killed in between knows what to remove.
    this.applied.set(key, {
      ...(apiVersion && { apiVersion }),
      ...(kind && { kind }),
      metadata: { name, ...(namespace && { namespace }) },
    });
    this.save();
    return this.api.patch(object, undefined, undefined, "retort-tests", true, PatchStrategy.ServerSideApply);
  }

  /** Removes what the program no longer registers. */
  async finish(outputs: Record<string, unknown>): Promise<void> {
    const gone = [...this.applied].filter(([key]) => !this.registered.has(key));
    for (const object of [...this.outdated, ...gone.reverse().map(([, object]) => object)]) await this.remove(object);
    for (const [key] of gone) this.applied.delete(key);
    this.outputs = outputs;
    this.save();
  }

  async removeAll(): Promise<void> {
    for (const [key, object] of [...this.applied].reverse()) {
      if (!this.kept.has(key)) await this.remove(object);
      this.applied.delete(key);
      this.save();
    }
  }

  private async remove(object: Applied): Promise<void> {
    const { kind, metadata } = object;
    console.log(`removes ${kind} ${metadata.name}`);
    await this.api.delete(object, undefined, undefined, undefined, undefined, "Foreground").catch(unlessGone);
    while (await this.api.read(object).catch(unlessGone)) await new Promise((resolve) => setTimeout(resolve, 500));
  }

  private save(): void {
    const state: State = { applied: [...this.applied], outputs: this.outputs, kept: [...this.kept] };
    writeFileSync(`${this.file}.part`, JSON.stringify(state));
    renameSync(`${this.file}.part`, this.file);
  }
}

function unlessGone(error: unknown): undefined {
  if ((error as { code?: number }).code === 404) return undefined;
  throw error;
}

function stop(error: unknown): never {
  console.error(`error: ${(error as Error).message}`);
  process.exit(255);
}

async function main({ command, stack, settings, state }: Order): Promise<void> {
  const cluster = new Cluster(state);
  if (command === "destroy") return cluster.removeAll();
  if (command === "refresh") throw new Error("the mock monitor has no state to refresh");
  const given = JSON.parse(readFileSync(settings, "utf8")) as Record<string, { value: string }>;
  pulumi.runtime.setAllConfig(Object.fromEntries(Object.entries(given).map(([key, { value }]) => [key, value])));
  const isPreview = command === "preview";
  const newResource = async ({ type, name, inputs }: pulumi.runtime.MockResourceArgs) => {
    const object = opened(inputs) as Applied;
    if (!type.startsWith("kubernetes:") || isPreview) return { id: isPreview ? "" : name, state: inputs };
    // A throw here would leave the program waiting for ever.
    const live = await cluster.apply(`${type} ${name}`, object).catch(stop);
    return { id: name, state: JSON.parse(JSON.stringify(live)) as Record<string, unknown> };
  };
  await pulumi.runtime.setMocks({ newResource, call: ({ inputs }) => inputs }, "retort", stack, isPreview);
  const program = require("../../infra/index") as () => Promise<Record<string, unknown>>;
  let outputs: Record<string, unknown> = {};
  await pulumi.runtime.runInPulumiStack(async () => {
    pulumi.runtime.registerStackTransformation(({ type, name, opts }) => {
      if (opts.retainOnDelete) cluster.kept.add(`${type} ${name}`);
      return undefined;
    });
    outputs = await program();
    return {};
  });
  await pulumi.runtime.disconnect();
  if (!isPreview) await cluster.finish(JSON.parse(JSON.stringify(outputs)) as Record<string, unknown>);
}

// The type alone is wanted by the tests: only as a program of its own does it act.
if (require.main === module) {
  // Whoever has started it is gone: nobody waits for it any more.
  process.stdout.on("error", () => process.exit(1));
  main(JSON.parse(process.argv[2] ?? "") as Order).then(() => process.exit(0), stop);
}
