/** TensorBoard as a person sees it: through a port that kubectl forwards, by its own HTTP API. */
import { pause } from "./scene";
import type { Stack } from "./stack";

export interface Shown {
  readonly runs: readonly string[];
  /** [wall time, step, value] of the training loss of the first run. */
  readonly losses: readonly (readonly [number, number, number])[];
}

/** Asks until the answer is enough, through a new port each time that one breaks. Throws after two minutes. */
export async function board(stack: Stack, isEnough: (shown: Shown) => boolean): Promise<Shown> {
  const until = Date.now() + 120_000;
  let last: unknown = "no pod answered";
  while (Date.now() < until) {
    const forward = stack.kubectlUntilKilled("port-forward", "deployment/tensorboard", ":6006");
    let over = false;
    void forward.ended.then(() => {
      over = true;
    });
    try {
      while (!over && Date.now() < until) {
        const [, port] = /127\.0\.0\.1:(\d+) ->/.exec(forward.said()) ?? [];
        const shown = port ? await ask(`http://127.0.0.1:${port}`) : undefined;
        if (shown && isEnough(shown)) return shown;
        last = shown ?? forward.said();
        await pause(500);
      }
    } catch (error) {
      last = error; // the pod has gone, or does not listen yet
    } finally {
      if (!over) await forward.kill();
    }
    await pause(1000);
  }
  throw new Error(`TensorBoard does not show it: ${last instanceof Error ? last.message : JSON.stringify(last)}`);
}

async function ask(address: string): Promise<Shown> {
  const get = async (path: string) => {
    const answer = await fetch(`${address}/data/${path}`, { signal: AbortSignal.timeout(10_000) });
    if (!answer.ok) throw new Error(`${path} answers ${answer.status}`);
    return answer.json();
  };
  const runs = (await get("runs")) as string[];
  const [run] = runs;
  const tags = (await get("plugin/scalars/tags")) as Record<string, Record<string, unknown>>;
  if (run === undefined || tags[run]?.["train/loss"] === undefined) return { runs, losses: [] };
  const query = new URLSearchParams({ run, tag: "train/loss" });
  return { runs, losses: (await get(`plugin/scalars/scalars?${query}`)) as Shown["losses"] };
}
