/** The whole program of a stack on AWS: exact resources, their order, what is kept, and rules that hold for all of them. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Recorded, Recording } from "../record";
import { Moto } from "./moto";
import { ACCOUNT, offerings, only, record, willingAccount } from "./recording";

const ROOT = join(__dirname, "../../..");

let moto: Moto;
let dev: Recording & { said?: string };
let every: Recording;

beforeAll(async () => {
  moto = await Moto.start();
  moto.gate = willingAccount;
  dev = await record(moto, {});
  every = await record(moto, {
    network: { ecrEndpoints: true },
    cluster: {
      accessCidrs: [],
      admins: [`arn:aws:iam::${ACCOUNT}:role/team`],
      viewers: [`arn:aws:iam::${ACCOUNT}:role/guests`],
    },
    gpu: { instanceTypes: ["p5.48xlarge"], capacity: ["spot", "on-demand"], count: 8, zones: ["us-east-1a"] },
    tags: { team: "nlp" },
  });
}, 240_000);

afterAll(() => moto?.stop());

const ofAws = ({ resources }: Recording): Recorded[] => resources.filter(({ type }) => type.startsWith("aws:"));

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

test("the pool is gone within two minutes of its last pod, waits for its nodes, and survives no surprise", () => {
  const pool = only(dev, "kubernetes:karpenter.sh/v1:NodePool");
  expect(pool.deleteTimeout).toBe("30m");
  expect(pool.inputs["metadata"]).toMatchObject({
    annotations: { "pulumi.com/deletionPropagationPolicy": "foreground" },
  });
  expect(pool.inputs["spec"]).toMatchObject({
    limits: { "nvidia.com/gpu": "1" },
    disruption: {
      consolidationPolicy: "WhenEmpty",
      consolidateAfter: "60s",
      budgets: [
        { nodes: "100%", reasons: ["Empty"] },
        { nodes: "0", reasons: ["Drifted", "Underutilized"] },
      ],
    },
  });
  expect(only(every, "kubernetes:karpenter.sh/v1:NodePool").inputs["spec"]).toMatchObject({
    limits: { "nvidia.com/gpu": "8" },
  });
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

test("existing buckets and an existing VPC are used as they are", async () => {
  const there = await record(moto, {
    storage: { data: "team-data", results: "team-results" },
    network: { vpcId: "vpc-0abc", subnetIds: ["subnet-0a", "subnet-0b"] },
  });
  expect(there.error).toBeUndefined();
  expect(ofAws(there).filter(({ type }) => /^aws:(s3|ec2)\//.test(type))).toEqual([]);
  expect(only(there, "aws:eks/cluster:Cluster").inputs["vpcConfig"]).toMatchObject({
    subnetIds: ["subnet-0a", "subnet-0b"],
  });
  expect(there.outputs).toMatchObject({ model: expect.stringContaining("s3://team-results/runs/small/merge-") });
});

test("a preview before the images are built says so, and asks for no image that does not exist", async () => {
  const first = await record(moto, {}, { withoutImages: true });
  expect(first.error).toBeUndefined();
  expect(first.resources.filter(({ type }) => type === "docker-build:index:Image")).toHaveLength(3);
});

test("wrong settings are all named at once, and nothing is registered", async () => {
  const { error, resources } = await record(moto, {
    cluster: {},
    gpu: { instanceTypes: ["p4d.24xlarge"], capacity: ["on-demand", "spot"] },
    region: "Virginia",
  });
  expect(error?.split("\n").filter((line) => line.startsWith("retort:"))).toEqual([
    'retort:region: must be a region, such as us-east-1, got "Virginia"',
    expect.stringContaining("retort:cluster.accessCidrs: is missing"),
    expect.stringContaining("retort:gpu.instanceTypes.0: must be p5.4xlarge"),
    expect.stringContaining("retort:gpu.capacity: must be in the order reserved, spot, on-demand"),
  ]);
  expect(ofAws({ resources })).toEqual([]);
});

test("an account without quota, and zones without the type, are told before anything is registered", async () => {
  moto.gate = (asked) => {
    if (asked.service === "servicequotas")
      return { status: 200, type: "application/json", body: '{"Quota":{"Value":0}}' };
    return asked.action === "DescribeInstanceTypeOfferings" ? offerings("us-east-1f") : undefined;
  };
  const { error, resources } = await record(moto, {});
  moto.gate = willingAccount;
  expect(error).toContain("p5.4xlarge is offered in us-east-1f, not in us-east-1a, us-east-1b, us-east-1c");
  expect(error).toContain("is 0 vCPUs in us-east-1, and 16 are needed");
  expect(ofAws({ resources })).toEqual([]);
});

test("a run that cannot fit its budget is not started", async () => {
  const { error, resources } = await record(moto, { budget: { maxUsd: 0.5 } });
  expect(error).toMatch(/the run takes .* USD, and retort:budget.maxUsd is 0.5: it is not started/);
  expect(resources.filter(({ type }) => type === "kubernetes:batch/v1:Job")).toEqual([]);
});

describe("rules for every resource", () => {
  const text = (recording: Recording) =>
    ofAws(recording).map((one) => [`${one.type} ${one.name}`, JSON.stringify(one.inputs)] as const);

  test("no bucket is open, no endpoint answers the world", () => {
    const blocks = dev.resources.filter(({ type }) => type.endsWith(":BucketPublicAccessBlock"));
    expect(blocks).toHaveLength(2);
    for (const { inputs } of blocks) {
      const { bucket: _, ...flags } = inputs;
      expect(Object.values(flags)).toEqual([true, true, true, true]);
    }
    for (const recording of [dev, every]) {
      const open = text(recording)
        .filter(([, inputs]) => inputs.includes("0.0.0.0/0"))
        .map(([key]) => key);
      expect(open).toEqual(["aws:ec2/route:Route network-public", "aws:ec2/route:Route network-private"]);
    }
    expect(
      dev.resources.filter(
        ({ type, inputs }) => type === "kubernetes:core/v1:Service" && JSON.stringify(inputs).includes("LoadBalancer"),
      ),
    ).toEqual([]);
  });

  test("no right is for every resource, and none for every action", () => {
    const policies = dev.resources.filter(({ type }) => type === "aws:iam/rolePolicy:RolePolicy");
    expect(policies).toHaveLength(4);
    for (const { inputs } of policies) {
      const { Statement } = JSON.parse(String(inputs["policy"])) as {
        Statement: { Action: string[]; Resource: string[] }[];
      };
      for (const { Action, Resource } of Statement) {
        for (const action of Action) expect(action).not.toContain("*");
        for (const resource of Resource)
          expect(resource).toMatch(/^arn:aws:(s3:::[a-z0-9-]+(\/[a-z].*)?|kms:[a-z0-9-]+:\d{12}:key\/\S+)$/);
      }
    }
  });

  test("everything in AWS comes from the provider that tags it", () => {
    const provider = only(every, "pulumi:providers:aws");
    expect(provider.inputs["defaultTags"]).toBe(
      JSON.stringify({ tags: { "retort:stack": "dev", "retort:project": "retort", team: "nlp" } }),
    );
    expect(ofAws(every).length).toBeGreaterThan(50);
    for (const { type, name, provider } of ofAws(every))
      expect(`${type} ${name} ${provider}`).toMatch(/pulumi:providers:aws::aws::/);
  });

  test("every image is named by its digest", () => {
    const images = [
      ...JSON.stringify(dev.resources.filter(({ type }) => type.startsWith("kubernetes:"))).matchAll(
        /"image":"([^"]+)"/g,
      ),
    ];
    expect(images.length).toBe(4);
    for (const [, image] of images) expect(image).toMatch(/@sha256:[0-9a-f]{64}$/);
  });

  test("no key and no secret is written anywhere", () => {
    const all = JSON.stringify([dev.resources, every.resources]);
    expect(all).not.toMatch(/AWS_ACCESS_KEY_ID|AWS_SECRET_ACCESS_KEY|AKIA/);
    expect(dev.resources.filter(({ type }) => /:Secret$|iam\/(accessKey|user):/.test(type))).toEqual([]);
  });

  test("AWS's own models know every input, and find each one valid", () => {
    const args = [join(ROOT, "tests/infra/aws/check_inputs.py")];
    const input = JSON.stringify([...ofAws(dev), ...ofAws(every)]);
    const { status, stdout, stderr } = spawnSync(join(ROOT, ".venv/bin/python"), args, { input, encoding: "utf8" });
    expect(stderr).toBe("");
    expect(status).toBe(0);
    expect(Number(/checked (\d+)/.exec(stdout)?.[1])).toBeGreaterThan(100);
  });
});
