/** The EKS cluster, in Auto Mode: AWS runs its nodes, drivers and add-ons. Its API answers only where the stack says. */
import * as cloudwatch from "@pulumi/aws/cloudwatch";
import * as eks from "@pulumi/aws/eks";
import * as iam from "@pulumi/aws/iam";
import * as kms from "@pulumi/aws/kms";
import * as pulumi from "@pulumi/pulumi";
import { kubeconfig } from "./kubeconfig";
import { partitionOf } from "./names";
import type { AwsSettings } from "./settings";

export interface ClusterArgs {
  /** The cluster's name in AWS. */
  readonly clusterName: string;
  readonly region: string;
  readonly subnetIds: pulumi.Input<string[]>;
  /** What nodes reach the world by: goes only after the cluster. */
  readonly routes: readonly pulumi.Resource[];
  readonly settings: AwsSettings["cluster"];
}

/** AWS's own policies for Auto Mode: the cluster makes nodes, volumes, load balancers and interfaces. */
const CLUSTER_POLICIES = [
  "AmazonEKSClusterPolicy",
  "AmazonEKSComputePolicy",
  "AmazonEKSBlockStoragePolicy",
  "AmazonEKSLoadBalancingPolicy",
  "AmazonEKSNetworkingPolicy",
];
const NODE_POLICIES = ["AmazonEKSWorkerNodeMinimalPolicy", "AmazonEC2ContainerRegistryPullOnly"];
const LOGS = ["api", "audit", "authenticator"];
const LOG_DAYS = 30;

/** The trust policy of a role that a service of AWS takes. Pure. */
export const trusts = (service: string, actions: string | string[]) =>
  JSON.stringify({
    Version: "2012-10-17",
    Statement: [{ Effect: "Allow", Principal: { Service: service }, Action: actions }],
  });

export class Cluster extends pulumi.ComponentResource {
  readonly cluster: eks.Cluster;
  readonly nodeRoleName: pulumi.Output<string>;
  readonly kubeconfig: pulumi.Output<string>;
  /** Who may call the cluster's API. What lies in the cluster is removed before they are. */
  readonly entries: readonly pulumi.Resource[];

  constructor(name: string, args: ClusterArgs, opts?: pulumi.ComponentResourceOptions) {
    super("retort:infra:Cluster", name, {}, opts);
    const { clusterName, region, subnetIds, routes, settings } = args;
    const inside = { parent: this };
    const partition = partitionOf(region);
    const role = (part: string, trust: string, policies: readonly string[]) => {
      const made = new iam.Role(`${name}-${part}`, { assumeRolePolicy: trust }, inside);
      const attachments = policies.map(
        (policy) =>
          new iam.RolePolicyAttachment(
            `${name}-${part}-${policy}`,
            { role: made.name, policyArn: `arn:${partition}:iam::aws:policy/${policy}` },
            inside,
          ),
      );
      return { role: made, attachments };
    };
    const control = role(
      "control",
      trusts("eks.amazonaws.com", ["sts:AssumeRole", "sts:TagSession"]),
      CLUSTER_POLICIES,
    );
    const node = role("node", trusts("ec2.amazonaws.com", "sts:AssumeRole"), NODE_POLICIES);
    const key = new kms.Key(
      `${name}-secrets`,
      { description: `Secrets of the EKS cluster ${clusterName}`, enableKeyRotation: true, deletionWindowInDays: 7 },
      inside,
    );
    const logs = new cloudwatch.LogGroup(
      `${name}-logs`,
      { name: `/aws/eks/${clusterName}/cluster`, retentionInDays: LOG_DAYS },
      inside,
    );
    this.cluster = new eks.Cluster(
      name,
      clusterArgs({
        clusterName,
        subnetIds,
        settings,
        roleArn: control.role.arn,
        nodeRoleArn: node.role.arn,
        keyArn: key.arn,
      }),
      { ...inside, dependsOn: [...control.attachments, ...node.attachments, logs, ...routes] },
    );
    this.nodeRoleName = node.role.name;
    this.kubeconfig = pulumi
      .all([this.cluster.endpoint, this.cluster.certificateAuthority.data])
      .apply(([endpoint, authority]) => kubeconfig({ clusterName, region, endpoint, authority }));
    this.entries = [
      ...settings.admins.flatMap((arn) => this.entry(name, partition, arn, "AmazonEKSClusterAdminPolicy")),
      ...settings.viewers.flatMap((arn) => this.entry(name, partition, arn, "AmazonEKSAdminViewPolicy")),
    ];
    this.registerOutputs();
  }

  private entry(name: string, partition: string, principalArn: string, policy: string): pulumi.Resource[] {
    const part = `${name}-${principalArn.slice(principalArn.lastIndexOf("/") + 1)}`;
    const place = { clusterName: this.cluster.name, principalArn };
    const opts = { parent: this };
    const entry = new eks.AccessEntry(part, { ...place, type: "STANDARD" }, opts);
    const policyArn = `arn:${partition}:eks::aws:cluster-access-policy/${policy}`;
    const association = new eks.AccessPolicyAssociation(
      part,
      { ...place, policyArn, accessScope: { type: "cluster" } },
      { ...opts, dependsOn: [entry] },
    );
    return [entry, association];
  }
}

interface Parts {
  readonly clusterName: string;
  readonly subnetIds: pulumi.Input<string[]>;
  readonly settings: AwsSettings["cluster"];
  readonly roleArn: pulumi.Input<string>;
  readonly nodeRoleArn: pulumi.Input<string>;
  readonly keyArn: pulumi.Input<string>;
}

/** Exactly what the cluster is made of. The three flags of Auto Mode stay literal: the provider's check needs them so. */
function clusterArgs({ clusterName, subnetIds, settings, roleArn, nodeRoleArn, keyArn }: Parts): eks.ClusterArgs {
  const { version, accessCidrs } = settings;
  const isPublic = accessCidrs.length > 0;
  return {
    name: clusterName,
    version,
    roleArn,
    bootstrapSelfManagedAddons: false,
    accessConfig: { authenticationMode: "API", bootstrapClusterCreatorAdminPermissions: true },
    // The built-in pool serves pods without GPUs: TensorBoard. Its nodes go when nothing needs them, too.
    computeConfig: { enabled: true, nodePools: ["general-purpose"], nodeRoleArn },
    storageConfig: { blockStorage: { enabled: true } },
    kubernetesNetworkConfig: { elasticLoadBalancing: { enabled: true } },
    upgradePolicy: { supportType: "STANDARD" },
    enabledClusterLogTypes: LOGS,
    encryptionConfig: { provider: { keyArn }, resources: ["secrets"] },
    vpcConfig: {
      subnetIds,
      endpointPrivateAccess: true,
      endpointPublicAccess: isPublic,
      ...(isPublic && { publicAccessCidrs: accessCidrs }),
    },
  };
}
