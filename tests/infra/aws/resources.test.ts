/** What a stack on AWS makes: exactly these resources, in an order that destroy can go back, and what it keeps. */
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Recorded, Recording } from "../record";
import { Moto } from "./moto";
import { KEY_OF_TEAM, OPTIONS, ofAws, prepare } from "./options";
import { ACCOUNT, only, record, willingAccount } from "./recording";

const FULL = "a private API, the team's roles, ECR's endpoints, eight GPUs of one zone, spot, tags";

let moto: Moto;
let dev: Recording;
let every: Recording;

beforeAll(async () => {
  moto = await Moto.start();
  moto.gate = willingAccount;
  await prepare(moto);
  dev = await record(moto, {});
  every = await record(moto, OPTIONS[FULL] ?? {});
}, 240_000);

afterAll(() => moto?.stop());

function counted(resources: readonly Recorded[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { type } of resources) counts[type] = (counts[type] ?? 0) + 1;
  return counts;
}

test("an empty account gets exactly this", () => {
  expect(dev.error).toBeUndefined();
  expect(counted(ofAws(dev))).toEqual({
    "aws:cloudwatch/logGroup:LogGroup": 1,
    "aws:ec2/eip:Eip": 1,
    "aws:ec2/internetGateway:InternetGateway": 1,
    "aws:ec2/natGateway:NatGateway": 1,
    "aws:ec2/route:Route": 2,
    "aws:ec2/routeTable:RouteTable": 2,
    "aws:ec2/routeTableAssociation:RouteTableAssociation": 6,
    "aws:ec2/subnet:Subnet": 6,
    "aws:ec2/vpc:Vpc": 1,
    "aws:ec2/vpcEndpoint:VpcEndpoint": 1,
    "aws:ecr/repository:Repository": 3,
    "aws:eks/cluster:Cluster": 1,
    "aws:eks/podIdentityAssociation:PodIdentityAssociation": 4,
    "aws:iam/role:Role": 6,
    "aws:iam/rolePolicy:RolePolicy": 4,
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": 7,
    "aws:kms/key:Key": 2,
    "aws:s3/bucket:Bucket": 2,
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": 2,
    "aws:s3/bucketOwnershipControls:BucketOwnershipControls": 2,
    "aws:s3/bucketPolicy:BucketPolicy": 2,
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": 2,
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": 2,
    "aws:s3/bucketVersioning:BucketVersioning": 2,
  });
});

test("the cluster is EKS Auto Mode, reached only from where the stack says, with its secrets encrypted", () => {
  expect(only(dev, "aws:eks/cluster:Cluster").inputs).toMatchObject({
    name: "retort-dev",
    version: "1.36",
    bootstrapSelfManagedAddons: false,
    accessConfig: { authenticationMode: "API" },
    computeConfig: { enabled: true, nodePools: ["general-purpose"] },
    storageConfig: { blockStorage: { enabled: true } },
    kubernetesNetworkConfig: { elasticLoadBalancing: { enabled: true } },
    encryptionConfig: { resources: ["secrets"] },
    enabledClusterLogTypes: ["api", "audit", "authenticator"],
    vpcConfig: { endpointPrivateAccess: true, endpointPublicAccess: true, publicAccessCidrs: ["203.0.113.7/32"] },
  });
  expect(only(every, "aws:eks/cluster:Cluster").inputs["vpcConfig"]).toMatchObject({ endpointPublicAccess: false });
});

test("the team's roles may call the cluster: some do all, some only look", () => {
  const policies = every.resources.filter(({ type }) => type.endsWith(":AccessPolicyAssociation"));
  expect(policies.map(({ inputs }) => [inputs["principalArn"], inputs["policyArn"]])).toEqual([
    [`arn:aws:iam::${ACCOUNT}:role/team`, "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"],
    [`arn:aws:iam::${ACCOUNT}:role/guests`, "arn:aws:eks::aws:cluster-access-policy/AmazonEKSAdminViewPolicy"],
  ]);
});

/** Whether one resource is made before another, by dependsOn, its own or its parents', and so is removed after it. */
function isAfter(recording: Recording, late: string, early: string): boolean {
  const byKey = new Map(recording.resources.map((one) => [`${one.type} ${one.name}`, one]));
  const seen = new Set<string>();
  const walk = (key: string): boolean => {
    if (key === early) return true;
    if (seen.has(key)) return false;
    seen.add(key);
    const one = byKey.get(key);
    const children = recording.resources
      .filter(({ parent }) => parent === key)
      .map(({ type, name }) => `${type} ${name}`);
    const isComponent = key.startsWith("retort:");
    const up = one?.parent === undefined ? [] : (byKey.get(one.parent)?.dependsOn ?? []);
    return [...(one?.dependsOn ?? []), ...up, ...(isComponent ? children : [])].some(walk);
  };
  return walk(late);
}

test.each([
  ["kubernetes:batch/v1:Job train", "kubernetes:karpenter.sh/v1:NodePool gpu-pool"],
  ["kubernetes:core/v1:Namespace namespace", "kubernetes:karpenter.sh/v1:NodePool gpu-pool"],
  ["kubernetes:karpenter.sh/v1:NodePool gpu-pool", "kubernetes:eks.amazonaws.com/v1:NodeClass gpu-class"],
  ["kubernetes:eks.amazonaws.com/v1:NodeClass gpu-class", "aws:eks/cluster:Cluster cluster"],
  ["kubernetes:eks.amazonaws.com/v1:NodeClass gpu-class", "aws:eks/accessEntry:AccessEntry cluster-team"],
  ["aws:eks/cluster:Cluster cluster", "aws:ec2/route:Route network-private"],
  [
    "aws:eks/cluster:Cluster cluster",
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment cluster-control-AmazonEKSComputePolicy",
  ],
  ["kubernetes:batch/v1:Job train", "aws:eks/podIdentityAssociation:PodIdentityAssociation rights-train"],
  ["kubernetes:batch/v1:Job merge", "kubernetes:batch/v1:Job train"],
])("%s is made after %s, and removed before it", (late, early) => {
  expect(isAfter(every, late, early)).toBe(true);
  expect(isAfter(every, early, late)).toBe(false);
});

test("the pool is deleted before anything it stands on, and its nodes are waited for", () => {
  const pool = only(dev, "kubernetes:karpenter.sh/v1:NodePool");
  expect(pool.deleteTimeout).toBe("30m");
  const annotations = { "pulumi.com/deletionPropagationPolicy": "foreground" };
  expect(pool.inputs["metadata"]).toMatchObject({ annotations });
});

test("stages land on the pool, ask for a GPU only where they use one, and are not disturbed", () => {
  for (const [name, gpus] of [
    ["train", "1"],
    ["merge", undefined],
    ["evaluate", "1"],
  ] as const) {
    const { template } = only(dev, "kubernetes:batch/v1:Job", name).inputs["spec"] as { template: Template };
    expect(template.metadata.annotations["karpenter.sh/do-not-disrupt"]).toBe("true");
    expect(template.spec.nodeSelector).toEqual({ "eks.amazonaws.com/compute-type": "auto", "retort.dev/pool": "gpu" });
    expect(template.spec.containers[0]?.resources.limits["nvidia.com/gpu"]).toBe(gpus);
    expect(template.spec.serviceAccountName).toBe(`retort-${name}`);
    expect(template.spec.containers[0]?.envFrom).toBeUndefined();
  }
});

interface Template {
  metadata: { annotations: Record<string, string> };
  spec: {
    nodeSelector: object;
    serviceAccountName: string;
    containers: { envFrom?: unknown; resources: { limits: Record<string, string> } }[];
  };
}

test("data, results, their locks and their key are kept at destroy; nothing else is", () => {
  const kept = ofAws(dev).filter(({ retainOnDelete }) => retainOnDelete);
  expect(kept).toHaveLength(15);
  for (const { type, name } of kept)
    expect(`${type} ${name}`).toMatch(/^aws:(s3\/\w+:\w+ storage-(data|results)|kms\/key:Key storage)$/);
  expect(
    ofAws(dev)
      .filter(({ type }) => type.startsWith("aws:s3/"))
      .every(({ retainOnDelete }) => retainOnDelete),
  ).toBe(true);
});

test("existing buckets are used as they are, and stages get rights to the key they are encrypted with", async () => {
  const there = await record(moto, OPTIONS["existing buckets"] ?? {});
  expect(there.error).toBeUndefined();
  expect(ofAws(there).filter(({ type }) => type.startsWith("aws:s3/"))).toEqual([]);
  expect(there.outputs).toMatchObject({ model: expect.stringContaining("s3://team-results/runs/small/merge-") });
  const { policy } = only(there, "aws:iam/rolePolicy:RolePolicy", "rights-train").inputs;
  expect(JSON.parse(String(policy)).Statement).toContainEqual(
    expect.objectContaining({ Sid: "Key", Resource: [KEY_OF_TEAM] }),
  );
});

test("an existing network is used as it is", async () => {
  const there = await record(moto, OPTIONS["an existing network"] ?? {});
  expect(there.error).toBeUndefined();
  expect(ofAws(there).filter(({ type }) => type.startsWith("aws:ec2/"))).toEqual([]);
  expect(only(there, "aws:eks/cluster:Cluster").inputs["vpcConfig"]).toMatchObject({
    subnetIds: ["subnet-0a", "subnet-0b"],
  });
});

test("a preview before the images are built says so, and asks for no image that does not exist", async () => {
  const first = await record(moto, {}, { withoutImages: true });
  expect(first.error).toBeUndefined();
  expect(first.resources.filter(({ type }) => type === "docker-build:index:Image")).toHaveLength(3);
});
