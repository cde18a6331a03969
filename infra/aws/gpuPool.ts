/** H100 nodes, tainted so that only stages land on them. They cost money only while a stage runs, and a minute after. */
import { CustomResource } from "@pulumi/kubernetes/apiextensions/customResource";
import * as pulumi from "@pulumi/pulumi";
import { GPU_TYPES } from "./gpuTypes";
import { type AwsSettings, capacityType, POOL_LABEL } from "./settings";

export interface GpuPoolArgs {
  readonly gpu: AwsSettings["gpu"];
  /** Where nodes may be: those of the network, or fewer. */
  readonly zones: readonly string[];
  readonly nodeRoleName: pulumi.Input<string>;
  readonly subnetIds: pulumi.Input<readonly string[]>;
  readonly securityGroupId: pulumi.Input<string>;
}

export const POOL = "retort-gpu";

/** Deleting waits for the nodes to be gone: Karpenter must not be removed before them. */
const PATIENTLY = { delete: "30m" };

export class GpuPool extends pulumi.ComponentResource {
  constructor(name: string, args: GpuPoolArgs, opts?: pulumi.ComponentResourceOptions) {
    super("retort:infra:GpuPool", name, {}, opts);
    const inside = { parent: this, customTimeouts: PATIENTLY };
    const nodes = new CustomResource(`${name}-class`, nodeClass(args), inside);
    new CustomResource(`${name}-pool`, nodePool(args), { ...inside, dependsOn: [nodes] });
    this.registerOutputs();
  }
}

/** What a node is: which machines of which network, with their NVMe as disk for images and models. */
export function nodeClass({ gpu, nodeRoleName, subnetIds, securityGroupId }: GpuPoolArgs) {
  const reservations = gpu.capacity.flatMap((kind) => (typeof kind === "string" ? [] : kind.reserved));
  return {
    apiVersion: "eks.amazonaws.com/v1",
    kind: "NodeClass",
    metadata: { name: POOL },
    spec: {
      role: nodeRoleName,
      subnetSelectorTerms: pulumi.output(subnetIds).apply((ids) => ids.map((id) => ({ id }))),
      securityGroupSelectorTerms: [{ id: securityGroupId }],
      // Smaller than the NVMe, so that Auto Mode formats it and puts everything there; with more it would stay raw.
      ephemeralStorage: { size: "80Gi" },
      networkPolicy: "DefaultAllow",
      ...(reservations.length > 0 && { capacityReservationSelectorTerms: reservations.map((id) => ({ id })) }),
    },
  };
}

/** When there are nodes, and which. */
export function nodePool({ gpu, zones }: GpuPoolArgs) {
  const within = (key: string, values: readonly string[]) => ({ key, operator: "In", values });
  const gpusOfNode = Math.max(...gpu.instanceTypes.map((type) => GPU_TYPES[type].gpus));
  return {
    apiVersion: "karpenter.sh/v1",
    kind: "NodePool",
    metadata: { name: POOL, annotations: { "pulumi.com/deletionPropagationPolicy": "foreground" } },
    spec: {
      template: {
        metadata: { labels: POOL_LABEL },
        spec: {
          nodeClassRef: { group: "eks.amazonaws.com", kind: "NodeClass", name: POOL },
          requirements: [
            within("node.kubernetes.io/instance-type", gpu.instanceTypes),
            within("karpenter.sh/capacity-type", gpu.capacity.map(capacityType)),
            within("kubernetes.io/arch", ["amd64"]),
            within("topology.kubernetes.io/zone", gpu.zones ?? zones),
          ],
          taints: [{ key: "nvidia.com/gpu", value: "true", effect: "NoSchedule" }],
          expireAfter: "480h",
          // Longer than a stage needs to save and stop.
          terminationGracePeriod: "10m",
        },
      },
      // A mistake cannot cost more than the nodes that a run asks for.
      limits: { "nvidia.com/gpu": String(gpusOfNode * gpu.nodes) },
      disruption: {
        consolidationPolicy: "WhenEmpty",
        // The next stage's pod comes within seconds and finds the node warm; after the last one it is soon gone.
        consolidateAfter: "60s",
        // No new machine image, and no better price, is worth a training: only nodes with nothing on them go.
        budgets: [
          { nodes: "100%", reasons: ["Empty"] },
          { nodes: "0", reasons: ["Drifted", "Underutilized"] },
        ],
      },
    },
  };
}
