/**
 * `npm run teardown:check`: what AWS still has of a stack and bills for, found by its tags. Fails if anything is there.
 * With `--gpu`, only GPU machines count: that is for a stack that is to stay, while nothing runs.
 */
import { parseArgs } from "node:util";
import {
  DescribeNatGatewaysCommand,
  DescribeNetworkInterfacesCommand,
  DescribeVolumesCommand,
  type Filter,
} from "@aws-sdk/client-ec2";
import { DescribeLoadBalancersCommand, DescribeTagsCommand } from "@aws-sdk/client-elastic-load-balancing-v2";
import { ROOT } from "../environment";
import { stackFile, stackName } from "../stackFile";
import { reported, VisibleError } from "../visibleError";
import { type AwsClients, awsClients, credentialProblem } from "./clients";
import { CLUSTER_TAG, hasGpu, isThere, machinesOf } from "./gpuNodes";

/** The name of a stack's cluster, and the tag of all that its program makes. */
export const clusterNameOf = (stack: string): string => `retort-${stack}`;
export const STACK_TAG = "retort:stack";

/** Something that costs money, such as "instance i-0abc (p5.4xlarge, running)". */
export type Leftover = string;

interface Tagged {
  readonly key: string;
  readonly value: string;
}

/** What marks a thing as the stack's: made by its program, by its cluster, or by Kubernetes in it. */
const tagsOf = (stack: string): Tagged[] => [
  { key: STACK_TAG, value: stack },
  { key: CLUSTER_TAG, value: clusterNameOf(stack) },
  { key: `kubernetes.io/cluster/${clusterNameOf(stack)}`, value: "owned" },
];

/** GPU machines of a stack's cluster that are not gone. */
export async function gpuLeftovers(clients: AwsClients, stack: string): Promise<Leftover[]> {
  const machines = await machinesOf(clients.ec2, clusterNameOf(stack));
  return machines.filter((machine) => isThere(machine) && hasGpu(machine)).map(described);
}

/** Every instance, volume, interface, NAT gateway and load balancer of a stack that is not gone. */
export async function leftovers(clients: AwsClients, stack: string): Promise<Leftover[]> {
  const tags = tagsOf(stack);
  const machines = await machinesOf(clients.ec2, clusterNameOf(stack));
  const others = await Promise.all([
    ...tags.map((tag) => taggedThings(clients, { Name: `tag:${tag.key}`, Values: [tag.value] })),
    loadBalancers(clients, tags),
  ]);
  return [...new Set([...machines.filter(isThere).map(described), ...others.flat()])];
}

const described = ({ id, type, state }: { id: string; type: string; state: string }): Leftover =>
  `instance ${id} (${type}, ${state})`;

async function taggedThings({ ec2 }: AwsClients, filter: Filter): Promise<Leftover[]> {
  const Filters = [filter];
  const [volumes, interfaces, gateways] = await Promise.all([
    everyPage(async (NextToken) => {
      const page = await ec2.send(new DescribeVolumesCommand({ Filters, NextToken }));
      return { items: page.Volumes, next: page.NextToken };
    }),
    everyPage(async (NextToken) => {
      const page = await ec2.send(new DescribeNetworkInterfacesCommand({ Filters, NextToken }));
      return { items: page.NetworkInterfaces, next: page.NextToken };
    }),
    everyPage(async (NextToken) => {
      const page = await ec2.send(new DescribeNatGatewaysCommand({ Filter: Filters, NextToken }));
      return { items: page.NatGateways, next: page.NextToken };
    }),
  ]);
  return [
    ...volumes.map(({ VolumeId, Size, State }) => `volume ${VolumeId} (${Size} GiB, ${State})`),
    ...interfaces.map(({ NetworkInterfaceId, Status }) => `interface ${NetworkInterfaceId} (${Status})`),
    ...gateways
      .filter(({ State }) => State !== "deleted")
      .map(({ NatGatewayId, State }) => `NAT gateway ${NatGatewayId} (${State})`),
  ];
}

/** Load balancers cannot be asked for by tag: all are listed, and their tags read twenty at a time. */
async function loadBalancers({ balancers }: AwsClients, tags: readonly Tagged[]): Promise<Leftover[]> {
  const all = await everyPage(async (Marker) => {
    const page = await balancers.send(new DescribeLoadBalancersCommand({ Marker }));
    return { items: page.LoadBalancers, next: page.NextMarker };
  });
  const arns = all.flatMap(({ LoadBalancerArn }) => LoadBalancerArn ?? []);
  const found: Leftover[] = [];
  for (let from = 0; from < arns.length; from += 20) {
    const ResourceArns = arns.slice(from, from + 20);
    const { TagDescriptions = [] } = await balancers.send(new DescribeTagsCommand({ ResourceArns }));
    for (const { ResourceArn, Tags = [] } of TagDescriptions) {
      const isOurs = Tags.some(({ Key, Value }) => tags.some(({ key, value }) => key === Key && value === Value));
      if (isOurs) found.push(`load balancer ${ResourceArn?.slice(ResourceArn.indexOf("loadbalancer/") + 13)}`);
    }
  }
  return found;
}

async function everyPage<T>(
  ask: (token: string | undefined) => Promise<{ items: T[] | undefined; next: string | undefined }>,
): Promise<T[]> {
  const found: T[] = [];
  let token: string | undefined;
  do {
    const { items = [], next } = await ask(token);
    found.push(...items);
    token = next || undefined;
  } while (token);
  return found;
}

async function main(args: readonly string[]): Promise<number> {
  const options = { stack: { type: "string" }, region: { type: "string" }, gpu: { type: "boolean" } } as const;
  const { values } = parseArgs({ args: [...args], options });
  const stack = stackName(ROOT, values.stack);
  // After a destroy, `pulumi stack rm` may have taken the file away: the region can be given.
  const region = values.region ?? String(stackFile(ROOT, stack)("region") || "us-east-1");
  const clients = awsClients(region);
  const look = values.gpu ? gpuLeftovers : leftovers;
  const left = await look(clients, stack).catch((error: Error) => {
    throw new VisibleError(credentialProblem(error) ?? `AWS did not answer (${error.name}): ${error.message}`, 1);
  });
  const what = values.gpu ? "no GPU machine" : "nothing that is billed";
  if (left.length === 0) console.log(`${stack} in ${region}: ${what} is left; its buckets are kept`);
  else
    console.error(`${stack} in ${region}: still there, and billed:\n${left.map((thing) => `  ${thing}`).join("\n")}`);
  return left.length === 0 ? 0 : 1;
}

if (require.main === module) {
  main(process.argv.slice(2))
    .catch(reported)
    .then((code) => {
      process.exitCode = code;
    });
}
