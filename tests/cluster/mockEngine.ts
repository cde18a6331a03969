/** Stands in for the CLI where there is none: the same program in a process of its own, its resources really applied. */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { type Engine, started } from "./engine";
import type { Order, State } from "./mockProgram";

interface Block {
  [key: string]: string | Block;
}

export function mockEngine(stack: string, directory: string, base: NodeJS.ProcessEnv): Engine {
  const home = join(directory, "mock");
  const [state, settings] = [join(home, "state.json"), join(home, "settings.json")];
  rmSync(home, { recursive: true, force: true });
  mkdirSync(home, { recursive: true });
  // npm run status, logs and cancel ask the CLI for the stack's settings: this one knows nothing else.
  writeFileSync(join(home, "pulumi"), `#!/bin/sh\nexec cat ${JSON.stringify(settings)}\n`, { mode: 0o755 });
  const environment = { ...base, PATH: `${home}${delimiter}${base["PATH"]}` };
  const values: Block = {};
  return {
    what: "Pulumi's mock monitor, with each Kubernetes resource really applied (there is no Pulumi CLI with its provider here)",
    isReal: false,
    environment,
    set(key, value) {
      const [last = key, ...outer] = key.split(".").reverse();
      const block = outer.reverse().reduce((within, name) => {
        const old = within[name];
        const inner = typeof old === "object" ? old : {};
        within[name] = inner;
        return inner;
      }, values);
      block[last] = value;
      const all = Object.entries(values).map(([name, given]) => [
        `retort:${name}`,
        typeof given === "string" ? { value: given } : { value: JSON.stringify(given), objectValue: given },
      ]);
      writeFileSync(settings, JSON.stringify(Object.fromEntries(all)));
    },
    start(command) {
      const order: Order = { command, stack, settings, state };
      const program = join(__dirname, "mockProgram.ts");
      return started(process.execPath, ["--import", "tsx", program, JSON.stringify(order)], environment);
    },
    unlock: () => {},
    output: (name) => existsSync(state) && (JSON.parse(readFileSync(state, "utf8")) as State).outputs[name],
    remove: () => rmSync(home, { recursive: true, force: true }),
  };
}
