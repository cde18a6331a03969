/** What a run will take, before it starts: hours and dollars of each stage, low and high. Pure. */
import type { RunConfig } from "../configs/schema";
import type { Price } from "./aws/prices";
import type { Measured } from "./measured";
import { STAGES, type StageName } from "./stages";
import type { Workload } from "./workload";

export interface Range {
  readonly low: number;
  readonly high: number;
}

export interface EstimateLine {
  readonly what: string;
  readonly minutes: Range;
  readonly usd: Range;
  /** Which of it is measured, and where, and which is assumed; for people. */
  readonly basis: string;
}

export interface Estimate {
  readonly lines: readonly EstimateLine[];
  /** Of a GPU node, from its start to its end. */
  readonly hours: Range;
  /** All of it: nodes, and what stands beside them meanwhile. */
  readonly usd: Range;
}

/** Real tokens a second that LoRA (rank 64) trains of an 8.03B model on one H100, measured; an H200 reads 15,623. */
const TRAINED_PER_SECOND = 14_418;
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
/** From the last stage's end until the node is gone. Assumed; the pool's own patience is a minute. */
const IDLE_MINUTES: Range = { low: 1.5, high: 3 };
/** How far a run like an earlier one may be from it. Assumed. */
const LIKE_BEFORE: Range = { low: 0.85, high: 1.2 };

export interface EstimateArgs {
  readonly config: RunConfig;
  readonly workload: Workload;
  readonly price: Price;
  /** GPUs and nodes that train on it together. */
  readonly gpus: number;
  readonly nodes: number;
  /** The stages that are to run; those that are done cost nothing. */
  readonly stages: readonly StageName[];
  /** Whether nodes are started for the run, and end after it. */
  readonly startsNodes: boolean;
  /** What an earlier run with this model took, on such a machine. */
  readonly measured?: Measured | undefined;
}

/** What a stage takes, and what that rests on. */
interface Reckoned {
  readonly minutes: Range;
  readonly basis: string;
}

export function estimateRun(args: EstimateArgs): Estimate {
  const { config, workload, price, gpus, nodes, stages, startsNodes, measured } = args;
  const reckoned: Record<StageName, Reckoned> = {
    train: trainTime(config, workload, gpus, measured),
    merge: mergeTime(workload, measured),
    evaluate: evaluateTime(config, workload, measured),
  };
  const cost = (spent: Range, machines: number): Range => ({
    low: (spent.low / 60) * price.low * machines,
    high: (spent.high / 60) * price.high * machines,
  });
  const line = (what: string, { minutes, basis }: Reckoned, machines: number): EstimateLine => ({
    ...{ what, minutes, basis },
    usd: cost(minutes, machines),
  });
  if (stages.length === 0) return { lines: [], hours: { low: 0, high: 0 }, usd: { low: 0, high: 0 } };
  // Several nodes only train: the others are gone before the first one is.
  const spread = stages.includes("train") ? nodes : 1;
  const lines: EstimateLine[] = [
    ...(startsNodes ? [line("node starts", { minutes: START_MINUTES, basis: "assumed" }, spread)] : []),
    ...STAGES.filter((stage) => stages.includes(stage)).map((stage) =>
      line(stage, reckoned[stage], stage === "train" ? nodes : 1),
    ),
    ...(startsNodes ? [line("node ends", { minutes: IDLE_MINUTES, basis: "assumed" }, spread)] : []),
  ];
  const hours = scaled(total(lines.map((part) => part.minutes)), 1 / 60);
  const standing = scaled(hours, price.standing);
  const beside = { what: "cluster, network", minutes: scaled(hours, 60), usd: standing, basis: "configs/prices.yaml" };
  const all = price.standing > 0 ? [...lines, beside] : lines;
  return { lines: all, hours, usd: total(all.map(({ usd }) => usd)) };
}

function trainTime({ train }: RunConfig, workload: Workload, gpus: number, measured: Measured | undefined): Reckoned {
  const { train: data, modelBytes } = workload;
  const letters = data.prompt + data.answer;
  const updates = Math.ceil((data.rows * (1 - train.validationSplit)) / train.rowsPerUpdate);
  // Early stopping cannot fire before so many updates.
  const soonest = Math.min(train.maxEpochs * updates, (train.earlyStopping.patience + 1) * train.evalEvery);
  const epochs = { low: updates > 0 ? soonest / updates : 0, high: train.maxEpochs };
  const tokens = {
    low: (letters / LETTERS_PER_TOKEN.high) * epochs.low,
    high: (letters / LETTERS_PER_TOKEN.low) * epochs.high,
  };
  if (measured) {
    const { tokensPerSecond, loadingMinutes } = measured.train;
    const minutes = scaled(tokens, 1 / (tokensPerSecond * gpus * 60));
    return like(total([minutes, { low: loadingMinutes, high: loadingMinutes }]), measured);
  }
  const perSecond = (TRAINED_PER_SECOND * gpus * MEASURED_MODEL_BYTES) / modelBytes;
  // Validation reads its rows each time, too.
  const validated = 1 + (train.validationSplit * updates) / train.evalEvery;
  return {
    minutes: total([scaled(tokens, validated / (perSecond * 60)), LOADING_MINUTES.train]),
    basis: "tokens/s measured on an H100 (8B model); loading assumed",
  };
}

function mergeTime({ modelBytes }: Workload, measured: Measured | undefined): Reckoned {
  if (measured) return like({ low: measured.merge.minutes, high: measured.merge.minutes }, measured);
  return { minutes: scaled(MERGE_MINUTES, Math.max(0.1, modelBytes / MEASURED_MODEL_BYTES)), basis: "assumed" };
}

/** The base model and the merged one both answer every row; an answer may be as long as the config lets it. */
function evaluateTime({ evaluate }: RunConfig, workload: Workload, measured: Measured | undefined): Reckoned {
  const { test, modelBytes } = workload;
  const most = test.rows * evaluate.maxNewTokens;
  if (measured) {
    const { tokensPerSecond, tokensPerRow, loadingMinutes } = measured.evaluate;
    const tokens = 2 * Math.min(most, test.rows * tokensPerRow);
    const minutes = tokens / tokensPerSecond / 60 + loadingMinutes;
    return like({ low: minutes, high: minutes }, measured);
  }
  const tokens = {
    low: Math.min(most, test.answer / LETTERS_PER_TOKEN.high),
    high: Math.min(most, (2 * test.answer) / LETTERS_PER_TOKEN.low),
  };
  const size = modelBytes / MEASURED_MODEL_BYTES;
  const seconds = {
    low: (2 * tokens.low * size) / WRITTEN_PER_SECOND.high,
    high: (2 * tokens.high * size) / WRITTEN_PER_SECOND.low,
  };
  const { low, high } = WRITTEN_PER_SECOND;
  const basis = `assumed: ${low.toLocaleString("en-US")} to ${high.toLocaleString("en-US")} tokens/s (8B model)`;
  return { minutes: total([scaled(seconds, 1 / 60), LOADING_MINUTES.evaluate]), basis };
}

const like = ({ low, high }: Range, { source }: Measured): Reckoned => ({
  minutes: { low: low * LIKE_BEFORE.low, high: high * LIKE_BEFORE.high },
  basis: `measured: ${source}`,
});

const scaled = ({ low, high }: Range, by: number): Range => ({ low: low * by, high: high * by });

const total = (ranges: readonly Range[]): Range =>
  ranges.reduce((sum, { low, high }) => ({ low: sum.low + low, high: sum.high + high }), { low: 0, high: 0 });
