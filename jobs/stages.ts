/** What each stage of a run is: a pure function from a RunConfig, and what it reads, to three StageSpecs. */
import type { DataName, RunConfig } from "../configs/schema";
import { stageOutput } from "./artifacts";
import { fingerprintOf, type ModelSource } from "./fingerprint";

export const STAGES = ["train", "merge", "evaluate"] as const;
export type StageName = (typeof STAGES)[number];

/** An image that stages run from, by its content. */
export interface ImageSource {
  /** With its digest: registry/retort-trainer@sha256:…, or local@sha256:… for the source trees a process runs from. */
  readonly image: string;
  /** sha256 (hex) of the image's requirements.lock. */
  readonly lock: string;
}

/** A file by its content. The URI says where to read it, and decides nothing. */
export interface FileSource {
  readonly uri: string;
  /** sha256, hex. */
  readonly sha256: string;
}

/** All that a run reads, by content: what decides its results beside the config. */
export interface RunSources {
  readonly model: ModelSource;
  readonly data: Readonly<Partial<Record<DataName, FileSource>>>;
  readonly trainer: ImageSource;
  readonly evaluator: ImageSource;
}

/** What a stage asks of the machine it runs on. */
export interface StageResources {
  readonly gpus: number;
  readonly cpus: number;
  readonly memoryGiB: number;
  /** Scratch space: the base model, checkpoints, the merged model. */
  readonly diskGiB: number;
}

/** A stage before this one, by its artifacts. */
export interface Upstream {
  readonly uri: string;
  readonly fingerprint: string;
}

/** The one file that a stage process reads, as JSON. Python sees every value resolved and has no defaults of its own. */
export interface StageDocument {
  readonly stage: StageName;
  readonly run: string;
  readonly fingerprint: string;
  readonly image: string;
  readonly lock: string;
  /** The part of the RunConfig that decides the stage's result: hashed into the fingerprint. */
  readonly config: Readonly<Record<string, unknown>>;
  /** The part that decides only how the result is come by: not hashed. */
  readonly settings: Readonly<Record<string, unknown>>;
  readonly inputs: StageInputs;
  /** URI of the directory that the artifacts go to. */
  readonly output: string;
}

export interface StageInputs {
  readonly model: ModelSource;
  readonly data?: Readonly<Partial<Record<DataName, FileSource>>>;
  readonly train?: Upstream;
  readonly merge?: Upstream;
}

/** A stage as a launcher sees it: a command to run on some machine. No launcher knows what a stage does. */
export interface StageSpec {
  readonly name: StageName;
  readonly run: string;
  readonly fingerprint: string;
  readonly image: string;
  /** To be followed by one argument, the path of `document` as a file. */
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly resources: StageResources;
  /** URIs that the stage reads. */
  readonly inputs: readonly string[];
  /** URI of the directory that the stage writes. */
  readonly output: string;
  /** A stage still running after so many hours is broken: a launcher that costs money ends it. */
  readonly deadlineHours: number;
  readonly document: StageDocument;
}

/** A stage's part of the config, in two: what decides the result, and what only decides how it is come by. */
interface StageConfig {
  readonly config: Readonly<Record<string, unknown>>;
  readonly settings: Readonly<Record<string, unknown>>;
}

/**
 * The stages of a run, in the order they run. `runs` is the URI below which all artifacts lie.
 * Resources are what an ~8B model in bf16 needs on one H100.
 */
export function stageSpecs(config: RunConfig, sources: RunSources, runs: string): [StageSpec, StageSpec, StageSpec] {
  const { model, data } = sources;
  const { test, ...trainingData } = data;
  const stage = stageBuilder(config.name, runs);

  const train = stage("train", {
    ...trainConfig(config),
    image: sources.trainer,
    command: ["python", "-m", "retort"],
    inputs: { model, data: trainingData },
    resources: { gpus: 1, cpus: 8, memoryGiB: 64, diskGiB: 120 },
    deadlineHours: 12,
  });
  const merge = stage("merge", {
    config: {},
    settings: {},
    image: sources.trainer,
    command: ["python", "-m", "retort"],
    inputs: { model, train: upstream(train) },
    resources: { gpus: 1, cpus: 8, memoryGiB: 64, diskGiB: 120 },
    deadlineHours: 2,
  });
  const evaluate = stage("evaluate", {
    ...evaluateConfig(config),
    image: sources.evaluator,
    command: ["python", "-m", "retort_evaluate"],
    inputs: { model, ...(test && { data: { test } }), train: upstream(train), merge: upstream(merge) },
    resources: { gpus: 1, cpus: 8, memoryGiB: 64, diskGiB: 120 },
    deadlineHours: 12,
  });
  return [train, merge, evaluate];
}

interface StageParts extends StageConfig {
  readonly image: ImageSource;
  readonly command: readonly string[];
  readonly inputs: StageInputs;
  readonly resources: StageResources;
  readonly deadlineHours: number;
}

function stageBuilder(run: string, runs: string) {
  return (name: StageName, parts: StageParts): StageSpec => {
    const { config, settings, inputs, command, resources, deadlineHours } = parts;
    const { image, lock } = parts.image;
    const fingerprint = fingerprintOf({ stage: name, config, image, lock, inputs });
    const output = stageOutput(runs, run, name, fingerprint);
    return {
      name,
      run,
      fingerprint,
      image,
      command,
      env: { PYTHONUNBUFFERED: "1", TOKENIZERS_PARALLELISM: "false" },
      resources,
      inputs: inputUris(inputs),
      output,
      deadlineHours,
      document: { stage: name, run, fingerprint, image, lock, config, settings, inputs, output },
    };
  };
}

function trainConfig({ data, train }: RunConfig): StageConfig {
  const { microBatchTokens, saveEvery, ...deciding } = train;
  const { maxTokens, selfCritiqueFormat, rowLimit } = data;
  return {
    config: { data: { maxTokens, selfCritiqueFormat, rowLimit: rowLimit ?? null }, train: deciding },
    settings: { microBatchTokens, saveEvery },
  };
}

function evaluateConfig({ data, evaluate }: RunConfig): StageConfig {
  const { concurrency, server, ...deciding } = evaluate;
  return {
    config: {
      data: { rowLimit: data.rowLimit ?? null },
      evaluate: { ...deciding, server: { command: server.command } },
    },
    settings: { concurrency, startTimeoutMinutes: server.startTimeoutMinutes },
  };
}

const upstream = ({ output, fingerprint }: StageSpec): Upstream => ({ uri: output, fingerprint });

function inputUris({ model, data, train, merge }: StageInputs): string[] {
  return [model, ...Object.values(data ?? {}), train, merge].flatMap((source) => (source ? [source.uri] : []));
}
