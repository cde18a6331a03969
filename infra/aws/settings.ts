/** The settings of a stack whose target is aws, and what the stages' chain sees of them: a cluster with GPUs and a store. */
import { z } from "zod";
import { image, label, number, type Settings, whole } from "../settings";
import { GPU_TYPE_NAMES, GPU_TYPES, type GpuTypeName } from "./gpuTypes";

const zone = z.string().regex(/^[a-z]{2}(-[a-z]+)+-\d[a-z]$/, { error: "must be a zone, such as us-east-1a" });
const bucket = z.string().regex(/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/, { error: "must be the name of an S3 bucket" });
const roleArn = z
  .string()
  .regex(/^arn:aws[a-z-]*:iam::\d{12}:(role|user)\/\S+$/, { error: "must be the ARN of an IAM role or user" });

const network = z
  .strictObject({
    vpcId: z
      .string()
      .regex(/^vpc-[0-9a-f]+$/, { error: "must be a VPC's id, vpc-..." })
      .optional(),
    subnetIds: z
      .array(z.string().regex(/^subnet-[0-9a-f]+$/, { error: "must be a subnet's id, subnet-..." }))
      .min(2)
      .optional(),
    zones: z.array(zone).min(2).max(3).optional(),
    ecrEndpoints: z.boolean().default(false),
  })
  .refine(({ vpcId, subnetIds }) => (vpcId === undefined) === (subnetIds === undefined), {
    path: ["subnetIds"],
    message: "goes together with network.vpcId: the private subnets of that VPC, with a way out to the internet",
    when: isObject,
  });

const cluster = z.strictObject({
  version: z
    .string()
    .regex(/^1\.\d\d$/, { error: "must be a Kubernetes version in quotes, such as '1.36'" })
    .default("1.36"),
  // Without an answer the program could not reach its own cluster, or everybody could.
  accessCidrs: z.array(
    z.string().regex(/^\d{1,3}(\.\d{1,3}){3}\/\d{1,2}$/, {
      error: "must be a range of addresses, such as 203.0.113.7/32",
    }),
    { error: "is missing: the addresses that may reach the cluster's API, or [] for only those inside its VPC" },
  ),
  admins: z.array(roleArn).default([]),
  viewers: z.array(roleArn).default([]),
});

const capacity = z.union(
  [z.literal(["on-demand", "spot"]), z.strictObject({ reserved: z.array(z.string().regex(/^cr-[0-9a-f]+$/)).min(1) })],
  { error: "must be on-demand, spot, or reserved: [cr-...] with the ids of reservations that exist" },
);

export type Capacity = z.output<typeof capacity>;

/** The name that Karpenter has for a kind of capacity. */
export const capacityType = (kind: Capacity): "on-demand" | "spot" | "reserved" =>
  typeof kind === "string" ? kind : "reserved";

/** The order is the pool's own, whatever is listed first. */
const PREFERENCE = ["reserved", "spot", "on-demand"];

const gpu = z
  .strictObject({
    instanceTypes: z
      .array(z.enum(GPU_TYPE_NAMES, { error: `must be ${GPU_TYPE_NAMES.join(", ")}` }))
      .min(1)
      .default(["p5.4xlarge"]),
    zones: z.array(zone).min(1).optional(),
    capacity: z.array(capacity).min(1).default(["on-demand"]),
    count: whole(1, 8).default(1),
    nodes: whole(1, 8).default(1),
    merge: whole(0, 8).default(0),
  })
  .refine(({ capacity: kinds }) => !Array.isArray(kinds) || inOrder(kinds), {
    path: ["capacity"],
    message: `must be in the order ${PREFERENCE.join(", ")}: Karpenter prefers them so, in any pool`,
    when: isObject,
  })
  .refine(
    ({ count, instanceTypes: types }) => !areTypes(types) || types.some((type) => GPU_TYPES[type].gpus >= count),
    {
      path: ["count"],
      message: "is more GPUs than one node of gpu.instanceTypes has: add p5.48xlarge",
      when: isObject,
    },
  );

export const AwsSettings = z.strictObject({
  target: z.literal("aws"),
  region: z
    .string()
    .regex(/^[a-z]{2}(-[a-z]+)+-\d$/, { error: "must be a region, such as us-east-1" })
    .default("us-east-1"),
  namespace: label.default("retort"),
  run: z.string().min(1),
  network: network.prefault({}),
  cluster,
  storage: z.strictObject({ data: bucket.optional(), results: bucket.optional() }).prefault({}),
  images: z
    .strictObject({ trainer: image.optional(), evaluator: image.optional(), tensorboard: image.optional() })
    .prefault({}),
  gpu: gpu.prefault({}),
  // A p5.4xlarge offers 15.8 CPUs and 235 GiB. Auto Mode counts 80 GiB of disk on every node, whatever its NVMe holds.
  pod: z
    .strictObject({
      cpus: number.pipe(z.number().max(14)).default(12),
      memoryGiB: number.pipe(z.number().max(215)).default(192),
      diskGiB: number.pipe(z.number().max(75)).default(70),
    })
    .prefault({}),
  budget: z
    .strictObject({
      maxHours: number.optional(),
      maxUsd: number.optional(),
      usdPerHour: number.optional(),
    })
    .prefault({}),
  capacityTimeoutMinutes: whole(1, 1440).default(20),
  tags: z.record(z.string().min(1).max(128), z.string().max(256)).default({}),
});

/** Where a run goes when that is AWS, with every default filled in. `run` is an absolute path. */
export type AwsSettings = z.output<typeof AwsSettings>;

/** The label of the nodes of the GPU pool, which stages ask for. */
export const POOL_LABEL = { "retort.dev/pool": "gpu" } as const;

/** The zones of the network: three that every account has in most regions. The preflight says if one is not there. */
export const zonesOf = ({ network, region }: AwsSettings): string[] =>
  network.zones ?? ["a", "b", "c"].map((letter) => `${region}${letter}`);

/** What the chain needs to know of a stack on AWS: the same as of any cluster and store. */
export function onCluster(
  { namespace, run, region, gpu, pod, budget, capacityTimeoutMinutes }: AwsSettings,
  { bucket, images, usdPerHour }: { bucket: string; images: Settings["images"]; usdPerHour: number },
): Settings {
  const { count, nodes, merge } = gpu;
  return {
    target: "kubernetes",
    namespace,
    run,
    // The stages' service accounts have roles by EKS Pod Identity: there is no key anywhere.
    storage: { bucket, region, podIdentity: {} },
    images,
    gpu: {
      resource: "nvidia.com/gpu",
      count,
      nodes,
      merge,
      nodeSelector: { "eks.amazonaws.com/compute-type": "auto", ...POOL_LABEL },
      tolerations: [{ key: "nvidia.com/gpu", operator: "Exists", effect: "NoSchedule" }],
    },
    pod,
    budget: { usdPerHour, ...budget },
    capacityTimeoutMinutes,
  };
}

/** Other problems are reported beside these: nothing is what it should be until it has been looked at. */
const areTypes = (types: unknown): types is GpuTypeName[] =>
  Array.isArray(types) && types.every((type) => GPU_TYPE_NAMES.includes(type));

function inOrder(kinds: readonly Capacity[]): boolean {
  const ranks = kinds.map((kind) => PREFERENCE.indexOf(capacityType(kind)));
  return ranks.every((rank, index) => index === 0 || rank > (ranks[index - 1] ?? -1));
}

function isObject({ value }: { value: unknown }): boolean {
  return typeof value === "object" && value !== null;
}
