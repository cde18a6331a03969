/** The settings of a stack (Pulumi.<stack>.yaml): where a run goes. All mistakes are reported at once, with how to mend them. */
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { z } from "zod";
import type { SchemaNode } from "../configs/jsonSchema";
import { ConfigError } from "../configs/load";
import { problemsOf } from "../configs/problems";

const DNS_LABEL = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
export const label = z.string().regex(DNS_LABEL, { error: "must be lower-case letters, digits and inner hyphens" });

/** Pulumi gives 0.5 as text, its CLI gives every number so, and a key of digits is a number to it. */
const numeric = (given: unknown): unknown => (typeof given === "string" && given.trim() ? Number(given) : given);
export const number = z.preprocess(numeric, z.number().positive());
export const whole = (least: number, most: number) => z.preprocess(numeric, z.int().min(least).max(most));
const text = z.preprocess((given) => (typeof given === "number" ? String(given) : given), z.string().min(1));

/** By content: a tag can be moved, and then a fingerprint would lie. */
export const image = z.string().regex(/^[^\s@]+@sha256:[0-9a-f]{64}$/, {
  error: "must name an image by its digest, name@sha256:<64 hex digits>: a tag may be moved to another image",
});

/** Of the S3 server that a stack runs itself (storage.inCluster). */
const IN_CLUSTER_BUCKET = "retort";
/** The namespace that it lies in: not the stack's own, which goes with the stack. */
export const storeNamespace = (namespace: string): string => `${namespace}-store`;

const storage = z
  .strictObject({
    bucket: z
      .string()
      .regex(/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/, { error: "must be the name of an S3 bucket" })
      .optional(),
    prefix: z
      .string()
      .regex(/^[^/\s]+(\/[^/\s]+)*$/, { error: "must be a path without a slash at either end" })
      .optional(),
    endpoint: z.url({ protocol: /^https?$/, error: "must be a URL, such as https://minio.example.com" }).optional(),
    region: z.string().min(1).default("us-east-1"),
    accessKeyId: text.optional(),
    secretAccessKey: text.optional(),
    podIdentity: z.record(z.string(), z.string()).optional(),
    inCluster: z
      .strictObject({ sizeGiB: whole(1, 65_536).default(100), storageClass: z.string().min(1).optional() })
      .optional(),
  })
  .refine(({ bucket, inCluster }) => bucket !== undefined || inCluster !== undefined, {
    path: ["bucket"],
    message: "is missing: name one, or set storage.inCluster.sizeGiB for an S3 server in the cluster itself",
    when: isObject,
  })
  .refine(({ inCluster, region: _, ...elsewhere }) => inCluster === undefined || areUnset(elsewhere), {
    path: ["inCluster"],
    message: "has a bucket and keys of its own: remove it, or else every other key of retort:storage",
    when: isObject,
  })
  // A problem lies where a value is missing: one that is there, and secret, is not shown.
  .refine(({ accessKeyId, secretAccessKey }) => accessKeyId === undefined || secretAccessKey !== undefined, {
    path: ["secretAccessKey"],
    message: "goes together with storage.accessKeyId: set both or neither",
    when: isObject,
  })
  .refine(
    ({ accessKeyId, secretAccessKey, podIdentity, inCluster }) =>
      accessKeyId !== undefined ||
      (secretAccessKey === undefined && (podIdentity !== undefined || inCluster !== undefined)),
    {
      path: ["accessKeyId"],
      message: "needs a value (with storage.secretAccessKey), or else storage.podIdentity: stages must reach the store",
      when: isObject,
    },
  )
  .refine(({ accessKeyId, podIdentity }) => accessKeyId === undefined || podIdentity === undefined, {
    path: ["podIdentity"],
    message: "does not go together with storage.accessKeyId: remove either",
    when: isObject,
  })
  .transform(({ bucket = IN_CLUSTER_BUCKET, ...more }) => ({ bucket, ...more }));

const toleration = z.strictObject({
  key: z.string().optional(),
  operator: z.enum(["Exists", "Equal"]).optional(),
  value: z.string().optional(),
  effect: z.enum(["NoSchedule", "PreferNoSchedule", "NoExecute"]).optional(),
});

const gpu = z.strictObject({
  resource: z.string().min(1).default("nvidia.com/gpu"),
  count: whole(0, 16).default(1),
  nodes: whole(1, 64).default(1),
  merge: whole(0, 16).default(0),
  nodeSelector: z.record(z.string(), z.string()).default({}),
  tolerations: z.array(toleration).default([{ key: "nvidia.com/gpu", operator: "Exists", effect: "NoSchedule" }]),
});

const budget = z
  .strictObject({
    maxHours: number.optional(),
    maxUsd: number.optional(),
    usdPerHour: number.optional(),
  })
  .refine(({ maxUsd, usdPerHour }) => maxUsd === undefined || usdPerHour !== undefined, {
    path: ["usdPerHour"],
    message: "is needed with budget.maxUsd: what an hour of a stage's node costs",
    when: isObject,
  });

export const Settings = z
  .strictObject({
    target: z.literal("kubernetes", { error: "must be kubernetes or aws" }).default("kubernetes"),
    context: z.string().min(1).optional(),
    namespace: label.default("retort"),
    run: z.string().min(1),
    storage,
    images: z.strictObject({
      trainer: image,
      evaluator: image,
      tensorboard: image,
      store: image.optional(),
      pullSecret: label.optional(),
    }),
    gpu: gpu.prefault({}),
    pod: z
      .strictObject({
        cpus: number.default(8),
        memoryGiB: number.default(64),
        diskGiB: number.default(120),
      })
      .prefault({}),
    queue: label.optional(),
    budget: budget.prefault({}),
    capacityTimeoutMinutes: whole(1, 10_000).default(20),
  })
  .refine(({ storage, images }) => storage?.inCluster === undefined || images?.store !== undefined, {
    path: ["images", "store"],
    message: "is needed with storage.inCluster: the image of its S3 server",
    when: isObject,
  })
  .refine(
    ({ storage, namespace }) => storage?.inCluster === undefined || label.safeParse(storeNamespace(namespace)).success,
    {
      path: ["namespace"],
      message: "must be shorter by a few letters with storage.inCluster, whose own namespace is named after it",
      when: isObject,
    },
  );

/** Where a run goes, with every default filled in. `run` is an absolute path. */
export type Settings = z.output<typeof Settings>;

/** Reads one setting of the stack: its value, or undefined. */
export type ReadSetting = (key: string) => unknown;

/** What every target's settings have. */
type Shape = z.ZodObject<{ run: z.ZodString }>;

/** Blocks that a target may require keys of: each missing one is named, not just the block. */
const BLOCKS = { storage: {}, images: {}, cluster: {} };

/** The settings of a stack. Throws ConfigError with everything that is wrong with them; nothing has been created then. */
export const parseSettings = (read: ReadSetting, root: string): Settings => parseTarget(read, root, Settings);

/** `parseSettings` for the target that `target` describes. */
export function parseTarget<T extends Shape>(read: ReadSetting, root: string, target: T): z.output<T> {
  // Pulumi.yaml must give every optional setting a default: its empty values stand for "not set".
  const keys = Object.keys(target.shape);
  const blocks = Object.entries(BLOCKS).filter(([key]) => keys.includes(key));
  const found = keys.map((key) => [key, read(key)]).filter(([, value]) => value !== "" && value !== undefined);
  const given: Record<string, unknown> = Object.fromEntries([...blocks, ...found]);
  const parsed = target.safeParse(given);
  const schema = z.toJSONSchema(target, { io: "input" }) as SchemaNode;
  const problems = parsed.success ? [] : problemsOf(parsed.error.issues, given, schema);
  const lines = problems.map(
    ({ path, message }) => `retort:${path.join(".")}: ${message}\n    ${howToSet(path.join("."))}`,
  );
  const run = typeof given["run"] === "string" ? resolve(root, given["run"]) : undefined;
  if (run && !existsSync(run)) lines.push(`retort:run: no such file: ${run}\n    ${howToSet("run")}`);
  if (!parsed.success || !run || lines.length > 0) throw new ConfigError(lines);
  return { ...parsed.data, run };
}

const EXAMPLES: Readonly<Record<string, string>> = {
  target: "kubernetes",
  run: "configs/phase1c.yaml",
  namespace: "retort",
  "storage.bucket": "my-team-retort",
  "storage.inCluster.sizeGiB": "100",
  "storage.endpoint": "https://minio.example.com",
  "storage.accessKeyId": "AKIA...",
  "budget.usdPerHour": "6.88",
  "cluster.accessCidrs": "203.0.113.7/32",
  "gpu.instanceTypes": "p5.4xlarge",
  region: "us-east-1",
};

function howToSet(path: string): string {
  if (/^images\.(trainer|evaluator|tensorboard|store)$/.test(path)) {
    const store = path === "images.store" ? " --store" : "";
    return `npm run images -- --push REGISTRY/PATH${store} builds them all, and prints the commands that set them`;
  }
  if (EITHER_OR.includes(path)) return `pulumi config rm --path 'retort:${path}'`;
  const secret = path === "storage.secretAccessKey" ? "--secret " : "";
  const nested = path.includes(".") ? "--path " : "";
  // Items of a list are set one by one, from the first.
  const [, list = path, item] = /^(.*)\.(\d+)$/.exec(path) ?? [];
  const index = item ?? (LISTS.includes(path) ? "0" : undefined);
  const place = index === undefined ? path : `${list}[${index}]`;
  return `pulumi config set ${secret}${nested}'retort:${place}' ${EXAMPLES[list] ?? "VALUE"}`;
}

/** Blocks that something else takes the place of. */
const EITHER_OR = ["storage.inCluster", "storage.podIdentity"];

const LISTS = ["cluster.accessCidrs", "gpu.instanceTypes"];

const areUnset = (keys: object): boolean => Object.values(keys).every((value) => value === undefined);

function isObject({ value }: { value: unknown }): boolean {
  return typeof value === "object" && value !== null;
}
