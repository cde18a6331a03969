/** What every file of cluster tests starts from: the machine, a stack and a directory of its own, and ways to look at a run. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect } from "vitest";
import type { Ended, Running } from "./engine";
import { type Machine, machine } from "./machine";
import { Stack } from "./stack";

export const pause = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));
/** A measured number, for the reader of the tests' output. */
export const figure = (text: string) => console.log(`    ${text}`);
export const expectDone = (ended: Ended) => expect(ended.code, ended.output).toBe(0);

export interface Summary {
  readonly resumedFrom: number[];
  readonly history: { step: number; loss: number }[];
}

export class Scene {
  readonly directory = mkdtempSync(join(tmpdir(), "retort-cluster-"));
  /** A run of its own for every execution, whatever an earlier one has left in the store. */
  readonly run = `t${Date.now().toString(36)}`;
  readonly machine: Machine = machine();
  readonly stack: Stack;

  /** `storage` gives the stack's settings of its store, where that is not the machine's. */
  constructor(name: string, storage?: (machine: Machine) => Readonly<Record<string, string>>) {
    this.stack = new Stack(name, this.directory, this.machine, storage?.(this.machine));
  }

  /** URI of the directory that a run's newest stage leaves its results in; undefined before it has left any. */
  async output(run: string, stage: string): Promise<string | undefined> {
    const base = `s3://${this.machine.storage.bucket}/runs/${run}`;
    const name = (await this.machine.store.directories(base)).find((found) => found.startsWith(`${stage}-`));
    return name && `${base}/${name}`;
  }

  async read(run: string, stage: string, file: string): Promise<string | undefined> {
    const output = await this.output(run, stage);
    return output && this.machine.store.read(`${output}/${file}`);
  }

  async summary(run: string): Promise<Summary> {
    return JSON.parse((await this.read(run, "train", "training_summary.json")) ?? "") as Summary;
  }

  /** Waits until a pod of the stage has said the text; returns the pod. */
  hears(running: Running, stage: string, text: RegExp): Promise<string> {
    return during(running, 500, () => this.stack.pods(stage).find((name) => text.test(this.stack.log(name))));
  }
}

/** Looks again and again until there is something to return. Throws if `running` ends before. */
export async function during<T>(
  running: Running,
  everyMs: number,
  look: () => T | Promise<T>,
): Promise<NonNullable<T>> {
  let over: Ended | undefined;
  void running.ended.then((ended) => {
    over = ended;
  });
  while (!over) {
    const found = await look();
    if (found) return found;
    await pause(everyMs);
  }
  throw new Error(`it ended before what was waited for: ${over.output}`);
}

/** Training progress at this update or a later one: a look may come late. */
export const updateFrom = (least: number): RegExp => {
  const steps = Array.from({ length: 60 }, (_, index) => least + index);
  return new RegExp(`"phase": ?"train", ?"step": ?(${steps.join("|")}),`);
};

/** Makes the scene before the tests of a file, and removes its stack after them, whatever has happened. */
export function withScene(...args: ConstructorParameters<typeof Scene>): { readonly scene: Scene } {
  let scene: Scene | undefined;
  const get = () => {
    if (!scene) throw new Error("the scene is made in beforeAll");
    return scene;
  };
  beforeAll(() => {
    scene = new Scene(...args);
    console.log(`=== ${args[0]}: ${scene.stack.engine.what}`);
    if (!scene.stack.engine.isReal) {
      console.log(
        "    left out, since only the engine can show them: its state, refresh, destroy of a state, what a diff shows",
      );
    }
  });
  beforeEach(({ onTestFailed }) => {
    onTestFailed(() => console.error(scene?.machine.own?.logs()));
  });
  afterAll(async () => {
    if (!scene) return;
    await scene.stack.remove();
    rmSync(scene.directory, { recursive: true, force: true });
  });
  return {
    get scene() {
      return get();
    },
  };
}
