/** Looking for what costs money, in both places, against moto's server and a Kubernetes API; with all that fails. */
import { spawn } from "node:child_process";
import { join } from "node:path";
import {
  AllocateAddressCommand,
  CreateNetworkInterfaceCommand,
  CreateSubnetCommand,
  CreateVolumeCommand,
  CreateVpcCommand,
  RunInstancesCommand,
  TerminateInstancesCommand,
} from "@aws-sdk/client-ec2";
import { CreateLoadBalancerCommand } from "@aws-sdk/client-elastic-load-balancing-v2";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { type AwsClients, awsClients } from "../../../jobs/aws/clients";
import { eksCluster, findCluster } from "../../../jobs/aws/eksCluster";
import { gpuCapacity } from "../../../jobs/aws/gpuCapacity";
import { hasGpu, machinesOf, untilGone } from "../../../jobs/aws/gpuNodes";
import { gpuLeftovers, leftovers } from "../../../jobs/aws/leftovers";
import { type Gate, Moto, refusal } from "../../infra/aws/moto";
import { ROOT } from "../../infra/stack";
import { EksCluster } from "./eks";

let moto: Moto;
let eks: EksCluster;
let clients: AwsClients;

beforeAll(async () => {
  [moto, eks] = await Promise.all([Moto.start(), EksCluster.start("retort-both")]);
  moto.use();
  clients = awsClients("us-east-1");
}, 120_000);
afterAll(() => Promise.all([moto?.stop(), eks?.stop()]));
afterEach(() => {
  moto.gate = () => undefined;
  eks.refuse = undefined;
  eks.nodes.length = 0;
});

const tags = (cluster: string) => [{ Key: "eks:eks-cluster-name", Value: cluster }];
const start = async (type: "p5.48xlarge" | "m5.large", cluster: string) => {
  const { Instances } = await clients.ec2.send(
    new RunInstancesCommand({
      ImageId: "ami-12c6146b",
      InstanceType: type,
      MinCount: 1,
      MaxCount: 1,
      TagSpecifications: [{ ResourceType: "instance", Tags: tags(cluster) }],
    }),
  );
  return Instances?.[0]?.InstanceId ?? "";
};
const end = (...ids: string[]) => clients.ec2.send(new TerminateInstancesCommand({ InstanceIds: ids }));

test("finds this stack's machines, volumes, addresses, interfaces and load balancers, and nobody else's", async () => {
  expect(await leftovers(clients, "look")).toEqual({ found: [], unseen: [] });
  const gpu = await start("p5.48xlarge", "retort-look");
  const small = await start("m5.large", "retort-look");
  await start("p5.48xlarge", "somebody-else");
  const { VolumeId } = await clients.ec2.send(
    new CreateVolumeCommand({
      AvailabilityZone: "us-east-1a",
      Size: 80,
      TagSpecifications: [{ ResourceType: "volume", Tags: tags("retort-look") }],
    }),
  );
  const { AllocationId, PublicIp } = await clients.ec2.send(
    new AllocateAddressCommand({
      Domain: "vpc",
      TagSpecifications: [{ ResourceType: "elastic-ip", Tags: [{ Key: "retort:stack", Value: "look" }] }],
    }),
  );
  const { Vpc } = await clients.ec2.send(new CreateVpcCommand({ CidrBlock: "10.9.0.0/16" })); // not billed
  const { Subnet } = await clients.ec2.send(new CreateSubnetCommand({ VpcId: Vpc?.VpcId, CidrBlock: "10.9.0.0/24" }));
  const SubnetId = Subnet?.SubnetId;
  const owned = [{ Key: "kubernetes.io/cluster/retort-look", Value: "owned" }];
  const { NetworkInterface } = await clients.ec2.send(
    new CreateNetworkInterfaceCommand({
      SubnetId,
      TagSpecifications: [{ ResourceType: "network-interface", Tags: owned }],
    }),
  );
  for (const [Name, Tags] of [
    ["ours", owned],
    ["theirs", [{ Key: "kubernetes.io/cluster/other", Value: "owned" }]],
  ] as const) {
    const made = { Name, Type: "network" as const, Subnets: [SubnetId ?? ""], Tags: [...Tags] };
    await clients.balancers.send(new CreateLoadBalancerCommand(made));
  }
  expect(await leftovers(clients, "look")).toEqual({
    found: [
      `address ${AllocationId} (${PublicIp})`,
      ...[`instance ${gpu} (p5.48xlarge, running)`, `instance ${small} (m5.large, running)`].sort(),
      `interface ${NetworkInterface?.NetworkInterfaceId} (available)`,
      expect.stringMatching(/^load balancer \w+\/ours\//),
      `volume ${VolumeId} (80 GiB, available)`,
    ],
    unseen: [],
  });
  expect(await gpuLeftovers(clients, "look")).toEqual({
    found: [`instance ${gpu} (p5.48xlarge, running)`],
    unseen: [],
  });
  await end(gpu, small);
  expect((await gpuLeftovers(clients, "look")).found).toEqual([]);
  const [ended] = (await machinesOf(clients.ec2, "retort-look")).filter(hasGpu);
  expect(ended?.state).toBe("terminated");
});

test("a cluster that is still there is billed, too", async () => {
  moto.gate = eks.gate;
  expect((await leftovers(clients, "both")).found).toEqual(["EKS cluster retort-both (active)"]);
});

test("GPU capacity is looked for in both places: a node that Karpenter is about to start counts", async () => {
  moto.gate = eks.gate;
  expect(await gpuCapacity(clients, "both")).toEqual([]);
  eks.nodes.push({ metadata: { name: "ip-10-64-0-9", labels: { "retort.dev/pool": "gpu" } } });
  eks.nodes.push({ metadata: { name: "small" } });
  eks.nodeclaims.push({ metadata: { name: "retort-gpu-x7k2p", labels: { "retort.dev/pool": "gpu" } } });
  const id = await start("p5.48xlarge", "retort-both");
  expect(await gpuCapacity(clients, "both")).toEqual([
    "node ip-10-64-0-9",
    "NodeClaim retort-gpu-x7k2p",
    `instance ${id} (p5.48xlarge, running)`,
  ]);
  eks.nodeclaims.length = 0;
  await end(id);
  eks.refuse = 403;
  await expect(gpuCapacity(clients, "both")).rejects.toThrow();
});

test("an instance that takes its time to go is waited for, and one answer that fails is no answer", async () => {
  const id = await start("p5.48xlarge", "retort-slow");
  await end(id);
  let asked = 0;
  moto.gate = ({ action }) => {
    if (action !== "DescribeInstances") return undefined;
    asked += 1;
    if (asked === 2) return refusal(403, "UnauthorizedOperation");
    return asked <= 4 ? { status: 200, body: shuttingDown(id) } : undefined;
  };
  const said: string[] = [];
  const look = () => gpuCapacity(clients, "slow");
  const left = await untilGone({ look, minutes: 1, pollSeconds: 0.01, say: (text) => said.push(text) });
  expect(left).toEqual([]);
  expect(asked).toBe(5);
  expect(said[0]).toBe(`waiting until the GPU capacity is gone: instance ${id} (p5.48xlarge, shutting-down)`);
  expect(said[1]).toContain("nobody knows what (UnauthorizedOperation");
});

const shuttingDown = (id: string): string =>
  `<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><reservationSet><item><instancesSet><item><instanceId>${id}</instanceId><instanceType>p5.48xlarge</instanceType><instanceState><code>32</code><name>shutting-down</name></instanceState></item></instancesSet></item></reservationSet></DescribeInstancesResponse>`;

test("gives up with a list of those that stay", async () => {
  const look = async () => ["instance i-1 (running)"];
  expect(await untilGone({ look, minutes: 0, pollSeconds: 0.01, say: () => {} })).toEqual(["instance i-1 (running)"]);
});

test("why no node could be started is told with the pod's own warnings, in words, and only if it is news", async () => {
  moto.gate = eks.gate;
  const event = (minutesAgo: number, message: string) => ({
    metadata: {},
    involvedObject: { kind: "NodeClaim", name: "retort-gpu-x" },
    reason: "InsufficientCapacityError",
    message,
    lastTimestamp: new Date(Date.now() - minutesAgo * 60_000),
  });
  const codes = "creating instance, with fleet error(s), InsufficientInstanceCapacity: no p5.4xlarge";
  eks.events.push(event(60, "long ago"), event(1, codes));
  const cluster = eksCluster(() => findCluster(clients.eks, "retort-both", "us-east-1"), "retort");
  const warnings = await cluster.warningsOf("small-train-1-x");
  expect(warnings.map(({ message }) => message)).toEqual([
    `EC2 has no such machine free in these zones now (${codes})`,
  ]);
});

async function check(...args: string[]): Promise<{ code: number | null; said: string }> {
  const command = ["--import", "tsx", join(ROOT, "jobs/aws/teardown.ts"), "--region", "us-east-1", ...args];
  const child = spawn(process.execPath, command, { cwd: ROOT });
  let said = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (text) => (said += text));
  const code = await new Promise<number | null>((done) => child.once("close", done));
  return { code, said };
}

test("npm run teardown:check fails while something is there, and says what and how to end it", async () => {
  const id = await start("p5.48xlarge", "retort-left");
  expect(await check("--stack", "left", "--gpu")).toMatchObject({
    code: 1,
    said: expect.stringMatching(
      `^left in us-east-1: still there:\n  instance ${id} \\(p5.48xlarge, running\\)\nnpm run cancel stops`,
    ),
  });
  await end(id);
  expect(await check("--stack", "left")).toEqual({
    code: 0,
    said: "left in us-east-1: nothing that is billed by the hour is left; its buckets are kept\n",
  });
});

test.each<[string, Gate, RegExp]>([
  ["expired credentials", () => refusal(400, "RequestExpired"), /^error: the AWS credentials have expired/],
  [
    "a right that is missing",
    ({ action }) => (action === "DescribeVolumes" ? refusal(403, "UnauthorizedOperation") : undefined),
    /could not be looked at:\n {2}volumes: UnauthorizedOperation/,
  ],
])("%s is not taken for nothing", async (_, gate, said) => {
  moto.gate = gate;
  expect(await check("--stack", "left")).toMatchObject({ code: 1, said: expect.stringMatching(said) });
});

test("throttling is waited out", async () => {
  let refused = 0;
  moto.gate = ({ action }) => {
    if (action !== "DescribeVolumes" || refused >= 3) return undefined;
    refused += 1;
    return refusal(503, "RequestLimitExceeded");
  };
  expect(await leftovers(clients, "left")).toEqual({ found: [], unseen: [] });
  expect(refused).toBe(3);
});

test("who watches over the costs needs no way into the cluster: EC2 decides, and what was not seen is said", async () => {
  moto.gate = eks.gate;
  eks.refuse = 403;
  const answer = await check("--stack", "both", "--gpu");
  expect(answer.code).toBe(0);
  expect(answer.said).toMatch(/no GPU machine is left\n.*could not be looked at:\n {2}the cluster's nodes:/);
});
