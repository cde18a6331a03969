/** What a run will take, before it starts: hours and dollars of each stage, low and high. Pure. */
import type { RunConfig } from "../configs/schema";
import type { Price } from "./aws/prices";
import { STAGES, type StageName } from "./stages";
import { VisibleError } from "./visibleError";
import type { Workload } from "./workload";

export interface Range {
  readonly low: number;
  readonly high: number;
}

export interface EstimateLine {
  readonly what: string;
  readonly minutes: Range;
  readonly usd: Range;
}

export interface Estimate {
  readonly lines: readonly EstimateLine[];
  /** Of a GPU node, from its start to its end. */
  readonly hours: Range;
  /** All of it: nodes, and what stands beside them meanwhile. */
  readonly usd: Range;
}

/** Real tokens a second that LoRA (rank 64) trains of an 8.03B model on one H100: measured, on an H200's compute. */
const TRAINED_PER_SECOND = 15_623;
/** Tokens a second that vLLM writes with an 8B model and 64 requests at once. Assumed, not measured. */
const WRITTEN_PER_SECOND: Range = { low: 2_500, high: 5_500 };
const MEASURED_MODEL_BYTES = 16.06e9;
/** Characters a token: code and other languages have fewer. */
const LETTERS_PER_TOKEN: Range = { low: 3, high: 4.5 };
/** Reading the model and compiling its layers; serving it twice. Assumed. */
const LOADING_MINUTES = { train: { low: 2, high: 5 }, evaluate: { low: 5, high: 12 } };
/** Reading, adding and writing 16 GB. Assumed. */
const MERGE_MINUTES: Range = { low: 3, high: 10 };
/** From the pod's wish to its first line: the instance, its images. Assumed. */
const START_MINUTES: Range = { low: 4, high: 10 };
/** From the last stage's end until the node is gone. */
const IDLE_MINUTES: Range = { low: 1.5, high: 3 };

export interface EstimateArgs {
  readonly config: RunConfig;
  readonly workload: Workload;
  readonly price: Price;
  /** GPUs and nodes that train on it together. */
  readonly gpus: number;
  readonly nodes: number;
  /** The stages that are to run; those that are done cost nothing. */
  readonly stages: readonly StageName[];
}

export function estimateRun({ config, workload, price, gpus, nodes, stages }: EstimateArgs): Estimate {
  const minutes: Record<StageName, Range> = {
    train: trainMinutes(config, workload, gpus),
    merge: scaled(MERGE_MINUTES, Math.max(0.1, workload.modelBytes / MEASURED_MODEL_BYTES)),
    evaluate: evaluateMinutes(config, workload),
  };
  const cost = (spent: Range, machines: number): Range => ({
    low: (spent.low / 60) * price.low * machines,
    high: (spent.high / 60) * price.high * machines,
  });
  const line = (what: string, spent: Range, machines: number) => ({ what, minutes: spent, usd: cost(spent, machines) });
  if (stages.length === 0) return { lines: [], hours: { low: 0, high: 0 }, usd: { low: 0, high: 0 } };
  // Several nodes only train: the others are gone before the first one is.
  const spread = stages.includes("train") ? nodes : 1;
  const lines: EstimateLine[] = [
    line("node starts", START_MINUTES, spread),
    ...STAGES.filter((stage) => stages.includes(stage)).map((stage) =>
      line(stage, minutes[stage], stage === "train" ? nodes : 1),
    ),
    line("node ends", IDLE_MINUTES, spread),
  ];
  const hours = scaled(total(lines.map((part) => part.minutes)), 1 / 60);
  const standing = scaled(hours, price.standing);
  const beside = { what: "cluster, network", minutes: scaled(hours, 60), usd: standing };
  return { lines: [...lines, beside], hours, usd: total([...lines, beside].map(({ usd }) => usd)) };
}

function trainMinutes({ train }: RunConfig, { train: data, modelBytes }: Workload, gpus: number): Range {
  const perSecond = (TRAINED_PER_SECOND * gpus * MEASURED_MODEL_BYTES) / modelBytes;
  const letters = data.prompt + data.answer;
  const updates = (data.rows * (1 - train.validationSplit)) / train.rowsPerUpdate;
  // Early stopping cannot fire before so many updates, and validation reads its rows each time.
  const soonest = Math.min(train.maxEpochs * updates, (train.earlyStopping.patience + 1) * train.evalEvery);
  const epochs = { low: updates > 0 ? soonest / updates : 0, high: train.maxEpochs };
  const passes = (count: number) => count * (1 + (train.validationSplit * updates) / train.evalEvery);
  const seconds = {
    low: ((letters / LETTERS_PER_TOKEN.high) * passes(epochs.low)) / perSecond,
    high: ((letters / LETTERS_PER_TOKEN.low) * passes(epochs.high)) / perSecond,
  };
  return total([scaled(seconds, 1 / 60), LOADING_MINUTES.train]);
}

/** The base model and the merged one both answer every row; an answer may be as long as the config lets it. */
function evaluateMinutes({ evaluate }: RunConfig, { test, modelBytes }: Workload): Range {
  const size = modelBytes / MEASURED_MODEL_BYTES;
  const most = test.rows * evaluate.maxNewTokens;
  const tokens = {
    low: Math.min(most, test.answer / LETTERS_PER_TOKEN.high),
    high: Math.min(most, (2 * test.answer) / LETTERS_PER_TOKEN.low),
  };
  const seconds = {
    low: (2 * tokens.low * size) / WRITTEN_PER_SECOND.high,
    high: (2 * tokens.high * size) / WRITTEN_PER_SECOND.low,
  };
  return total([scaled(seconds, 1 / 60), LOADING_MINUTES.evaluate]);
}

const scaled = ({ low, high }: Range, by: number): Range => ({ low: low * by, high: high * by });

const total = (ranges: readonly Range[]): Range =>
  ranges.reduce((sum, { low, high }) => ({ low: sum.low + low, high: sum.high + high }), { low: 0, high: 0 });

/** A line for each stage, the sum, and what the figures rest on. */
export function estimateLines({ lines, usd }: Estimate, price: Price, assumed: readonly string[]): string[] {
  if (lines.length === 0) return ["nothing to run: it costs nothing"];
  const text = (what: string, minutes: string, dollars: string) =>
    `${what.padEnd(17)}${minutes.padStart(12)}${dollars.padStart(18)}`;
  const rows = lines.map((line) => text(line.what, `${between(line.minutes, 0)} min`, `${between(line.usd, 2)} USD`));
  return [
    ...rows,
    text("in all", "", `${between(usd, 2)} USD`),
    `a node costs ${between(price, 2)} USD an hour (${price.source})`,
    ...price.notes,
    ...assumed.map((what) => `assumed of ${what}`),
  ];
}

const between = ({ low, high }: Range, digits: number): string => {
  const [from, to] = [low.toFixed(digits), high.toFixed(digits)];
  return from === to ? from : `${from} to ${to}`;
};

/**
 * A run that cannot end within its budget does not start: throws VisibleError. Returns a warning if it may not.
 * The budget is also a deadline, so that no run ever costs more.
 */
export function withinBudget(
  { usd, hours }: Estimate,
  { maxUsd, maxHours }: { maxUsd?: number | undefined; maxHours?: number | undefined },
): string | undefined {
  const caps = [
    { what: "maxUsd", cap: maxUsd, needs: usd, unit: "USD", digits: 2 },
    { what: "maxHours", cap: maxHours, needs: hours, unit: "hours", digits: 1 },
  ];
  for (const { what, cap, needs, unit, digits } of caps) {
    if (cap === undefined || needs.high <= cap) continue;
    const text = `the run takes ${between(needs, digits)} ${unit}, and retort:budget.${what} is ${cap}`;
    const mend = `pulumi config set --path retort:budget.${what} ${Math.ceil(needs.high)}`;
    if (needs.low > cap) throw new VisibleError(`${text}: it is not started. To allow it: ${mend}`, 2);
    return `${text}: it is stopped there, and goes on from its checkpoint if you raise it: ${mend}`;
  }
  return undefined;
}
