/** How figures are taken and told, and the store of a team that has run a thousand runs. */
import { randomBytes } from "node:crypto";
import type { S3Store } from "../../jobs/s3";
import { STAGES } from "../../jobs/stages";

export const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;

export function seconds(act: () => void): number {
  const begun = performance.now();
  act();
  return (performance.now() - begun) / 1000;
}

/** Prints a figure in seconds, and how many times each of the others, measured in the same run, it is. */
export function say(what: string, figure: number, others: Readonly<Record<string, number>>, target?: string): void {
  const ratios = Object.entries(others).map(([name, other]) => `${(figure / other).toFixed(2)} × ${name}`);
  const more = [...ratios, ...(target ? [`target: ${target}`] : [])].join(", ");
  console.log(`${what.padEnd(48)} ${figure.toFixed(2).padStart(7)} s   ${more}`);
}

/** Leaves what so many finished runs of one name leave, each with data of its own. */
export async function earlierRuns(store: S3Store, base: string, run: string, count: number): Promise<void> {
  const hex = (bytes: number) => randomBytes(bytes).toString("hex");
  const now = new Date().toISOString();
  const leave = async () => {
    await store.write(`${base}/data/${hex(32)}.jsonl`, "{}\n");
    for (const stage of STAGES) {
      const fingerprint = hex(32);
      const output = `${base}/runs/${run}/${stage}-${fingerprint.slice(0, 12)}`;
      const outputs = [{ path: "result.txt", bytes: 4 }];
      await store.write(`${output}/result.txt`, "done");
      await store.write(
        `${output}/manifest.json`,
        JSON.stringify({ stage, fingerprint, outputs, startedAt: now, finishedAt: now, metrics: {} }),
      );
      await store.write(`${output}/attempts/1.json`, JSON.stringify({ attempt: 1, job: "j", startedAt: now }));
    }
  };
  const AT_ONCE = 20;
  for (let done = 0; done < count; done += AT_ONCE) await Promise.all(Array.from({ length: AT_ONCE }, leave));
}
