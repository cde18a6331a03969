/** The GPU pool's manifests for any settings, as they reach a cluster. */
import * as pulumi from "@pulumi/pulumi";
import fc from "fast-check";
import { type GpuPoolArgs, nodeClass, nodePool } from "../../../infra/aws/gpuPool";
import { GPU_TYPE_NAMES } from "../../../infra/aws/gpuTypes";
import { AwsSettings } from "../../../infra/aws/settings";

export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly spec: Readonly<Record<string, unknown>>;
}

const resolved = <T>(value: pulumi.Input<T>): Promise<unknown> =>
  new Promise((resolve) => pulumi.output(value).apply(resolve));

/** Everything that the stack registers for its pool, and a NodeClaim as Karpenter makes it from the pool. */
export async function manifestsOf(gpu: object): Promise<{ pool: Manifest; claim: Manifest; class: Manifest }> {
  const settings = AwsSettings.parse({ target: "aws", run: "run.yaml", cluster: { accessCidrs: [] }, gpu });
  const args: GpuPoolArgs = {
    gpu: settings.gpu,
    zones: ["us-east-1a", "us-east-1b", "us-east-1c"],
    nodeRoleName: "cluster-node-1a2b3c4",
    subnetIds: ["subnet-0a", "subnet-0b", "subnet-0c"],
    securityGroupId: "sg-0cluster",
  };
  const pool = (await resolved(nodePool(args))) as Manifest;
  const { spec } = pool.spec["template"] as { spec: Record<string, unknown> };
  const claim = { apiVersion: "karpenter.sh/v1", kind: "NodeClaim", metadata: { name: "retort-gpu-x7k2p" }, spec };
  return { pool, claim, class: (await resolved(nodeClass(args))) as Manifest };
}

const reserved = fc.record({
  reserved: fc.array(fc.stringMatching(/^cr-[0-9a-f]{8,17}$/), { minLength: 1, maxLength: 3 }),
});

/** Any gpu settings that the schema takes. */
export const anyGpu = fc
  .record({
    instanceTypes: fc.uniqueArray(fc.constantFrom(...GPU_TYPE_NAMES), { minLength: 1 }),
    zones: fc.option(fc.uniqueArray(fc.constantFrom("us-east-1a", "us-east-1b"), { minLength: 1 }), { nil: undefined }),
    reserved: fc.option(reserved, { nil: undefined }),
    others: fc.subarray(["spot", "on-demand"]),
    nodes: fc.integer({ min: 1, max: 8 }),
  })
  .filter(({ reserved: first, others }) => first !== undefined || others.length > 0)
  .map(({ instanceTypes, zones, reserved: first, others, nodes }) => ({
    instanceTypes,
    capacity: [...(first ? [first] : []), ...others],
    nodes,
    ...(zones && { zones }),
  }));
